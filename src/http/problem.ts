import { z } from "zod";
import { type AssayError, callerMessage } from "../errors/assay-error.ts";
import { CODES, type ErrorCode } from "../errors/codes.ts";

/** The media type of every answer that is an error (RFC 9457 §3). */
export const PROBLEM_MEDIA_TYPE = "application/problem+json";

/**
 * A problem document (RFC 9457). `type` is `urn:assay:error:<CODE>`: a name, not an address, since a server in a
 * closed network has no page to point to; docs/errors.md explains each code.
 */
export const problemSchema = z
  .object({
    type: z.string().describe("Names the kind of problem: `urn:assay:error:` and the code"),
    title: z.string().describe("The kind of problem in one sentence, the same for every occurrence"),
    status: z.int().min(400).max(599).describe("The HTTP status"),
    detail: z.string().optional().describe("What is wrong this time, where the caller may know"),
    instance: z.string().describe("Names this occurrence: `urn:uuid:` and the request id, as in the log"),
    code: z.string().describe("The stable error code"),
    errors: z
      .array(
        z.object({
          in: z.enum(["body", "query", "path", "header"]).describe("The part of the request"),
          pointer: z.string().describe("JSON Pointer into that part (RFC 6901)"),
          detail: z.string().describe("What was expected there"),
        }),
      )
      .optional()
      .describe("Every single thing that is wrong in the request"),
  })
  .meta({ id: "Problem", description: "A problem document (RFC 9457)" });

/** A problem document as data. */
export type Problem = z.output<typeof problemSchema>;

/** Where in a request something is wrong. */
export type RequestPart = NonNullable<Problem["errors"]>[number]["in"];

/** The HTTP status of an error, from the code table. */
export function httpStatusOf(error: AssayError): number {
  return CODES[error.code].http;
}

/**
 * The problem document of an error: with its detail and violations if its code's audience is the caller, with the
 * title alone otherwise. `requestId` is a UUID.
 */
export function problemOf(error: AssayError, requestId: string, part: RequestPart = "body"): Problem {
  const { title, http, audience } = CODES[error.code];
  const detail = audience === "caller" && error.detail !== "" ? callerMessage(error) : undefined;
  const errors = audience === "caller" ? error.violations : [];
  return {
    type: `urn:assay:error:${error.code}`,
    title,
    status: http,
    ...(detail === undefined ? {} : { detail }),
    instance: `urn:uuid:${requestId}`,
    code: error.code,
    ...(errors.length === 0 ? {} : { errors: errors.map((violation) => ({ in: part, ...violation })) }),
  };
}

/**
 * The response schemas of these codes for a route's `schema.response`, so that the OpenAPI document tells which
 * problems a route has.
 */
export function problemResponses(...codes: readonly ErrorCode[]): Readonly<Record<number, ProblemResponse>> {
  const byStatus = Map.groupBy(codes, (code) => CODES[code].http);
  return Object.fromEntries(
    [...byStatus].map(([status, same]) => [
      status,
      {
        description: same.map((code) => `${code}: ${CODES[code].title}`).join("\n\n"),
        content: { [PROBLEM_MEDIA_TYPE]: { schema: problemSchema } },
      },
    ]),
  );
}

/** One entry of a route's response schemas. */
export interface ProblemResponse {
  readonly description: string;
  readonly content: Readonly<Record<typeof PROBLEM_MEDIA_TYPE, { readonly schema: typeof problemSchema }>>;
}
