/**
 * Remembers where the most recent keys are: at least the last half of `limit`, at most `limit` of them. Two maps take
 * turns, since a map that loses its first key with every new one grows slow.
 */
export class RecentPositions {
  readonly #half: number;
  #young = new Map<string, number>();
  #old = new Map<string, number>();

  constructor(limit: number) {
    this.#half = Math.max(1, Math.floor(limit / 2));
  }

  /** Remembers the position of a key, in place of an earlier one. */
  set(key: string, position: number): void {
    if (this.#young.size >= this.#half) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, position);
  }

  /** The position of a key, or `undefined` where it is forgotten or never was. */
  get(key: string): number | undefined {
    return this.#young.get(key) ?? this.#old.get(key);
  }
}
