import { describe, expect, it } from "vitest";
import { AssayError, callerMessage, toAssayError } from "./assay-error.ts";
import { CODES } from "./codes.ts";

describe("AssayError", () => {
  it("is recognised by brand, so that another copy of the package is understood", () => {
    const foreign = Object.assign(new Error("x"), { [Symbol.for("assay.error")]: true });
    expect(foreign instanceof AssayError).toBe(true);
    expect(new Error("x") instanceof AssayError).toBe(false);
    expect((null as unknown) instanceof AssayError).toBe(false);
  });

  it("keeps its cause for the log and out of the message", () => {
    const error = new AssayError("KEY_UNAVAILABLE", "key x", { cause: new Error("pin 1234") });
    expect(error.message).not.toContain("1234");
    expect((error.cause as Error).message).toBe("pin 1234");
  });

  it("turns anything else into INTERNAL", () => {
    expect(toAssayError(new TypeError("boom")).code).toBe("INTERNAL");
    expect(toAssayError("boom").code).toBe("INTERNAL");
  });

  it("shows a caller the detail only where the code allows it", () => {
    expect(callerMessage(new AssayError("INVALID_SELECTOR", "missing selector type"))).toBe(
      "missing selector type",
    );
    expect(callerMessage(new AssayError("INTERNAL", "password is hunter2"))).toBe(
      "an internal error happened",
    );
  });
});

describe("the code table", () => {
  it.each(Object.entries(CODES))(
    "%s has a title without a final period and a plausible status",
    (_, facts) => {
      expect(facts.title).toMatch(/^[A-Z].*[^.]$/);
      expect(facts.http).toBeGreaterThanOrEqual(400);
      expect(facts.http).toBeLessThan(600);
    },
  );
});
