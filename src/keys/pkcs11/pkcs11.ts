/**
 * keys/pkcs11/ — a key manager whose keys are made in a token of a PKCS#11 library, such as a hardware security module, and
 * sign there.
 *
 * Must never hold a private key or a PIN in the server's process, nor wait for a device on its event loop.
 * Called by the server's composition.
 */
import { stat } from "node:fs/promises";
import { z } from "zod";
import type { PluginHost } from "../../plugin/host.ts";
import { defineKeyManager, type KeyManager } from "../../plugin/key-manager.ts";
import { type RemoteKeyHost, RemoteKeyManager } from "../remote-key-manager.ts";
import { startKeeper } from "./keeper.ts";
import { KnownKeys } from "./known-keys.ts";
import type { TokenSettings } from "./messages.ts";
import { TokenClient } from "./token-client.ts";

const absolute = (what: string) =>
  z.string().startsWith("/", "expected an absolute path").max(4096).describe(what);

const config = z
  .strictObject({
    module_path: absolute("Path of the device's PKCS#11 library, a shared object"),
    token_label: z
      .string()
      .min(1)
      .max(32)
      .optional()
      .describe("Label of the token; either this or `slot` must be given"),
    slot: z
      .int()
      .min(0)
      .max(Number.MAX_SAFE_INTEGER)
      .optional()
      .describe("Id of the slot that the token is in, instead of `token_label`"),
    pin_file: absolute(
      "File that holds the user PIN of the token and nothing else; only its owner may read it",
    ),
    key_label_prefix: z
      .string()
      .regex(/^[\x21-\x7e]{1,128}$/, "expected 1 to 128 visible ASCII characters")
      .optional()
      .describe(
        "What the labels of keys begin with, `assay/<trust domain>` unless told; each server needs its own",
      ),
    packages_folder: absolute(
      "Folder whose node_modules holds the package pkcs11js where that is not beside Assay",
    ).optional(),
  })
  .refine((value) => (value.token_label === undefined) !== (value.slot === undefined), {
    error: "expected exactly one of token_label and slot",
    path: ["token_label"],
  });

/** Settings of the `pkcs11` key manager. */
export type Pkcs11Config = z.output<typeof config>;

/** The `pkcs11` key manager plugin. */
export const pkcs11KeyManager = defineKeyManager({
  kind: "keyManager",
  apiVersion: 1,
  name: "pkcs11",
  config,
  create: openPkcs11KeyManager,
});

/**
 * Opens the token. Keys are made in it, marked sensitive and not extractable, and found again under the prefix of their
 * labels; two managers with one prefix are told of each other's keys when they open, and must not both make keys.
 * @throws AssayError `CONFIG_INVALID` naming the setting, or saying that the PIN was refused. A device that cannot be reached
 * is tried again at the first use.
 */
export async function openPkcs11KeyManager(
  { module_path, token_label, slot, pin_file, key_label_prefix, packages_folder }: Pkcs11Config,
  { clock, log, trustDomain }: PluginHost,
): Promise<KeyManager> {
  const settings: TokenSettings = {
    library: module_path,
    token: token_label === undefined ? { slot: slot as number } : { label: token_label },
    pinFile: pin_file,
    prefix: key_label_prefix ?? `assay/${trustDomain}`,
    packagesFolder: packages_folder,
  };
  const client = new TokenClient({
    settings,
    clock,
    log,
    start: () => startKeeper(clock),
    pinStamp: () => stampOf(pin_file),
  });
  await client.open();
  return manage(client, { clock, log });
}

function manage(client: TokenClient, host: RemoteKeyHost): KeyManager {
  const known = new KnownKeys();
  let closing: Promise<void> | undefined;
  const close = () => {
    closing ??= client.close();
    return closing;
  };
  const keys = new RemoteKeyManager<string>(
    {
      list: async () => known.note(await client.ask({ op: "list" })),
      create: (id, type) => known.making((order) => client.ask({ op: "generate", id, type, order })),
      remove: async ({ id, handle }) => client.ask({ op: "destroy", id, handle }),
      sign: ({ id, type, handle }, digest) => client.ask({ op: "sign", key: { id, type, handle }, digest }),
      exists: ({ handle }) => client.ask({ op: "exists", handle }),
      close: () => void close(),
    },
    host,
  );
  return {
    generateKey: (id, type) => keys.generateKey(id, type),
    getKey: (id) => keys.getKey(id),
    listKeys: () => keys.listKeys(),
    deleteKey: (id) => keys.deleteKey(id),
    async [Symbol.asyncDispose]() {
      await keys[Symbol.asyncDispose]();
      await close();
    },
  };
}

/** The same for as long as nobody touched the file. */
async function stampOf(path: string): Promise<string> {
  try {
    const { ino, size, mtimeMs, ctimeMs } = await stat(path);
    return [ino, size, mtimeMs, ctimeMs].join();
  } catch {
    return "absent";
  }
}
