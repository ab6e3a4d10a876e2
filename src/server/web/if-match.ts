import { z } from "zod";
import { AssayError } from "../../errors/assay-error.ts";

/** The header by which a change is made only if nobody changed the thing meanwhile (RFC 9110 §13.1.1). */
export const ifMatchHeader = z.object({
  "if-match": z
    .string()
    .max(64)
    .regex(/^"\d{1,15}"$/, 'expected the ETag of one revision, such as "3"')
    .optional()
    .describe("The `ETag` that was read: change only if it is still the present one"),
});

/** The revision that a request expects, where it says so. */
export function ifMatch(headers: z.output<typeof ifMatchHeader>): { readonly revision?: number } {
  const tag = headers["if-match"];
  return tag === undefined ? {} : { revision: Number(tag.slice(1, -1)) };
}

/** The entity tag of a revision. */
export function revisionTag(revision: number): string {
  return `"${revision}"`;
}

/**
 * Refuses a condition where none can be kept, so that nobody believes it was.
 * @throws AssayError `INVALID_REQUEST`.
 */
export function refuseIfMatch(headers: { readonly "if-match"?: string | undefined }): void {
  if (headers["if-match"] !== undefined) {
    throw new AssayError("INVALID_REQUEST", "If-Match is not supported for a deletion");
  }
}
