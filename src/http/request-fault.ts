import type { FastifySchemaCompiler } from "fastify";
import { type $ZodIssue, type $ZodType, safeParse } from "zod/v4/core";
import { AssayError, toAssayError, type Violation } from "../errors/assay-error.ts";
import type { ErrorCode } from "../errors/codes.ts";
import type { RequestPart } from "./problem.ts";

/** An error of ours, and the part of the request that its violations point into. */
export interface RequestFault {
  readonly error: AssayError;
  readonly part: RequestPart;
}

/** Compiles a route's zod schema; what does not fit it fails with `INVALID_REQUEST` and a violation for each fault. */
export const requestValidator: FastifySchemaCompiler<$ZodType> =
  ({ schema }) =>
  (data) => {
    const result = safeParse(schema, data);
    return result.success ? { value: result.data } : { error: schemaError(result.error.issues) };
  };

/**
 * What was thrown while a request was handled, as an error of ours: a failed schema and every fault that Fastify finds
 * by itself become codes of the table; what nobody foresaw becomes `INTERNAL`.
 */
export function requestFaultOf(thrown: unknown): RequestFault {
  const { code, statusCode, validationContext } = thrown as {
    readonly code?: unknown;
    readonly statusCode?: unknown;
    // Fastify writes here which part of the request it was validating.
    readonly validationContext?: string;
  };
  if (thrown instanceof AssayError)
    return { error: thrown, part: PARTS.get(validationContext ?? "") ?? "body" };
  const known = typeof code === "string" ? FASTIFY_CODES.get(code) : undefined;
  if (known !== undefined)
    return { error: new AssayError(known.code, known.detail, { cause: thrown }), part: "body" };
  // Fastify's other complaints about a request carry a status of the 400s; their texts quote nothing secret but
  // are not ours, so the caller gets a sentence of our own.
  if (
    typeof code === "string" &&
    code.startsWith("FST_ERR_") &&
    typeof statusCode === "number" &&
    statusCode < 500
  ) {
    return {
      error: new AssayError("INVALID_REQUEST", "the request cannot be read", { cause: thrown }),
      part: "body",
    };
  }
  return { error: toAssayError(thrown), part: "body" };
}

function schemaError(issues: readonly $ZodIssue[]): AssayError {
  const violations = issues
    .slice(0, MAX_VIOLATIONS)
    .map(({ path, message }): Violation => ({ pointer: pointerTo(path), detail: houseText(message) }));
  const first = violations[0] ?? { pointer: "", detail: "not what was expected" };
  const detail = first.pointer === "" ? first.detail : `${first.pointer}: ${first.detail}`;
  return new AssayError("INVALID_REQUEST", detail, { violations });
}

function pointerTo(path: readonly PropertyKey[]): string {
  return path.map((key) => `/${String(key).replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");
}

// The house's error texts begin in lower case and have no final period; the library's begin in upper case.
function houseText(message: string): string {
  return (message.charAt(0).toLowerCase() + message.slice(1)).replace(/\.$/, "");
}

const PARTS = new Map<string, RequestPart>([
  ["body", "body"],
  ["querystring", "query"],
  ["params", "path"],
  ["headers", "header"],
]);

const FASTIFY_CODES = new Map<string, { readonly code: ErrorCode; readonly detail: string }>([
  ["FST_ERR_CTP_BODY_TOO_LARGE", { code: "MESSAGE_TOO_LARGE", detail: "the body is larger than allowed" }],
  [
    "FST_ERR_CTP_INVALID_MEDIA_TYPE",
    { code: "UNSUPPORTED_MEDIA_TYPE", detail: "the body must be application/json" },
  ],
  [
    "FST_ERR_CTP_INVALID_CONTENT_TYPE",
    { code: "UNSUPPORTED_MEDIA_TYPE", detail: "the body must be application/json" },
  ],
  ["FST_ERR_CTP_EMPTY_JSON_BODY", { code: "INVALID_REQUEST", detail: "the body is empty, expected JSON" }],
  ["FST_ERR_CTP_INVALID_JSON_BODY", { code: "INVALID_REQUEST", detail: "the body is not valid JSON" }],
  [
    "FST_ERR_CTP_INVALID_CONTENT_LENGTH",
    { code: "INVALID_REQUEST", detail: "the body is not as long as announced" },
  ],
  ["FST_ERR_BAD_URL", { code: "INVALID_REQUEST", detail: "the path is not valid percent-encoded UTF-8" }],
]);

const MAX_VIOLATIONS = 20;
