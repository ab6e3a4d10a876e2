import { defineConfig } from "vitest/config";

/** Benchmarks are run by hand, one file after the other: two at once would measure each other. */
export default defineConfig({
  test: {
    benchmark: { include: ["test/bench/**/*.bench.ts"] },
    environment: "node",
    setupFiles: ["test/matchers.ts"],
    testTimeout: 600_000,
    fileParallelism: false,
  },
});
