import { AssayError } from "../errors/assay-error.ts";
import type { KeyManager, KeyType, ManagedKey } from "../plugin/key-manager.ts";
import { checkKeyId } from "./key-id.ts";
import { generatePkcs8, importLocalKey, type LocalKey } from "./local-key.ts";

/** Where a local key manager makes its keys durable. Both calls come one at a time. */
export interface KeyPersistence {
  /** Writes a key in place of one of the same id; when it resolves the key survives a crash. */
  write(key: ManagedKey, pkcs8: Uint8Array): Promise<void>;
  /** Removes a key; nothing happens where there is none. */
  remove(id: string): Promise<void>;
}

/**
 * A key manager over keys in this process. Changes run one at a time; a key is used only after it was made durable,
 * and an object of a deleted or replaced key signs no more.
 */
export class LocalKeyManager implements KeyManager {
  readonly #keys: Map<string, LocalKey>;
  readonly #persistence: KeyPersistence | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(keys: readonly LocalKey[], persistence?: KeyPersistence) {
    this.#keys = new Map(keys.map((key) => [key.id, key]));
    this.#persistence = persistence;
  }

  generateKey(id: string, type: KeyType): Promise<ManagedKey> {
    return this.#inOrder(async () => {
      this.#checkOpen();
      checkKeyId(id);
      const pkcs8 = await generatePkcs8(type);
      try {
        const key = importLocalKey(id, pkcs8);
        await this.#persistence?.write(key, pkcs8);
        this.#keys.get(id)?.destroy();
        this.#keys.set(id, key);
        return key;
      } finally {
        pkcs8.fill(0);
      }
    });
  }

  async getKey(id: string): Promise<ManagedKey | undefined> {
    this.#checkOpen();
    return this.#keys.get(id);
  }

  async listKeys(): Promise<readonly ManagedKey[]> {
    this.#checkOpen();
    return [...this.#keys.values()];
  }

  deleteKey(id: string): Promise<void> {
    return this.#inOrder(async () => {
      this.#checkOpen();
      const key = this.#keys.get(id);
      if (key === undefined) return;
      await this.#persistence?.remove(id);
      key.destroy();
      this.#keys.delete(id);
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#inOrder(async () => {
      this.#closed = true;
      for (const key of this.#keys.values()) key.destroy();
      this.#keys.clear();
    });
  }

  #inOrder<Result>(task: () => Promise<Result>): Promise<Result> {
    const next = this.#last.then(task);
    this.#last = next.catch(() => undefined);
    return next;
  }

  #checkOpen(): void {
    if (this.#closed) throw new AssayError("KEY_UNAVAILABLE", "key manager is closed");
  }
}
