import type { RevokedToken } from "../../revocation/revoked-table.ts";

/** What was revoked last, once for all streams, so that each is told only of what it has not heard yet. */
export class RevokedTokenNews {
  #recent: readonly RevokedToken[] = [];
  /** How many came before those. */
  #gone = 0;

  /** Where whoever knows everything is. */
  get position(): number {
    return this.#gone + this.#recent.length;
  }

  /** Takes what is new. */
  add(fresh: readonly RevokedToken[]): void {
    const all = [...this.#recent, ...fresh];
    // What is new now is kept whole, so that whoever keeps up never needs all of them again.
    const kept = Math.max(fresh.length, MOST_KEPT / 2);
    const excess = all.length > MOST_KEPT ? all.length - kept : 0;
    this.#recent = excess > 0 ? all.slice(excess) : all;
    this.#gone += excess;
  }

  /** What came after a position; `undefined` where that is too long ago. */
  since(position: number): readonly RevokedToken[] | undefined {
    return position < this.#gone ? undefined : this.#recent.slice(position - this.#gone);
  }
}

const MOST_KEPT = 20_000;
