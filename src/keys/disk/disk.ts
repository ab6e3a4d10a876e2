/**
 * keys/disk/ — a key manager that keeps each private key in a file of its own, readable by one user only.
 *
 * Must never read a key file that others could have read or written, nor put file content into an error.
 * Called by the server's composition.
 */
import { lstat, readdir, unlink } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { z } from "zod";
import { atomicWrite } from "../../files/atomic-write.ts";
import { fileError, isErrno } from "../../files/file-error.ts";
import { ensurePrivateFolder } from "../../files/private-folder.ts";
import { readBounded } from "../../files/read-bounded.ts";
import { defineKeyManager, type KeyManager } from "../../plugin/key-manager.ts";
import { isKeyId } from "../key-id.ts";
import type { LocalKey } from "../local-key.ts";
import { type KeyPersistence, LocalKeyManager } from "../local-key-manager.ts";
import { formatKeyFile, invalid, parseKeyFile } from "./key-file.ts";

/** The `disk` key manager plugin. */
export const diskKeyManager = defineKeyManager({
  kind: "keyManager",
  apiVersion: 1,
  name: "disk",
  config: z.strictObject({
    directory: z
      .string()
      .min(1)
      .max(4096)
      .describe("Folder of the key files, of mode 0700; it is created if there is none"),
  }),
  create: ({ directory }) => openDiskKeyManager(directory),
});

/**
 * Opens the folder, creating it if need be, and imports every key in it. Files are `<key id>.json` of mode 0600.
 * @throws AssayError `KEY_FILE_INVALID` naming the file or folder and the remedy: truncated, of a foreign owner,
 * readable by others, swapped with another key's.
 */
export async function openDiskKeyManager(directory: string): Promise<KeyManager> {
  const folder = resolve(directory);
  await ensurePrivateFolder(folder, CODE);
  const keys: LocalKey[] = [];
  for (const name of await listFolder(folder)) {
    if (LEFT_OVER.test(name)) await removeFile(join(folder, name), "KEY_FILE_INVALID");
    const id = basename(name, KEY_FILE_END);
    if (id !== name && isKeyId(id)) keys.push(await readKey(join(folder, name), id));
  }
  return new LocalKeyManager(keys, persistenceIn(folder));
}

function persistenceIn(folder: string): KeyPersistence {
  return {
    async write(key, pkcs8) {
      const bytes = Buffer.from(formatKeyFile(key, pkcs8));
      try {
        await atomicWrite(join(folder, `${key.id}${KEY_FILE_END}`), bytes, { code: "KEY_UNAVAILABLE" });
      } finally {
        bytes.fill(0);
      }
    },
    remove: (id) => removeFile(join(folder, `${id}${KEY_FILE_END}`), "KEY_UNAVAILABLE"),
  };
}

async function listFolder(folder: string): Promise<readonly string[]> {
  try {
    return (await readdir(folder)).toSorted();
  } catch (cause) {
    throw fileError("read folder", folder, cause, CODE);
  }
}

async function readKey(path: string, id: string): Promise<LocalKey> {
  await checkPrivate(path);
  const bytes = await readBounded(path, MAX_KEY_FILE, CODE);
  try {
    return parseKeyFile(bytes.toString("utf8"), id, path);
  } finally {
    bytes.fill(0);
  }
}

/** The folder is ours and private, so between this look and the reading nobody else can change the file. */
async function checkPrivate(path: string): Promise<void> {
  const facts = await lstat(path).catch((cause: unknown) => {
    throw fileError("read", path, cause, CODE);
  });
  if (!facts.isFile()) throw invalid(path, "is not a regular file; put the file itself in its place");
  const user = process.geteuid?.() ?? facts.uid;
  if (facts.uid !== user)
    throw invalid(path, `is owned by uid ${facts.uid}; give it to uid ${user} with chown`);
  if ((facts.mode & 0o077) === 0) return;
  const mode = (facts.mode & 0o777).toString(8).padStart(4, "0");
  throw invalid(
    path,
    `has mode ${mode}, so others could have had the key; delete it to have a new one made, or chmod 600 it`,
  );
}

async function removeFile(path: string, code: "KEY_FILE_INVALID" | "KEY_UNAVAILABLE"): Promise<void> {
  try {
    await unlink(path);
  } catch (cause) {
    if (!isErrno(cause, "ENOENT")) throw fileError("delete", path, cause, { code });
  }
}

const CODE = { code: "KEY_FILE_INVALID" } as const;
const KEY_FILE_END = ".json";
// What a process that was killed while writing a key left behind; it may hold a whole private key.
const LEFT_OVER = /^\..+\.tmp$/;
const MAX_KEY_FILE = 16_384;
