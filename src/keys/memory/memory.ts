/**
 * keys/memory/ — a key manager that forgets everything when the process ends: for tests and for trying things out.
 *
 * Must never write a key anywhere.
 * Called by the server's composition and by tests.
 */
import { z } from "zod";
import { defineKeyManager, type KeyManager } from "../../plugin/key-manager.ts";
import { LocalKeyManager } from "../local-key-manager.ts";

/** The `memory` key manager plugin. It has no settings. */
export const memoryKeyManager = defineKeyManager({
  kind: "keyManager",
  apiVersion: 1,
  name: "memory",
  config: z.strictObject({}),
  create: () => openMemoryKeyManager(),
});

/** A key manager whose keys live until it is disposed. */
export function openMemoryKeyManager(): KeyManager {
  return new LocalKeyManager([]);
}
