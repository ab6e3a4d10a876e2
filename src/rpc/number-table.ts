/**
 * Values by natural number, for entries that come and go without end. A `Map` is copied each time it is full, and each
 * copy refers to the next, for iterators that are on their way. Once one of them is among the old objects, it keeps all
 * that follow, and the values that were in them, until the next full collection of garbage: small collections take
 * longer, and the full one stops the process for as long as thousands of values take.
 */
export class NumberTable<T extends object> {
  readonly #values: Record<number, T> = Object.create(null) as Record<number, T>;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(key: number): T | undefined {
    return this.#values[key];
  }

  has(key: number): boolean {
    return this.#values[key] !== undefined;
  }

  set(key: number, value: T): this {
    if (!this.has(key)) this.#size++;
    this.#values[key] = value;
    return this;
  }

  delete(key: number): boolean {
    if (!this.has(key)) return false;
    this.#size--;
    return Reflect.deleteProperty(this.#values, key);
  }

  /** In the order of the keys. What is taken out meanwhile is left out, as a `Map` does it. */
  forEach(visit: (value: T, key: number, table: this) => void): void {
    for (const key of Object.keys(this.#values).map(Number)) {
      const value = this.#values[key];
      if (value !== undefined) visit(value, key, this);
    }
  }
}
