/**
 * The tokens of the own trust domain that are revoked, as the server last told them. What a token is called: its `jti`, else
 * the SHA-256 of its signing input.
 */
export class RevokedTokens {
  #ends: ReadonlyMap<string, number> = new Map();

  /** By id, with the end of each in Unix seconds, for keeping on disk. */
  get all(): ReadonlyMap<string, number> {
    return this.#ends;
  }

  /** Takes all that there are in place of those that were known. */
  replace(ends: ReadonlyMap<string, number>): void {
    this.#ends = ends;
  }

  /** Whether the token of this id is revoked. */
  has(id: string): boolean {
    return this.#ends.has(id);
  }
}
