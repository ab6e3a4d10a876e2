import { AssayError } from "../../errors/assay-error.ts";

/** Which names one stream wants. */
export class Subscription {
  readonly #names = new Set<string>();
  #all = false;
  #began = false;
  #named = false;

  /** Whether everything is wanted that the caller may see. */
  get all(): boolean {
    return this.#all;
  }

  /** The names that are wanted by name, in the order in which they were asked for. */
  get names(): ReadonlySet<string> {
    return this.#names;
  }

  /**
   * Wants these names and no others; whether that is a change. No name at all is everything, unless the stream has
   * asked for names before: then it is nothing.
   * @throws AssayError `INVALID_REQUEST` for more than 1000 names, or one that is longer than 2048 bytes.
   */
  replace(names: readonly string[]): boolean {
    const wanted = new Set(names);
    const all = wanted.delete(WILDCARD) || (wanted.size === 0 && !this.#named);
    checkNames(wanted);
    const same =
      this.#began &&
      all === this.#all &&
      wanted.size === this.#names.size &&
      [...wanted].every((name) => this.#names.has(name));
    this.#names.clear();
    for (const name of wanted) this.#names.add(name);
    this.#all = all;
    this.#named ||= names.length > 0;
    this.#began = true;
    return !same;
  }

  /**
   * Changes what is wanted. A first change that names nothing wants everything.
   * @throws AssayError as `replace`.
   */
  change(subscribe: readonly string[], unsubscribe: readonly string[]): void {
    if (!this.#began && subscribe.length === 0) this.#all = true;
    this.#began = true;
    for (const name of subscribe) {
      if (name === WILDCARD) this.#all = true;
      else this.#names.add(name);
    }
    for (const name of unsubscribe) {
      if (name === WILDCARD) this.#all = false;
      else this.#names.delete(name);
    }
    checkNames(this.#names);
  }
}

function checkNames(names: ReadonlySet<string>): void {
  if (names.size > MAX_NAMES) {
    throw new AssayError("INVALID_REQUEST", `resource names of one stream must be at most ${MAX_NAMES}`);
  }
  for (const name of names) {
    if (name === "" || Buffer.byteLength(name) > MAX_NAME_BYTES) {
      throw new AssayError("INVALID_REQUEST", `resource names must be of 1 to ${MAX_NAME_BYTES} bytes`);
    }
  }
}

const WILDCARD = "*";
const MAX_NAMES = 1000;
const MAX_NAME_BYTES = 2048;
