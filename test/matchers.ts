import { expect } from "vitest";
import type { ErrorCode } from "../src/errors/codes.ts";
import { AssayError } from "../src/errors/assay-error.ts";

declare module "vitest" {
  interface Matchers<R extends void | Promise<void> = void | Promise<void>, T = unknown> {
    /**
     * Passes if the function throws, or the promise rejects with, an `AssayError` of this code (and detail).
     * @param _received Never given; it names the type of what is expected.
     */
    toThrowCode(code: ErrorCode, detail?: RegExp | string, _received?: T): R;
  }
}

expect.extend({
  toThrowCode(received: unknown, code: ErrorCode, detail?: RegExp | string) {
    let thrown: unknown = received;
    if (typeof received === "function") {
      try {
        (received as () => unknown)();
        thrown = undefined;
      } catch (error) {
        thrown = error;
      }
    }
    const isError = thrown instanceof AssayError;
    const pass =
      isError &&
      (thrown as AssayError).code === code &&
      (detail === undefined ||
        (typeof detail === "string"
          ? (thrown as AssayError).detail.includes(detail)
          : detail.test((thrown as AssayError).detail)));
    return {
      pass,
      message: () =>
        `expected ${this.isNot ? "no " : ""}AssayError ${code}${detail === undefined ? "" : ` with detail ${String(detail)}`}, got ${
          thrown === undefined
            ? "no error"
            : thrown instanceof Error
              ? (thrown.stack ?? thrown.message)
              : String(thrown)
        }`,
    };
  },
});
