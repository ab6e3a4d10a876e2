import { AssayError } from "../errors/assay-error.ts";

declare const audienceBrand: unique symbol;

/** One audience value of a JWT-SVID: a non-empty string of at most 1024 bytes, compared exactly (JWT-SVID §3.2). */
export type Audience = string & { readonly [audienceBrand]: true };

/**
 * Parses the audiences of a request: 1 to 32 values, order kept, repeated values dropped.
 *
 * The bound of 32 is what the strictest client library reads.
 * @throws AssayError `INVALID_AUDIENCE`.
 */
export function parseAudiences(values: readonly string[]): readonly Audience[] {
  if (values.length === 0) throw new AssayError("INVALID_AUDIENCE", "audience must be specified");
  if (values.length > MAX_AUDIENCES) {
    throw new AssayError("INVALID_AUDIENCE", `more than ${MAX_AUDIENCES} audiences`);
  }
  for (const value of values) {
    if (value === "") throw new AssayError("INVALID_AUDIENCE", "audience must not be empty");
    if (!value.isWellFormed())
      throw new AssayError("INVALID_AUDIENCE", "audience is not well-formed Unicode");
    if (Buffer.byteLength(value) > MAX_AUDIENCE_BYTES) {
      throw new AssayError("INVALID_AUDIENCE", `audience is longer than ${MAX_AUDIENCE_BYTES} bytes`);
    }
  }
  return [...new Set(values)] as string[] as Audience[];
}

const MAX_AUDIENCES = 32;
const MAX_AUDIENCE_BYTES = 1024;
