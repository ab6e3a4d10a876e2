import { randomUUID } from "node:crypto";
import { z } from "zod";
import type { VaultClient } from "../../cloud/vault/vault-client.ts";
import { vaultFailure } from "../../cloud/vault/vault-error.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { PluginLog } from "../../plugin/host.ts";
import type { KeyType } from "../../plugin/key-manager.ts";
import { isKeyId } from "../key-id.ts";
import type { RemoteKey, RemoteKeyService } from "../remote-key-manager.ts";
import { publicKeyOf } from "./public-key.ts";

/** What Vault calls one key: its name in the engine and the version that is signed with. */
export interface TransitHandle {
  readonly name: string;
  readonly version: number;
}

/** Where the keys are, and which are ours. */
export interface TransitOptions {
  /** Path of the engine. */
  readonly engine: string;
  /** Names of our keys begin with it. */
  readonly serverId: string;
  readonly log: PluginLog;
}

/**
 * Keys of Vault's transit engine, named as SPIRE names them: `<server id>-<UUID>-<key id>`, so that a replaced key is there
 * until the new one is, and a server that was SPIRE's finds its keys. Where two have one key id, the younger counts.
 */
export class TransitService implements RemoteKeyService<TransitHandle> {
  readonly #client: VaultClient;
  readonly #options: TransitOptions;
  /** Names of keys that were replaced, or made and never used, and are still there. */
  readonly #doomed = new Set<string>();

  constructor(client: VaultClient, options: TransitOptions) {
    this.#client = client;
    this.#options = options;
  }

  async list(): Promise<readonly RemoteKey<TransitHandle>[]> {
    const listed = await this.#call("LIST", "keys");
    if (listed === undefined) return [];
    const { keys: names } = parsed(listing, listed, "the list of keys");
    const ours = names.filter((name) => this.#keyId(name) !== undefined);
    // What an earlier listing that broke off took for the older may be all there is by now.
    this.#doomed.clear();
    const youngest = new Map<string, ReadKey>();
    for (let at = 0; at < ours.length; at += READ_AT_ONCE) {
      const some = ours.slice(at, at + READ_AT_ONCE);
      for (const key of await Promise.all(some.map((name) => this.#readOrSkip(name)))) {
        if (key === undefined) continue;
        const other = youngest.get(key.id);
        const [kept, dropped] =
          other === undefined || other.created < key.created ? [key, other] : [other, key];
        youngest.set(key.id, kept);
        if (dropped !== undefined) this.#doomed.add(dropped.handle.name);
      }
    }
    for (const key of this.#doomed) this.#options.log.warn(TWO_OF_ONE_ID, { key });
    return [...youngest.values()];
  }

  async create(
    id: string,
    type: KeyType,
    replaced: RemoteKey<TransitHandle> | undefined,
  ): Promise<RemoteKey<TransitHandle>> {
    const name = `${this.#options.serverId}-${randomUUID()}-${id}`;
    await this.#call("POST", `keys/${name}`, {
      type: TRANSIT_TYPES[type],
      exportable: false,
      allow_plaintext_backup: false,
      // The server says when a key is followed by another.
      auto_rotate_period: 0,
    });
    const made = await this.#read(name, id).catch((error: unknown) => {
      // Each try makes another, and none is anybody's.
      this.#doomed.add(name);
      throw error instanceof UnfitKey ? unavailable(`key ${name} cannot be used: ${error.message}`) : error;
    });
    if (made === undefined) throw unavailable(`key ${name} was made and is not there`);
    if (replaced !== undefined) this.#doomed.add(replaced.handle.name);
    await this.tidy();
    return made;
  }

  async remove({ handle: { name } }: RemoteKey<TransitHandle>): Promise<void> {
    try {
      await this.#call("POST", `keys/${name}/config`, { deletion_allowed: true });
      await this.#call("DELETE", `keys/${name}`);
    } catch (error) {
      // Vault says with 400 that there is no such key.
      if ((await this.#call("GET", `keys/${name}`)) === undefined) return;
      throw error;
    }
  }

  async sign({ type, handle }: RemoteKey<TransitHandle>, digest: Uint8Array): Promise<Uint8Array> {
    const hash = type === "ec-p384" ? "sha2-384" : "sha2-256";
    const answer = await this.#call("POST", `sign/${handle.name}/${hash}`, {
      input: Buffer.from(digest).toString("base64"),
      prehashed: true,
      key_version: handle.version,
      ...(type.startsWith("rsa-") ? { signature_algorithm: "pkcs1v15" } : { marshaling_algorithm: "asn1" }),
    });
    const { signature } = parsed(signed, answer, "a signature");
    const [, version, base64] = /^vault:v(\d+):([A-Za-z0-9+/]+={0,2})$/.exec(signature) ?? [];
    if (base64 === undefined || version !== `${handle.version}`) {
      throw unavailable("Vault answers with a signature in another form than expected");
    }
    return Buffer.from(base64, "base64");
  }

  async exists({ handle: { name, version } }: RemoteKey<TransitHandle>): Promise<boolean> {
    const answer = await this.#call("GET", `keys/${name}`);
    return answer !== undefined && Object.hasOwn(parsed(keyFacts, answer, "a key").keys, `${version}`);
  }

  /** Deletes the keys that were replaced or never used. What cannot be deleted now is tried again the next time. */
  async tidy(): Promise<void> {
    for (const name of this.#doomed) {
      try {
        await this.remove({ id: "", type: "ec-p256", publicKey: NOTHING, handle: { name, version: 0 } });
        this.#doomed.delete(name);
      } catch (error) {
        this.#options.log.warn("a key that is not used could not be deleted yet", {
          key: name,
          error: String(error),
        });
        return;
      }
    }
  }

  close(): void {
    // Ends the calls now; whoever made the client waits for the rest.
    void this.#client[Symbol.asyncDispose]();
  }

  /** The key id in a name of ours. */
  #keyId(name: string): string | undefined {
    const { serverId } = this.#options;
    if (!name.startsWith(`${serverId}-`)) return undefined;
    const [, id = ""] = UUID_AND_ID.exec(name.slice(serverId.length + 1)) ?? [];
    return isKeyId(id) ? id : undefined;
  }

  async #readOrSkip(name: string): Promise<ReadKey | undefined> {
    try {
      return await this.#read(name, this.#keyId(name) as string);
    } catch (error) {
      if (!(error instanceof UnfitKey)) throw error;
      this.#options.log.warn("a key in Vault is left alone", { key: name, reason: error.message });
      return undefined;
    }
  }

  async #read(name: string, id: string): Promise<ReadKey | undefined> {
    const answer = await this.#call("GET", `keys/${name}`);
    if (answer === undefined) return undefined;
    const read = keyFacts.safeParse(answer);
    const type = read.success ? KEY_TYPES.get(read.data.type) : undefined;
    if (!read.success || type === undefined) throw new UnfitKey("it is no key that an authority may have");
    const { latest_version: version, keys } = read.data;
    const newest = versionFacts.safeParse(keys[`${version}`]);
    const publicKey = newest.success ? publicKeyOf(newest.data.public_key) : undefined;
    if (!newest.success || publicKey === undefined) throw new UnfitKey("its public key cannot be read");
    return { id, type, publicKey, handle: { name, version }, created: Date.parse(newest.data.creation_time) };
  }

  async #call(method: "GET" | "POST" | "DELETE" | "LIST", path: string, body?: Record<string, unknown>) {
    try {
      return await this.#client.call({
        method,
        path: `${this.#options.engine}/${path}`,
        ...(body === undefined ? {} : { body }),
      });
    } catch (error) {
      throw vaultFailure(error, CODES);
    }
  }
}

interface ReadKey extends RemoteKey<TransitHandle> {
  /** Milliseconds since the epoch. */
  readonly created: number;
}

/** A key that carries one of our names and is nothing we could sign with. */
class UnfitKey extends Error {}

function parsed<Value>(schema: z.ZodType<Value>, answer: unknown, what: string): Value {
  const read = schema.safeParse(answer);
  if (!read.success) throw unavailable(`Vault answers ${what} in another form than expected`);
  return read.data;
}

function unavailable(detail: string): AssayError {
  return new AssayError("KEY_UNAVAILABLE", detail);
}

const CODES = { refused: "KEY_UNAVAILABLE", unavailable: "KEY_UNAVAILABLE" } as const;
const TWO_OF_ONE_ID =
  "of two keys with one id the older is deleted: a server was stopped while it replaced a key, or a second one runs with this identifier";
const UUID_AND_ID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}-(.+)$/;
const NOTHING = new Uint8Array();
const READ_AT_ONCE = 8;
const TRANSIT_TYPES: Readonly<Record<KeyType, string>> = {
  "ec-p256": "ecdsa-p256",
  "ec-p384": "ecdsa-p384",
  "rsa-2048": "rsa-2048",
  "rsa-4096": "rsa-4096",
};
const KEY_TYPES: ReadonlyMap<string, KeyType> = new Map(
  (Object.entries(TRANSIT_TYPES) as [KeyType, string][]).map(([ours, theirs]) => [theirs, ours]),
);
const listing = z.object({ keys: z.array(z.string().max(1024)).max(100_000) });
const signed = z.object({ signature: z.string().max(4096) });
const keyFacts = z.object({
  type: z.string(),
  latest_version: z.int().min(1),
  keys: z.record(z.string(), z.unknown()),
});
const versionFacts = z.object({
  public_key: z.string().max(4096),
  creation_time: z.string().refine((text) => !Number.isNaN(Date.parse(text))),
});
