import { createHash } from "node:crypto";
import type { Clock } from "../clock.ts";
import { readSpki } from "../crypto/spki.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { PluginLog } from "../plugin/host.ts";
import type { KeyManager, KeyType, ManagedKey } from "../plugin/key-manager.ts";
import { derToP1363 } from "./ecdsa-form.ts";
import { checkKeyId } from "./key-id.ts";

/** A key that a service holds for us, as much of it as ever leaves the service. */
export interface RemoteKey<Handle> {
  readonly id: string;
  readonly type: KeyType;
  /** DER SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array;
  /** What the service calls exactly this key material, so that no later key of the same id signs in its place. */
  readonly handle: Handle;
}

/** A service that holds keys: what differs from one to the next. Its errors are `KEY_UNAVAILABLE`. */
export interface RemoteKeyService<Handle> {
  /** Every key of ours that can sign. */
  list(): Promise<readonly RemoteKey<Handle>[]>;
  /** Makes a key and puts it in place of `replaced`, which is given up only after the new one is durable. */
  create(id: string, type: KeyType, replaced: RemoteKey<Handle> | undefined): Promise<RemoteKey<Handle>>;
  /** Gives a key up for destruction; one that is gone already is no fault. */
  remove(key: RemoteKey<Handle>): Promise<void>;
  /** Signs a digest: SHA-384 for P-384, else SHA-256. ECDSA answers in DER. */
  sign(key: RemoteKey<Handle>, digest: Uint8Array): Promise<Uint8Array>;
  /**
   * Whether a key is there still: `false` only where the service says that exactly this one is gone for good or about to be, and not
   * where it is disabled, or the service cannot be asked. Without it a key that vanishes is missed at the next start.
   */
  exists?(key: RemoteKey<Handle>): Promise<boolean>;
  /** Ends calls that are under way and lets go of connections. */
  close(): void;
}

/** What surrounds a remote key manager. */
export interface RemoteKeyHost {
  readonly clock: Clock;
  readonly log: PluginLog;
}

/**
 * A key manager over a service elsewhere. It asks what keys there are until that was answered once, and from then on
 * knows: nobody else changes the keys of this server. Changes run one at a time, signatures and questions beside them. Signatures
 * come as the service gave them: the guard around a key manager verifies them.
 *
 * Whoever asks for a key has the service asked whether it is there, after a failed signature and every five minutes. A key of which it
 * says twice that it is gone is given up; where it cannot be asked the key stays.
 */
export class RemoteKeyManager<Handle> implements KeyManager {
  readonly #service: RemoteKeyService<Handle>;
  readonly #host: RemoteKeyHost;
  #keys: Map<string, LiveKey<Handle>> | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;
  #closing: Promise<void> | undefined;

  constructor(service: RemoteKeyService<Handle>, host: RemoteKeyHost) {
    this.#service = service;
    this.#host = host;
  }

  generateKey(id: string, type: KeyType): Promise<ManagedKey> {
    return this.withKeys(async () => {
      checkKeyId(id);
      if (!KEY_TYPES.has(type)) {
        throw new AssayError("KEY_UNAVAILABLE", `key type ${JSON.stringify(type)} is not supported`);
      }
      const keys = this.#held();
      const replaced = keys.get(id);
      const made = this.#import(await this.#service.create(id, type, replaced?.remote), true);
      if (made.managed.type !== type || made.managed.id !== id) {
        throw new AssayError("KEY_UNAVAILABLE", `key ${id} was made with another type or id than asked for`);
      }
      if (replaced?.madeHere === false) {
        this.#host.log.warn("a key that this process did not make is replaced and given up", { key_id: id });
      }
      replaced?.retire();
      keys.set(id, made);
      return made.managed;
    });
  }

  async getKey(id: string): Promise<ManagedKey | undefined> {
    await this.#loaded();
    const key = this.#held().get(id);
    if (key !== undefined && (await this.#isGone(key))) this.#drop(key);
    this.#checkOpen();
    return this.#held().get(id)?.managed;
  }

  async listKeys(): Promise<readonly ManagedKey[]> {
    await this.#loaded();
    return [...this.#held().values()].map(({ managed }) => managed);
  }

  deleteKey(id: string): Promise<void> {
    return this.withKeys(async () => {
      const key = this.#held().get(id);
      if (key === undefined) return;
      if (!key.madeHere) {
        this.#host.log.warn("a key that this process did not make is deleted", { key_id: id });
      }
      await this.#service.remove(key.remote);
      key.retire();
      this.#held().delete(id);
    });
  }

  /**
   * Runs a task with the keys that are held, while no key is made, replaced or deleted.
   * @throws AssayError `KEY_UNAVAILABLE` where the manager is closed or the keys cannot be listed.
   */
  withKeys<Result>(task: (keys: readonly RemoteKey<Handle>[]) => Promise<Result>): Promise<Result> {
    const next = this.#last.then(async () => {
      this.#checkOpen();
      this.#keys ??= await this.#load();
      return task([...this.#keys.values()].map(({ remote }) => remote));
    });
    this.#last = next.catch(() => undefined);
    return next;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#closed = true;
    for (const key of this.#keys?.values() ?? []) key.retire();
    // Whatever is under way ends now: a server that stops cannot wait for a service that stalls.
    this.#service.close();
    await this.#last;
    for (const key of this.#keys?.values() ?? []) key.retire();
  }

  async #load(): Promise<Map<string, LiveKey<Handle>>> {
    const listed = await this.#service.list();
    return new Map(listed.map((key) => [key.id, this.#import(key, false)]));
  }

  /** Waits for the first listing only, and not behind changes. */
  async #loaded(): Promise<void> {
    this.#checkOpen();
    if (this.#keys === undefined) await this.withKeys(async () => undefined);
  }

  #import(remote: RemoteKey<Handle>, madeHere: boolean): LiveKey<Handle> {
    return importRemoteKey(remote, this.#service, { madeHere, now: this.#host.clock.now() });
  }

  /** Whether the service has said twice that a key is gone; several that ask at once ask once. */
  async #isGone(key: LiveKey<Handle>): Promise<boolean> {
    const { sight } = key;
    const age = this.#host.clock.now() - sight.since;
    const isSuspect = sight.failed || sight.missed > 0;
    const isDue = age >= LOOK_EVERY || age < 0 || (isSuspect && (!sight.wasAsked || age >= LOOK_AGAIN));
    if (this.#service.exists !== undefined && sight.asking === undefined && isDue) {
      sight.wasAsked = true;
      sight.since = this.#host.clock.now();
      sight.failed = false;
      sight.asking = this.#look(key).finally(() => {
        sight.asking = undefined;
      });
    }
    await sight.asking;
    return sight.missed >= 2;
  }

  async #look({ remote, sight }: LiveKey<Handle>): Promise<void> {
    try {
      sight.missed = (await this.#service.exists?.(remote)) === false ? sight.missed + 1 : 0;
    } catch (error) {
      sight.failed = true;
      this.#host.log.debug("a key cannot be asked for", { key_id: remote.id, error: String(error) });
    }
  }

  #drop(key: LiveKey<Handle>): void {
    const { id } = key.remote;
    if (this.#closed || this.#held().get(id) !== key) return;
    this.#host.log.error("a key is gone from where it was kept", { key_id: id });
    key.retire();
    this.#held().delete(id);
  }

  #checkOpen(): void {
    if (this.#closed) throw new AssayError("KEY_UNAVAILABLE", "key manager is closed");
  }

  #held(): Map<string, LiveKey<Handle>> {
    if (this.#keys === undefined) throw new Error("keys are looked at before they were listed");
    return this.#keys;
  }
}

/**
 * Opens the keys of a service and asks at once what keys there are. Where that fails it is logged and asked again by the
 * next call: a service that is away when the server starts is no reason to fail for ever.
 */
export async function openRemoteKeys<Handle>(
  service: RemoteKeyService<Handle>,
  { clock, log }: RemoteKeyHost,
): Promise<RemoteKeyManager<Handle>> {
  const manager = new RemoteKeyManager(service, { clock, log });
  await manager
    .withKeys(async () => undefined)
    .catch((error: unknown) => log.warn("keys could not be listed yet", { error: String(error) }));
  return manager;
}

/** The type of key that a public key has. @throws AssayError `KEY_UNAVAILABLE` where no authority may have it. */
export function keyTypeOf(publicKey: Uint8Array): KeyType {
  const facts = readSpki(publicKey, "KEY_UNAVAILABLE");
  if (facts.keyType !== "rsa") return facts.keyType;
  const type = `rsa-${facts.bits}`;
  if (type === "rsa-2048" || type === "rsa-4096") return type;
  throw new AssayError("KEY_UNAVAILABLE", `key type RSA-${facts.bits} is not supported for authorities`);
}

interface LiveKey<Handle> {
  readonly remote: RemoteKey<Handle>;
  readonly managed: ManagedKey;
  readonly madeHere: boolean;
  readonly sight: Sight;
  /** Makes every later `sign` throw: the key was deleted or replaced. */
  retire(): void;
}

/** What is known of whether a key is there still. */
interface Sight {
  /** When it was asked for last, or got to be known; milliseconds since the Unix epoch. */
  since: number;
  wasAsked: boolean;
  /** Whether a signature failed since, or the question. */
  failed: boolean;
  /** How often in a row the service said that it is gone. */
  missed: number;
  asking: Promise<void> | undefined;
}

function importRemoteKey<Handle>(
  remote: RemoteKey<Handle>,
  service: RemoteKeyService<Handle>,
  { madeHere, now }: { readonly madeHere: boolean; readonly now: number },
): LiveKey<Handle> {
  const { id, type, publicKey } = remote;
  if (keyTypeOf(publicKey) !== type) {
    throw new AssayError("KEY_UNAVAILABLE", `key ${id} must be ${type}, its public key is another type`);
  }
  const digest = type === "ec-p384" ? "sha384" : "sha256";
  const sight: Sight = { since: now, wasAsked: false, failed: false, missed: 0, asking: undefined };
  let retired = false;

  return {
    remote,
    madeHere,
    sight,
    retire() {
      retired = true;
    },
    managed: {
      id,
      type,
      publicKey,
      async sign(data, form) {
        if (retired) throw new AssayError("KEY_UNAVAILABLE", `key ${id} was deleted or replaced`);
        const signature = await service
          .sign(remote, createHash(digest).update(data).digest())
          .catch((error: unknown) => {
            sight.failed = true;
            throw error;
          });
        return form === "p1363" && type.startsWith("ec-")
          ? derToP1363(signature, type === "ec-p384" ? 48 : 32)
          : signature;
      },
    },
  };
}

const KEY_TYPES: ReadonlySet<string> = new Set<KeyType>(["ec-p256", "ec-p384", "rsa-2048", "rsa-4096"]);
const LOOK_EVERY = 300_000;
/** Between two looks of which both must miss a key, so that no passing fault of a service looks like a loss. */
const LOOK_AGAIN = 10_000;
