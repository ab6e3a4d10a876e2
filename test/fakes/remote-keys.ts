import { openMemoryKeyManager } from "../../src/keys/memory/memory.ts";
import { AssayError } from "../../src/errors/assay-error.ts";
import type { KeyManager, KeyType, ManagedKey, SignatureForm } from "../../src/plugin/key-manager.ts";

/** A key manager whose keys answer with promises, when the test lets them. Until it holds them they answer soon. */
export class RemoteKeys implements KeyManager {
  readonly #memory = openMemoryKeyManager();
  readonly #waiting: { resolve(): void; reject(error: AssayError): void }[] = [];
  readonly #watching: { readonly count: number; resolve(): void }[] = [];
  #held: string | true | undefined;
  #asked = 0;
  /** How many signatures were made since the keys were held. */
  signatures = 0;
  /** How many there were at most that waited for an answer. */
  mostWaiting = 0;

  /** From here on signatures wait for {@link answer}; those of one key where it is named. */
  hold(keyId?: string): void {
    this.#held = keyId ?? true;
    this.signatures = 0;
  }

  /** How many signatures wait for an answer. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Resolves when so many signatures were asked for since the keys were held. */
  async asked(count: number): Promise<void> {
    if (this.#asked < count) await new Promise<void>((resolve) => this.#watching.push({ count, resolve }));
    // Whoever asks for one more than may be does it in this turn.
    await new Promise(setImmediate);
  }

  /** Answers the oldest of those that wait. */
  answer(count: number): void {
    for (const one of this.#waiting.splice(0, count)) one.resolve();
  }

  /** Answers all that wait, the latest first. */
  answerLastFirst(): void {
    for (const one of this.#waiting.splice(0).toReversed()) one.resolve();
  }

  /** Lets the oldest of those that wait fail. */
  fail(count: number): void {
    for (const one of this.#waiting.splice(0, count)) {
      one.reject(new AssayError("KEY_UNAVAILABLE", "the key service is away"));
    }
  }

  /** Answers all that wait and all that come. */
  answerAll(): void {
    this.#held = undefined;
    this.answer(Number.POSITIVE_INFINITY);
  }

  async generateKey(id: string, type: KeyType): Promise<ManagedKey> {
    return this.#remote(await this.#memory.generateKey(id, type));
  }

  async getKey(id: string): Promise<ManagedKey | undefined> {
    const key = await this.#memory.getKey(id);
    return key && this.#remote(key);
  }

  async listKeys(): Promise<readonly ManagedKey[]> {
    return (await this.#memory.listKeys()).map((key) => this.#remote(key));
  }

  async deleteKey(id: string): Promise<void> {
    await this.#memory.deleteKey(id);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#memory[Symbol.asyncDispose]();
  }

  #remote(key: ManagedKey): ManagedKey {
    const { id, type, publicKey } = key;
    return { id, type, publicKey, sign: (data, form) => this.#sign(key, data, form) };
  }

  async #sign(key: ManagedKey, data: Uint8Array, form: SignatureForm): Promise<Uint8Array> {
    if (this.#held === true || this.#held === key.id) {
      await new Promise<void>((resolve, reject) => {
        this.#waiting.push({ resolve, reject });
        this.mostWaiting = Math.max(this.mostWaiting, this.#waiting.length);
        this.#asked++;
        for (const { count, resolve: tell } of this.#watching) if (this.#asked >= count) tell();
      });
    }
    this.signatures++;
    return key.sign(data, form);
  }
}
