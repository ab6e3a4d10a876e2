/**
 * Tells those who wait that something changed. Rings that come in one turn of the event loop are heard once, so that a
 * batch of a hundred new SVIDs wakes each stream one time.
 */
export class ChangeBell {
  readonly #listeners = new Set<() => void>();
  #ringing = false;

  /** Rings soon: before the next input or timer of the process is looked at. */
  ring(): void {
    if (this.#ringing) return;
    this.#ringing = true;
    setImmediate(() => {
      this.#ringing = false;
      for (const listener of this.#listeners) listener();
    });
  }

  /** Hears every ring until disposed. */
  listen(listener: () => void): Disposable {
    const own = () => listener();
    this.#listeners.add(own);
    return { [Symbol.dispose]: () => void this.#listeners.delete(own) };
  }
}
