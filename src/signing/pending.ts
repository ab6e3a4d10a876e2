import { AssayError } from "../errors/assay-error.ts";

/**
 * What was prepared and waits for its one signature: the second step of making an SVID accepts nothing but what the first
 * has checked, and that once.
 */
export class Pending<Prepared extends object, Work> {
  readonly #what: string;
  readonly #works = new WeakMap<Prepared, Work>();

  /** @param what What is prepared, for messages: `X509-SVID`. */
  constructor(what: string) {
    this.#what = what;
  }

  /** Keeps what the signature will be made of, and gives back what was prepared, which nobody can change any more. */
  add(prepared: Prepared, work: Work): Prepared {
    this.#works.set(Object.freeze(prepared), work);
    return prepared;
  }

  /** Gives it out, once. @throws AssayError `INTERNAL` for what was not prepared here, or a second time. */
  take(prepared: Prepared): Work {
    const work = this.#works.get(prepared);
    if (work === undefined) {
      throw new AssayError("INTERNAL", `${this.#what} was not prepared here or is signed already`);
    }
    // Taken out before the key is used: two calls at once must not both get a signature.
    this.#works.delete(prepared);
    return work;
  }
}
