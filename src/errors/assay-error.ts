/**
 * errors/ — the one error type of the house and its code table.
 *
 * Must never know where an error is shown: gRPC and HTTP read the table at their own edge.
 * Called by everything.
 */
import { CODES, type ErrorCode } from "./codes.ts";

/** One thing that is wrong in a structured input. */
export interface Violation {
  /** JSON Pointer (RFC 6901) of the value, e.g. `/selectors/0/type`. */
  readonly pointer: string;
  /** What was expected there. Never quotes a secret. */
  readonly detail: string;
}

/** What may accompany an error. */
export interface AssayErrorOptions {
  /** What was underneath. For logs only; never sent to a caller. */
  readonly cause?: unknown;
  /** What exactly is wrong in the input, where it is more than one thing. */
  readonly violations?: readonly Violation[];
}

const brand = Symbol.for("assay.error");

/**
 * Every error that Assay throws on purpose. Anything else that reaches an edge is a bug and becomes `INTERNAL`.
 *
 * `detail` starts in lower case, has no final period, names the offending field and quotes the value only where
 * it is not secret. Whether a caller sees it is decided by the code's `audience`.
 */
export class AssayError extends Error {
  readonly code: ErrorCode;
  readonly detail: string;
  readonly violations: readonly Violation[];

  constructor(code: ErrorCode, detail: string, options: AssayErrorOptions = {}) {
    super(`${code}: ${detail}`, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "AssayError";
    this.code = code;
    this.detail = detail;
    this.violations = options.violations ?? [];
    Object.defineProperty(this, brand, { value: true });
  }

  /** Recognised by brand, so that two copies of the package in one process agree (plugins bring their own). */
  static override [Symbol.hasInstance](value: unknown): boolean {
    return typeof value === "object" && value !== null && (value as Record<symbol, unknown>)[brand] === true;
  }
}

/** The error as an `AssayError`: itself if it is one, otherwise `INTERNAL` with the original as cause. */
export function toAssayError(error: unknown): AssayError {
  if (error instanceof AssayError) return error;
  return new AssayError("INTERNAL", error instanceof Error ? error.message : String(error), { cause: error });
}

/** The text that a caller may read: the detail if the code's audience is the caller, else the title alone. */
export function callerMessage(error: AssayError): string {
  const facts = CODES[error.code];
  if (facts.audience === "caller" && error.detail !== "") return error.detail;
  return facts.title.charAt(0).toLowerCase() + facts.title.slice(1);
}
