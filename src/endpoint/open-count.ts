/** A socket, as far as counting needs it. */
export interface CountedSocket {
  once(event: "close", listener: () => void): unknown;
}

/** Counts what is open, by key; a key with nothing open takes no room. */
export class OpenCount<Key> {
  readonly #open = new Map<Key, number>();

  /** How many are open with this key. */
  of(key: Key): number {
    return this.#open.get(key) ?? 0;
  }

  /** Counts a socket until it closes. */
  add(key: Key, socket: CountedSocket): void {
    this.#change(key, 1);
    socket.once("close", () => this.#change(key, -1));
  }

  #change(key: Key, by: 1 | -1): void {
    const open = this.of(key) + by;
    if (open === 0) this.#open.delete(key);
    else this.#open.set(key, open);
  }
}
