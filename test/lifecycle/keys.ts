import { createPublicKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { AssayError } from "../../src/errors/assay-error.ts";
import type { KeyManager, KeyType, ManagedKey, SignatureForm } from "../../src/plugin/key-manager.ts";

/** A key manager that can lose all its keys, and fail. */
export class LosableKeys implements KeyManager {
  /** Whether every call fails. */
  isDown = false;
  readonly #keys = new Map<string, ManagedKey>();

  /** Forgets everything, as memory does when the process ends. */
  loseAll(): void {
    this.#keys.clear();
  }

  /** Whether the private key of this public key is still here, under whatever name. */
  holds(publicKey: Uint8Array): boolean {
    return [...this.#keys.values()].some((key) => Buffer.compare(key.publicKey, publicKey) === 0);
  }

  async generateKey(id: string, type: KeyType): Promise<ManagedKey> {
    this.#check();
    const { privateKey, publicKey } = type === "rsa-2048" ? nextRsaKey() : newEcKey();
    const key: ManagedKey = {
      id,
      type,
      publicKey,
      sign: (data, form) => {
        this.#check();
        return signBy(privateKey, data, form);
      },
    };
    this.#keys.set(id, key);
    return key;
  }

  async getKey(id: string): Promise<ManagedKey | undefined> {
    this.#check();
    return this.#keys.get(id);
  }

  async listKeys(): Promise<readonly ManagedKey[]> {
    this.#check();
    return [...this.#keys.values()];
  }

  async deleteKey(id: string): Promise<void> {
    this.#check();
    this.#keys.delete(id);
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #check(): void {
    if (this.isDown) throw new AssayError("KEY_UNAVAILABLE", "no answer");
  }
}

interface Pair {
  readonly privateKey: KeyObject;
  readonly publicKey: Uint8Array;
}

function signBy(key: KeyObject, data: Uint8Array, form: SignatureForm): Uint8Array {
  return sign("sha256", data, { key, dsaEncoding: form === "der" ? "der" : "ieee-p1363" });
}

function newEcKey(): Pair {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return { privateKey, publicKey: publicKey.export({ format: "der", type: "spki" }) };
}

// An RSA key takes a tenth of a second, which ten thousand runs do not have: a few are made, and used in turn. None comes back
// before many others, so that no two that a server knows at a time are the same.
const rsaKeys: Pair[] = [];
let taken = 0;

function nextRsaKey(): Pair {
  const place = taken++ % RSA_KEYS;
  const known = rsaKeys[place];
  if (known !== undefined) return known;
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const publicKey = createPublicKey(privateKey).export({ format: "der", type: "spki" });
  return (rsaKeys[place] = { privateKey, publicKey });
}

const RSA_KEYS = 24;
