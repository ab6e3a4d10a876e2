import { createPublicKey, type KeyObject, verify } from "node:crypto";
import type { Clock } from "../clock.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { KeyManager, KeyType, ManagedKey } from "../plugin/key-manager.ts";
import { BoundedCalls, type CallBounds } from "./bounded-calls.ts";
import { KeyManagerHealth, type KeyManagerState } from "./key-manager-state.ts";
import { checkKeyId } from "./key-id.ts";

/** Milliseconds that the calls of a key manager may take, the waiting for a place included. */
export interface KeyManagerDeadlines {
  /**
   * A signature: 5000 unless told. A service answers in tens of milliseconds; whoever waits for an SVID gives up after
   * tens of seconds, and must be told before that.
   */
  readonly sign?: number;
  /**
   * A new key: 60000 unless told. A small hardware module takes half a minute over RSA-4096, and nobody waits: authorities
   * are prepared long before they are used.
   */
  readonly generate?: number;
  /** Everything else, by which a server starts: 30000 unless told. */
  readonly other?: number;
  /** Closing: 3000 unless told, since a server stops within five seconds whatever its key manager does. */
  readonly close?: number;
}

/** What a guard must be told. */
export interface KeyManagerGuardOptions {
  readonly clock: Clock;
  readonly deadlines?: KeyManagerDeadlines;
  /** Signatures under way at once, 64 unless told: more than a service's latency and a core's rate make use of. */
  readonly maxInFlight?: number;
  /** Signatures that wait for a place, 1024 unless told; one more is refused with `RATE_LIMITED`. */
  readonly maxWaiting?: number;
  /** Called at each change between `ok` and `degraded`: for the log, the metric and the health check. */
  report(state: KeyManagerState): void;
}

/** A key manager that ends every call in time and says how it is. */
export interface GuardedKeyManager extends KeyManager {
  /** How the manager is, without asking it. */
  state(): KeyManagerState;
}

/**
 * Stands around a key manager that is not in this process: a deadline for each call, a bound on how many run and wait, and
 * every signature verified with the key's public half before it leaves, so that a service that answers with garbage or
 * signs with another key harms nobody but itself. A local key manager needs none of it.
 *
 * All calls throw `KEY_UNAVAILABLE`; beyond the bounds they throw `RATE_LIMITED`, which says nothing of the manager's state.
 */
export function guardKeyManager(manager: KeyManager, options: KeyManagerGuardOptions): GuardedKeyManager {
  return new GuardedManager(manager, options);
}

class GuardedManager implements GuardedKeyManager {
  readonly #manager: KeyManager;
  readonly #clock: Clock;
  readonly #deadlines: Required<KeyManagerDeadlines>;
  readonly #health: KeyManagerHealth;
  readonly #signatures: BoundedCalls;
  readonly #others: BoundedCalls;
  readonly #wrapped = new WeakMap<ManagedKey, ManagedKey>();
  /** How often the key of an id was replaced or deleted: an older key's failure is no news. */
  readonly #ages = new Map<string, number>();
  #closing: Promise<void> | undefined;

  constructor(manager: KeyManager, options: KeyManagerGuardOptions) {
    const { clock, maxInFlight = 64, maxWaiting = 1024 } = options;
    this.#manager = manager;
    this.#clock = clock;
    this.#deadlines = { ...DEADLINES, ...options.deadlines };
    this.#health = new KeyManagerHealth(clock, (state) => options.report(state));
    this.#signatures = new BoundedCalls(clock, { maxInFlight, maxWaiting });
    this.#others = new BoundedCalls(clock, OTHER_BOUNDS);
  }

  state(): KeyManagerState {
    return this.#health.state;
  }

  async generateKey(id: string, type: KeyType): Promise<ManagedKey> {
    checkKeyId(id);
    const key = await this.#call(
      id,
      this.#others,
      `generate key ${id}`,
      this.#deadlines.generate,
      async () => {
        const made = await this.#manager.generateKey(id, type);
        if (made.id !== id || made.type !== type || typeOf(publicKeyOf(made)) !== type) {
          throw new AssayError(
            "KEY_UNAVAILABLE",
            `key manager was asked for key ${id} of ${type} and made another`,
          );
        }
        return made;
      },
    );
    this.#retire(id);
    // A manager may give the object again that it gave for the key before.
    this.#wrapped.delete(key);
    return this.#wrap(key);
  }

  async getKey(id: string): Promise<ManagedKey | undefined> {
    const key = await this.#call("", this.#others, `tell of key ${id}`, this.#deadlines.other, () =>
      this.#manager.getKey(id),
    );
    return key === undefined ? undefined : this.#wrap(key);
  }

  async listKeys(): Promise<readonly ManagedKey[]> {
    const keys = await this.#call("", this.#others, "list its keys", this.#deadlines.other, () =>
      this.#manager.listKeys(),
    );
    return keys.map((key) => this.#wrap(key));
  }

  async deleteKey(id: string): Promise<void> {
    await this.#call(id, this.#others, `delete key ${id}`, this.#deadlines.other, () =>
      this.#manager.deleteKey(id),
    );
    this.#retire(id);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#signatures[Symbol.dispose]();
    this.#others[Symbol.dispose]();
    this.#health[Symbol.dispose]();
    const { promise: late, resolve: giveUp } = Promise.withResolvers<undefined>();
    using _ = this.#clock.schedule(this.#deadlines.close, () => giveUp(undefined));
    await Promise.race([this.#manager[Symbol.asyncDispose](), late]);
  }

  async #call<Result>(
    subject: string,
    calls: BoundedCalls,
    what: string,
    deadline: number,
    task: () => Promise<Result>,
    isCurrent: () => boolean = () => true,
  ): Promise<Result> {
    try {
      const result = await calls.run(what, deadline, task);
      if (subject === "") this.#health.answered();
      else this.#health.worked(subject);
      return result;
    } catch (cause) {
      const error = asKeyError(cause);
      if (error.code === "KEY_UNAVAILABLE" && this.#closing === undefined && isCurrent()) {
        this.#health.failed(subject, error.detail);
      }
      throw error;
    }
  }

  #retire(id: string): void {
    this.#ages.set(id, this.#age(id) + 1);
    this.#health.worked(id);
  }

  #age(id: string): number {
    return this.#ages.get(id) ?? 0;
  }

  #wrap(key: ManagedKey): ManagedKey {
    const known = this.#wrapped.get(key);
    if (known !== undefined) return known;
    const { id, type, publicKey } = key;
    const age = this.#age(id);
    const verifier = publicKeyOf(key);
    const guarded: ManagedKey = {
      id,
      type,
      publicKey,
      sign: async (data, form) => {
        // The signature is verified later, and for what was asked now.
        const bytes = Buffer.from(data);
        return this.#call(
          id,
          this.#signatures,
          `sign with key ${id}`,
          this.#deadlines.sign,
          async () => {
            if (this.#age(id) !== age)
              throw new AssayError("KEY_UNAVAILABLE", `key ${id} was deleted or replaced`);
            const signature = await key.sign(bytes, form);
            if (!isSignature(signature, bytes, type, verifier, form)) {
              throw new AssayError(
                "KEY_UNAVAILABLE",
                `key manager gave a signature that the public key of ${id} does not verify`,
              );
            }
            return signature;
          },
          () => this.#age(id) === age,
        );
      },
    };
    this.#wrapped.set(key, guarded);
    return guarded;
  }
}

/** The error of a key manager in the words of its contract, whoever wrote it. */
function asKeyError(cause: unknown): AssayError {
  if (cause instanceof AssayError) return cause;
  const reason = cause instanceof Error ? cause.message : "unknown reason";
  return new AssayError("KEY_UNAVAILABLE", `key manager failed: ${reason}`, { cause });
}

function publicKeyOf({ id, publicKey }: ManagedKey): KeyObject {
  try {
    return createPublicKey({ key: Buffer.from(publicKey), format: "der", type: "spki" });
  } catch (cause) {
    throw new AssayError("KEY_UNAVAILABLE", `key manager tells a public key of ${id} that cannot be read`, {
      cause,
    });
  }
}

function typeOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): string {
  switch (asymmetricKeyType) {
    case "ec":
      return CURVES.get(asymmetricKeyDetails?.namedCurve) ?? "ec";
    case "rsa":
      return `rsa-${asymmetricKeyDetails?.modulusLength ?? 0}`;
    default:
      return "other";
  }
}

function isSignature(
  signature: unknown,
  data: Uint8Array,
  type: KeyType,
  key: KeyObject,
  form: "der" | "p1363",
): boolean {
  if (!(signature instanceof Uint8Array)) return false;
  const dsaEncoding = form === "der" ? "der" : "ieee-p1363";
  return verify(type === "ec-p384" ? "sha384" : "sha256", data, { key, dsaEncoding }, signature);
}

const DEADLINES: Required<KeyManagerDeadlines> = { sign: 5000, generate: 60_000, other: 30_000, close: 3000 };
const OTHER_BOUNDS: CallBounds = { maxInFlight: 16, maxWaiting: 64 };
const CURVES: ReadonlyMap<string | undefined, KeyType> = new Map([
  ["prime256v1", "ec-p256"],
  ["secp384r1", "ec-p384"],
]);
