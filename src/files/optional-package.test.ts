import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { loadOptionalPackage } from "./optional-package.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "packages-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function install(name: string, files: Readonly<Record<string, string>>): string {
  const home = join(folder, "node_modules", name);
  mkdirSync(home, { recursive: true });
  for (const [file, text] of Object.entries(files)) writeFileSync(join(home, file), text);
  return home;
}

it("finds a package beside Assay", async () => {
  const zod = await loadOptionalPackage<{ readonly string: () => unknown }>("zod");
  expect(typeof zod.string).toBe("function");
});

it("finds a package of either module system in the folder given", async () => {
  install("old-style", { "index.js": "module.exports = { answer: 41 }" });
  install("@scope/new-style", {
    "package.json": '{"type":"module","exports":"./here.js"}',
    "here.js": "export const answer = 42",
  });
  expect((await loadOptionalPackage<{ answer: number }>("old-style", { folder })).answer).toBe(41);
  expect((await loadOptionalPackage<{ answer: number }>("@scope/new-style", { folder })).answer).toBe(42);
});

it("prefers the package beside Assay", async () => {
  install("zod", { "index.js": "module.exports = { planted: true }" });
  expect(await loadOptionalPackage("zod", { folder })).not.toHaveProperty("planted");
});

it("names the package, the command that installs it and both places where it is missing", async () => {
  await expect(loadOptionalPackage("no-such-package-x")).rejects.toThrowCode(
    "CONFIG_INVALID",
    /needs the package no-such-package-x: npm install no-such-package-x beside assay$/,
  );
  await expect(loadOptionalPackage("no-such-package-x", { folder })).rejects.toThrowCode(
    "CONFIG_INVALID",
    new RegExp(`beside assay or in ${folder}$`),
  );
});

it("says why a package that is there cannot be loaded, in one line", async () => {
  install("broken", { "index.js": 'throw new Error("compiled for another Node\\nat line two")' });
  await expect(loadOptionalPackage("broken", { folder })).rejects.toThrowCode(
    "CONFIG_INVALID",
    /^package broken in .*broken.index\.js cannot be loaded: compiled for another Node$/,
  );
  install("lacking", { "index.js": 'require("its-own-missing-dependency")' });
  await expect(loadOptionalPackage("lacking", { folder })).rejects.toThrowCode(
    "CONFIG_INVALID",
    /package lacking .*cannot be loaded/,
  );
});
