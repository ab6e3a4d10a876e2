import { expect, it } from "vitest";
import { keyManagerSuite } from "../../../test/contract/key-manager-suite.ts";
import { memoryKeyManager, openMemoryKeyManager } from "./memory.ts";

keyManagerSuite("memory", async () => openMemoryKeyManager());

it("has no settings", async () => {
  expect(await memoryKeyManager.config["~standard"].validate({})).toEqual({ value: {} });
  expect((await memoryKeyManager.config["~standard"].validate({ directory: "/x" })).issues).toHaveLength(1);
});
