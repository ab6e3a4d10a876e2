import { AssayError } from "../errors/assay-error.ts";

/**
 * How many SVIDs one server has under way, over all calls: asked for, and not yet signed and recorded. Beyond the bound a
 * call fails at once, before anything is read of it, so that work does not pile up which nobody waits for any longer.
 */
export class SvidsUnderWay {
  readonly #most: number;
  #count = 0;

  /**
   * @param most How many at once. 10,000 unless told: one core signs about 7000 a second, so that who is let in waits less
   * than two seconds, which is less than any client's deadline, and what waits takes some 10 MB.
   */
  constructor(most: number = DEFAULT_MOST) {
    this.#most = most;
  }

  /** How many there are now. */
  get count(): number {
    return this.#count;
  }

  /**
   * Runs `work` and counts its `orders` meanwhile. One call that is larger than the bound may still come when nothing else is
   * under way.
   * @throws AssayError `SIGNING_BUSY`, and what `work` throws.
   */
  async during<Result>(orders: number, work: () => Promise<Result>): Promise<Result> {
    if (this.#count > 0 && this.#count + orders > this.#most) {
      throw new AssayError(
        "SIGNING_BUSY",
        `${this.#count} SVIDs are under way and ${orders} more are asked for, at most ${this.#most} are taken on; try again in a moment`,
      );
    }
    this.#count += orders;
    try {
      return await work();
    } finally {
      this.#count -= orders;
    }
  }
}

const DEFAULT_MOST = 10_000;
