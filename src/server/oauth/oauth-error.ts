import type { FastifyReply, FastifyRequest } from "fastify";
import { type AssayError, callerMessage, toAssayError } from "../../errors/assay-error.ts";
import { CODES } from "../../errors/codes.ts";
import type { HttpLog } from "../../http/http-routes.ts";
import { requestFaultOf } from "../../http/request-fault.ts";

/** The names of errors: RFC 6749 §5.2, RFC 8693 §2.2.2, RFC 8707 §2, RFC 9449 §5 and §8, and RFC 6749 §4.1.2.1 for our own troubles. */
export type OAuthErrorName =
  | "invalid_request"
  | "invalid_client"
  | "invalid_grant"
  | "unauthorized_client"
  | "unsupported_grant_type"
  | "invalid_scope"
  | "invalid_target"
  | "invalid_dpop_proof"
  | "use_dpop_nonce"
  | "temporarily_unavailable"
  | "server_error";

/** An error of the OAuth endpoints, as its RFC names it. */
export class OAuthError extends Error {
  readonly error: OAuthErrorName;
  readonly description: string;
  readonly status: number;

  constructor(
    error: OAuthErrorName,
    description: string,
    options: { readonly status?: number; readonly cause?: unknown } = {},
  ) {
    super(`${error}: ${description}`, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "OAuthError";
    this.error = error;
    this.description = description;
    this.status = options.status ?? (error === "invalid_client" ? 401 : 400);
  }
}

/**
 * Whatever was thrown, as OAuth names it.
 * @param unfit What the grant calls something that was shown and is not good: RFC 8693 §2.2.2 says `invalid_request`,
 * RFC 7523 §3.1 `invalid_grant`.
 */
export function oauthErrorOf(
  thrown: unknown,
  unfit: "invalid_request" | "invalid_grant" | "invalid_client" = "invalid_request",
): OAuthError {
  if (thrown instanceof OAuthError) return thrown;
  const { error } = requestFaultOf(thrown);
  const named = nameOf(error, unfit);
  const { http } = CODES[error.code];
  // RFC 6749 §5.2: 400, unless something else is said of the error; sizes, rates and our own troubles have words in HTTP.
  const status = named === "invalid_client" ? 401 : http === 413 || http === 429 || http >= 500 ? http : 400;
  return new OAuthError(named, callerMessage(error), { status, cause: error });
}

/** Answers an error (RFC 6749 §5.2), and logs it where it is ours to mend. */
export function answerOAuthError(
  thrown: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
  log: HttpLog,
): FastifyReply {
  const { error, description, status, cause } = oauthErrorOf(thrown);
  const facts = {
    request_id: request.id,
    method: `${request.method} ${request.routeOptions.url ?? "unknown path"}`,
    status,
    ...(cause !== undefined && { error: toAssayError(cause) }),
  };
  if (error === "server_error") log.error("request failed", facts);
  else log.debug("request refused", facts);
  // RFC 9110 §15.5.2 wants a challenge; there is no registered scheme for credentials of a connection or a form.
  if (status === 401) reply.header("www-authenticate", "SPIFFE");
  if (status === 429 || status === 503) reply.header("retry-after", "1");
  return reply
    .code(status)
    .headers(NOT_STORED)
    .type("application/json")
    .serializer(JSON.stringify)
    .send({ error, error_description: printable(description) });
}

/** What every answer of these endpoints says to caches (RFC 6749 §5.1). */
export const NOT_STORED = { "cache-control": "no-store", pragma: "no-cache" } as const;

function nameOf(error: AssayError, unfit: OAuthErrorName): OAuthErrorName {
  switch (error.code) {
    case "DPOP_NONCE_REQUIRED":
      return "use_dpop_nonce";
    case "INVALID_DPOP_PROOF":
      return "invalid_dpop_proof";
    case "CLIENT_REFUSED":
    case "CALLER_NOT_IDENTIFIED":
      return "invalid_client";
    case "AUTHORIZATION_DENIED":
      return "unauthorized_client";
    case "TARGET_REFUSED":
    case "INVALID_AUDIENCE":
      return "invalid_target";
    case "NO_IDENTITY_ISSUED":
    case "POLICY_DENIED":
    case "EVIDENCE_REPLAYED":
    case "TASK_KEY_MISMATCH":
    case "TASK_OVER":
      return unfit;
    case "RATE_LIMITED":
      return "temporarily_unavailable";
    default:
      if (CODES[error.code].http < 500) return "invalid_request";
      return CODES[error.code].retry ? "temporarily_unavailable" : "server_error";
  }
}

/** RFC 6749 §5.2: printable ASCII without quotes and backslashes. */
function printable(text: string): string {
  return text.replaceAll(/["\\]/g, "'").replaceAll(/[^\x20-\x7e]/g, "?");
}
