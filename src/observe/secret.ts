import { inspect } from "node:util";

/**
 * A value that must not be shown. Printing, logging or serialising it gives `[secret]`; only `reveal()` gives the
 * value, so every place that uses it can be found by that word.
 */
export class Secret<Value = string> {
  readonly #value: Value;

  constructor(value: Value) {
    this.#value = value;
  }

  /** The value itself. */
  reveal(): Value {
    return this.#value;
  }

  toJSON(): string {
    return SECRET_TEXT;
  }

  toString(): string {
    return SECRET_TEXT;
  }

  [inspect.custom](): string {
    return SECRET_TEXT;
  }
}

/** What stands where a secret was. */
export const SECRET_TEXT = "[secret]";
