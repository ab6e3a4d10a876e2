import type { Socket } from "node:net";
import type { FastifyRequest } from "fastify";
import { AssayError, toAssayError } from "../../errors/assay-error.ts";
import { callerFacts } from "../../issuance/decision.ts";
import type { Caller } from "../../issuance/caller.ts";
import type { AuditRecord } from "../../observe/audit-record.ts";
import type { SpiffeId } from "../../spiffe/id.ts";
import type { Access } from "../access/access.ts";
import type { OperatorCall } from "../operations/operator-call.ts";

/** What decides who is an operator. */
export interface OperatorGuardOptions {
  /**
   * Who is at the other end of a connection, now.
   * @throws AssayError `CALLER_NOT_IDENTIFIED` where its SVID is no longer trusted.
   */
  readonly callerOf: (socket: Socket) => Caller;
  readonly access: Pick<Access, "holds">;
  readonly audit: { append(records: readonly AuditRecord[]): void };
  /**
   * Takes one refusal from a caller's budget, so that nobody who merely has an SVID can fill the audit log.
   * @throws AssayError `RATE_LIMITED`.
   */
  readonly refusals: { take(key: string): void };
}

/** Decides for each request whether an operator sent it, and denies by default. */
export interface OperatorGuard {
  /**
   * Lets operators pass: local callers of the admin socket and administrators by their SVID.
   * @throws AssayError `CALLER_NOT_IDENTIFIED` for a caller who proved nothing, `AUTHORIZATION_DENIED` (with an audit
   * record) for one who is no operator or whose request a foreign web page sent, `RATE_LIMITED` in place of it for
   * one who goes on trying.
   */
  admit(request: FastifyRequest): void;
  /** Whether an operator sent the request. Never throws. */
  isOperator(request: FastifyRequest): boolean;
  /** The SPIFFE ID that the caller proved, where it is an SVID that has not expired by `now` (Unix seconds). */
  currentId(request: FastifyRequest, now: number): SpiffeId | undefined;
  /** Who asks, and by which route, for the audit record of a change. */
  callOf(request: FastifyRequest): OperatorCall;
}

/** Makes the guard of one application. */
export function operatorGuard(options: OperatorGuardOptions): OperatorGuard {
  const { access, audit, refusals } = options;
  const callerOf = (request: FastifyRequest) => options.callerOf(request.socket);
  const holds = (caller: Caller) => access.holds("local", caller) || access.holds("admin", caller);

  return {
    admit(request) {
      const caller = callerOf(request);
      if (caller.svid === undefined && caller.process === undefined) {
        throw new AssayError("CALLER_NOT_IDENTIFIED", "the operator API needs a client X509-SVID");
      }
      const reason = !holds(caller)
        ? "the caller is no administrator"
        : isFromForeignPage(request)
          ? "the request comes from a page of another origin"
          : undefined;
      if (reason === undefined) return;
      refusals.take(caller.svid?.spiffeId ?? `uid:${String(caller.process?.uid)}`);
      audit.append([
        {
          event: "api.denied",
          outcome: "denied",
          code: "AUTHORIZATION_DENIED",
          method: methodOf(request),
          request_id: request.id,
          ...callerFacts(caller),
          reasons: [reason],
        },
      ]);
      throw new AssayError("AUTHORIZATION_DENIED", reason);
    },
    isOperator(request) {
      return ifIdentified(() => holds(callerOf(request)), false);
    },
    currentId(request, now) {
      return ifIdentified(() => {
        const { svid } = callerOf(request);
        return svid !== undefined && svid.notAfter > now ? svid.spiffeId : undefined;
      }, undefined);
    },
    callOf: (request) => ({ caller: callerOf(request), method: methodOf(request), requestId: request.id }),
  };
}

/** The route of a request as audit records name it: its method and its pattern, never what the caller made of it. */
function methodOf(request: FastifyRequest): string {
  return `${request.method} ${request.routeOptions.url ?? "unknown path"}`;
}

// A browser with a client certificate would send it along with a request that another site's page makes. Browsers say
// so in these headers, which pages cannot alter; other clients do not send them.
function isFromForeignPage({ headers }: FastifyRequest): boolean {
  const site = headers["sec-fetch-site"];
  if (site !== undefined && site !== "same-origin" && site !== "none") return true;
  const { origin, host } = headers;
  return origin !== undefined && origin !== `https://${host ?? ""}`;
}

function ifIdentified<Value>(read: () => Value, otherwise: Value): Value {
  try {
    return read();
  } catch (error) {
    if (toAssayError(error).code === "CALLER_NOT_IDENTIFIED") return otherwise;
    throw error;
  }
}
