import { defineConfig } from "vitest/config";

/**
 * One project per kind of test. `unit` lives beside the source; everything that crosses a folder lives under
 * `test/`. Interop needs foreign toolchains and is run by `npm run test:interop` and `.ci/run` only.
 */
export default defineConfig({
  test: {
    projects: [
      project("unit", ["src/**/*.test.ts", "test/unit/**/*.test.ts"], 20_000),
      project("architecture", ["test/architecture/**/*.test.ts"], 60_000),
      project("fuzz", ["test/fuzz/**/*.test.ts"], 120_000),
      project("e2e", ["test/e2e/**/*.test.ts"], 120_000),
      project("conformance", ["test/conformance/**/*.test.ts"], 120_000),
      project("interop", ["test/interop/**/*.test.ts"], 600_000),
    ],
  },
});

function project(name: string, include: string[], testTimeout: number) {
  return {
    test: {
      name,
      include,
      testTimeout,
      hookTimeout: testTimeout,
      environment: "node" as const,
      setupFiles: ["test/matchers.ts"],
      // Servers and sockets are shared per file; two heavy files at once would fight over two cores.
      ...(["e2e", "conformance", "interop"].includes(name) ? { fileParallelism: false } : {}),
    },
  };
}
