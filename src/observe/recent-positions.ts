/**
 * Remembers where the most recent keys are: at least the last half of `limit`, at most `limit` of them. It keeps no key
 * and makes nothing that a garbage collector would have to follow, however many keys come and go: what it holds is
 * `limit` times about 50 octets from the start.
 */
export class RecentPositions {
  readonly #half: number;
  #young: PositionTable;
  #old: PositionTable;

  constructor(limit: number) {
    this.#half = Math.max(1, Math.floor(limit / 2));
    this.#young = new PositionTable(this.#half);
    this.#old = new PositionTable(this.#half);
  }

  /** Remembers the position of a key, a whole number, in place of an earlier one. */
  set(key: string, position: number): void {
    if (this.#young.size >= this.#half) {
      [this.#old, this.#young] = [this.#young, this.#old];
      this.#young.clear();
    }
    this.#young.set(hashOf(key), position);
  }

  /**
   * The position of a key, or `undefined` where it is forgotten or never was. Once in billions it is another key's: who
   * reads there must look whose it is.
   */
  get(key: string): number | undefined {
    const hash = hashOf(key);
    return this.#young.get(hash) ?? this.#old.get(hash);
  }
}

/** Positions by hash, in arrays of fixed length that are half empty at least. */
class PositionTable {
  readonly #hashes: Uint32Array;
  readonly #positions: Float64Array;
  size = 0;

  constructor(limit: number) {
    const length = 2 ** Math.ceil(Math.log2(2 * limit));
    this.#hashes = new Uint32Array(length);
    this.#positions = new Float64Array(length);
  }

  set(hash: number, position: number): void {
    const at = this.#placeOf(hash);
    if (this.#hashes[at] === EMPTY) this.size++;
    this.#hashes[at] = hash;
    this.#positions[at] = position;
  }

  get(hash: number): number | undefined {
    const at = this.#placeOf(hash);
    return this.#hashes[at] === EMPTY ? undefined : this.#positions[at];
  }

  clear(): void {
    this.#hashes.fill(EMPTY);
    this.size = 0;
  }

  /** Where the hash is, or would be. */
  #placeOf(hash: number): number {
    const last = this.#hashes.length - 1;
    let at = hash & last;
    while (this.#hashes[at] !== EMPTY && this.#hashes[at] !== hash) at = (at + 1) & last;
    return at;
  }
}

/** FNV-1a over the code units; never {@link EMPTY}. */
function hashOf(key: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  return hash >>> 0 || 1;
}

const EMPTY = 0;
