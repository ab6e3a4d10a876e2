import { createPublicKey } from "node:crypto";
import type { AzureCredential } from "../../cloud/azure/azure-credential.ts";
import { azureError, isAbsent } from "../../cloud/azure/azure-error.ts";
import { withDeadline } from "../../cloud/deadline.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { PluginHost } from "../../plugin/host.ts";
import type { KeyType } from "../../plugin/key-manager.ts";
import { p1363ToDer } from "../ecdsa-form.ts";
import { keyTypeOf, type RemoteKey, type RemoteKeyService } from "../remote-key-manager.ts";
import { keyIdOf, newKeyName } from "./key-vault-names.ts";
import type {
  KeyVaultCallOptions,
  KeyVaultClient,
  KeyVaultClientOptions,
  KeyVaultKey,
  KeyVaultModule,
  KeyVaultProperties,
  KeyVaultSigner,
} from "./key-vault-module.ts";

/** What Key Vault calls one key. */
export interface KeyVaultHandle {
  readonly name: string;
  readonly version: string;
  readonly signer: KeyVaultSigner;
}

/** Where the keys are, and which are ours. */
export interface KeyVaultOptions {
  readonly vault: string;
  readonly serverId: string;
  readonly credential: AzureCredential;
  readonly sdk: KeyVaultModule;
  readonly client: KeyVaultClientOptions;
  readonly host: PluginHost;
}

/** Keys of an Azure Key Vault, named and tagged as SPIRE does it. Where two have one key id, the younger counts. */
export class KeyVaultService implements RemoteKeyService<KeyVaultHandle> {
  readonly #options: KeyVaultOptions;
  readonly #client: KeyVaultClient;
  readonly #closed = new AbortController();
  /** Names of keys that were replaced and are still there. */
  readonly #doomed = new Set<string>();
  #deletingStale: Promise<void> | undefined;

  constructor(options: KeyVaultOptions) {
    this.#options = options;
    this.#client = new options.sdk.KeyClient(options.vault, options.credential, options.client);
  }

  async list(): Promise<readonly RemoteKey<KeyVaultHandle>[]> {
    const found = new Map<string, KeyVaultProperties[]>();
    const all = await this.#listed();
    // What an earlier listing that broke off took for the older may be all there is by now.
    this.#doomed.clear();
    for (const properties of all) {
      const id = keyIdOf({ name: properties.name, tags: properties.tags ?? {} });
      if (id === undefined || !this.#isOurs(properties)) continue;
      if (properties.enabled === false) {
        // Somebody stopped it, and may let it go on: a new key is made beside it until then.
        this.#options.host.log.warn("a key in Key Vault is disabled and not used", { key: properties.name });
        continue;
      }
      found.set(id, [...(found.get(id) ?? []), properties]);
    }
    const keys: RemoteKey<KeyVaultHandle>[] = [];
    for (const [id, ofId] of found) {
      const [youngest, ...older] = ofId.toSorted((a, b) => timeOf(b.createdOn) - timeOf(a.createdOn));
      if (youngest === undefined) continue;
      const key = await this.#call("keys/get", (options) => this.#client.getKey(youngest.name, options));
      const usable = this.#importFound(id, key);
      if (usable === undefined) continue;
      keys.push(usable);
      for (const { name } of older) {
        this.#doomed.add(name);
        this.#options.host.log.warn(TWO_OF_ONE_ID, { key: name });
      }
    }
    return keys;
  }

  async create(
    id: string,
    type: KeyType,
    replaced: RemoteKey<KeyVaultHandle> | undefined,
  ): Promise<RemoteKey<KeyVaultHandle>> {
    const { name, tags } = newKeyName(id);
    const [kind, size] = KINDS[type];
    const key = await this.#call("keys/create", (options) =>
      this.#client.createKey(name, kind, {
        ...options,
        ...size,
        keyOps: OPERATIONS,
        tags: { ...this.#tags(), ...tags },
      }),
    );
    const made = this.#import(id, key);
    if (replaced !== undefined) this.#doomed.add(replaced.handle.name);
    await this.tidy();
    return made;
  }

  async remove({ handle: { name } }: RemoteKey<KeyVaultHandle>): Promise<void> {
    await this.#delete(name);
  }

  async sign({ type, handle }: RemoteKey<KeyVaultHandle>, digest: Uint8Array): Promise<Uint8Array> {
    const { result } = await this.#call("keys/sign", (options) =>
      handle.signer.sign(ALGORITHMS[type], digest, options),
    );
    if (!(result instanceof Uint8Array)) throw unavailable("keys/sign gave no signature");
    if (type === "rsa-2048" || type === "rsa-4096") return result;
    if (result.length !== (type === "ec-p384" ? 96 : 64)) {
      throw unavailable(`keys/sign gave a signature of ${result.length} octets`);
    }
    return p1363ToDer(result);
  }

  async exists({ handle: { name, version } }: RemoteKey<KeyVaultHandle>): Promise<boolean> {
    return (await this.#find(name, { version })) !== undefined;
  }

  /** Deletes the keys that were replaced. What cannot be deleted now is tried again the next time. */
  async tidy(): Promise<void> {
    for (const name of this.#doomed) {
      try {
        await this.#delete(name);
        this.#doomed.delete(name);
      } catch (error) {
        const fields = { key: name, error: String(error) };
        this.#options.host.log.warn("a key that was replaced could not be deleted yet", fields);
        return;
      }
    }
  }

  /** Lets Key Vault note that a key is in use: SPIRE deletes a trust domain's keys that nobody noted for two weeks. */
  async keepAlive({ handle }: RemoteKey<KeyVaultHandle>): Promise<void> {
    await this.#call("keys/update", (options) =>
      this.#client.updateKeyProperties(handle.name, handle.version, { ...options, keyOps: OPERATIONS }),
    );
  }

  /**
   * Deletes keys of other servers of the trust domain that nobody noted to be in use for two weeks, at most 100 at once. One that
   * cannot be deleted keeps none of the others. The time is Key Vault's own, as the keys of this server tell it: our clock may be
   * ahead. While this is under way a further call waits for it and does nothing of its own; {@link close} ends it before the next key.
   */
  deleteStale(): Promise<void> {
    this.#deletingStale ??= this.#deleteStale().finally(() => {
      this.#deletingStale = undefined;
    });
    return this.#deletingStale;
  }

  async #deleteStale(): Promise<void> {
    const { host } = this.#options;
    const all = await this.#listed();
    const latest = Math.max(...all.filter((key) => this.#isOurs(key)).map((key) => timeOf(key.updatedOn)));
    const isStale = (key: KeyVaultProperties) =>
      this.#isOthers(key) && key.updatedOn !== undefined && key.updatedOn.getTime() < latest - STALE_AFTER;
    for (const { name } of all.filter(isStale).slice(0, MAX_DELETED)) {
      try {
        // Its server may have come back since the listing.
        const key = await this.#find(name);
        if (key === undefined || !isStale(key.properties)) continue;
        host.log.info("a key of a server that is gone is deleted", { key: name });
        await this.#delete(name);
      } catch (error) {
        if (this.#closed.signal.aborted) throw error;
        host.log.warn("a key of a server that is gone could not be given up", {
          key: name,
          error: String(error),
        });
      }
    }
  }

  close(): void {
    this.#closed.abort(unavailable("key manager is closed"));
  }

  #find(name: string, which: { readonly version?: string } = {}): Promise<KeyVaultKey | undefined> {
    return this.#call("keys/get", async (options) => {
      try {
        return await this.#client.getKey(name, { ...options, ...which });
      } catch (error) {
        if (isAbsent(error)) return undefined;
        throw error;
      }
    });
  }

  async #delete(name: string): Promise<void> {
    await this.#call("keys/delete", async (options) => {
      try {
        await this.#client.beginDeleteKey(name, options);
      } catch (error) {
        if (!isAbsent(error)) throw error;
      }
    });
  }

  #listed(): Promise<readonly KeyVaultProperties[]> {
    return this.#call("keys/list", async (options) => {
      const all: KeyVaultProperties[] = [];
      for await (const properties of this.#client.listPropertiesOfKeys(options)) {
        all.push(properties);
        if (all.length > MAX_KEYS) throw unavailable(`there are more than ${MAX_KEYS} keys in the vault`);
      }
      return all;
    });
  }

  /** As {@link KeyVaultService.#import}, but a key that nobody can use keeps none of the others from being used. */
  #importFound(id: string, key: KeyVaultKey): RemoteKey<KeyVaultHandle> | undefined {
    try {
      return this.#import(id, key);
    } catch (error) {
      // As one that was disabled: another is made in its place.
      const fields = { key: key.name, key_id: id, error: String(error) };
      this.#options.host.log.warn("a key in Key Vault cannot be used and is taken for lost", fields);
      return undefined;
    }
  }

  #import(id: string, { id: whole, name, properties, key }: KeyVaultKey): RemoteKey<KeyVaultHandle> {
    const { version } = properties;
    if (whole === undefined || version === undefined) throw unavailable(`key ${name} has no version`);
    const { credential, sdk, client } = this.#options;
    const publicKey = publicKeyOf(name, key);
    const signer = new sdk.CryptographyClient(whole, credential, client);
    return { id, type: keyTypeOf(publicKey), publicKey, handle: { name, version, signer } };
  }

  #isOurs({ tags = {} }: KeyVaultProperties): boolean {
    return tags[TD_TAG] === this.#options.host.trustDomain && tags[ID_TAG] === this.#options.serverId;
  }

  /** Whether a key is named and tagged as that of another server of the trust domain. */
  #isOthers({ name, tags = {} }: KeyVaultProperties): boolean {
    const { host, serverId } = this.#options;
    const owner = tags[ID_TAG];
    if (tags[TD_TAG] !== host.trustDomain || owner === undefined || owner === serverId) return false;
    return keyIdOf({ name, tags }) !== undefined;
  }

  #tags(): Record<string, string> {
    return { [TD_TAG]: this.#options.host.trustDomain, [ID_TAG]: this.#options.serverId };
  }

  async #call<Result>(
    action: string,
    call: (options: KeyVaultCallOptions) => Promise<Result>,
  ): Promise<Result> {
    const { clock } = this.#options.host;
    try {
      return await withDeadline({ clock, timeout: TIMEOUT, signal: this.#closed.signal }, (abortSignal) =>
        call({ abortSignal }),
      );
    } catch (error) {
      throw azureError("KEY_UNAVAILABLE", action, error);
    }
  }
}

function publicKeyOf(name: string, key: KeyVaultKey["key"]): Uint8Array {
  const octets = (value: Uint8Array | undefined) => Buffer.from(value ?? []).toString("base64url");
  // Keys in hardware have kinds of their own: EC-HSM and RSA-HSM.
  const kty = key?.kty?.replace(/-HSM$/, "");
  const jwk =
    kty === "EC"
      ? { kty, crv: key?.crv ?? "", x: octets(key?.x), y: octets(key?.y) }
      : { kty: kty ?? "", n: octets(key?.n), e: octets(key?.e) };
  try {
    return createPublicKey({ key: jwk, format: "jwk" }).export({ type: "spki", format: "der" });
  } catch {
    throw unavailable(`key ${name} has a public key that cannot be used`);
  }
}

function timeOf(date: Date | undefined): number {
  return date?.getTime() ?? 0;
}

function unavailable(detail: string): AssayError {
  return new AssayError("KEY_UNAVAILABLE", detail);
}

const TWO_OF_ONE_ID =
  "of two keys with one id the older is deleted: a server was stopped while it replaced a key, or a second one runs with this identifier";
const TD_TAG = "spire-server-td";
const ID_TAG = "spire-server-id";
const OPERATIONS = ["sign", "verify"] as const;
const KINDS = {
  "ec-p256": ["EC", { curve: "P-256" }],
  "ec-p384": ["EC", { curve: "P-384" }],
  "rsa-2048": ["RSA", { keySize: 2048 }],
  "rsa-4096": ["RSA", { keySize: 4096 }],
} as const;
const ALGORITHMS = {
  "ec-p256": "ES256",
  "ec-p384": "ES384",
  "rsa-2048": "RS256",
  "rsa-4096": "RS256",
} as const;
const TIMEOUT = 30_000;
const STALE_AFTER = 14 * 24 * 3_600_000;
const MAX_KEYS = 20_000;
const MAX_DELETED = 100;
