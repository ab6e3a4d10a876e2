import { AssayError } from "../errors/assay-error.ts";

/**
 * What was prepared and waits for its one signature: the second step of making an SVID accepts nothing but what the first
 * has checked, and that once.
 */
export class Pending<Prepared extends object, Work extends object> {
  readonly #what: string;

  /** @param what What is prepared, for messages: `X509-SVID`. */
  constructor(what: string) {
    this.#what = what;
  }

  /** Keeps what the signature will be made of, and gives back what was prepared, which nobody can change any more. */
  add(prepared: Prepared, work: Work): Prepared {
    Attached.to(prepared, this, work);
    return Object.freeze(prepared);
  }

  /** Gives it out, once. @throws AssayError `INTERNAL` for what was not prepared here, or a second time. */
  take(prepared: Prepared): Work {
    // Taken out before the key is used: two calls at once must not both get a signature.
    const work = Attached.takeFrom(prepared, this);
    if (work === undefined) {
      throw new AssayError("INTERNAL", `${this.#what} was not prepared here or is signed already`);
    }
    return work as Work;
  }
}

// oxlint-disable-next-line no-extraneous-class -- a subclass adds its private fields to what the constructor returns
class Itself {
  constructor(object: object) {
    return object;
  }
}

/**
 * Private fields on an object of somebody else: nobody can read, copy or forge them, as with a WeakMap, and the garbage
 * collector has no table to keep. They are not part of what a spread copies.
 */
class Attached extends Itself {
  readonly #owner: object;
  #work: object | undefined;

  private constructor(object: object, owner: object, work: object) {
    super(object);
    this.#owner = owner;
    this.#work = work;
  }

  static to(object: object, owner: object, work: object): void {
    new Attached(object, owner, work);
  }

  static takeFrom(object: object, owner: object): object | undefined {
    if (!(#work in object) || object.#owner !== owner) return undefined;
    const work = object.#work;
    object.#work = undefined;
    return work;
  }
}
