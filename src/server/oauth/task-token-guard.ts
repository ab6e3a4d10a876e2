import type { FastifyReply, FastifyRequest } from "fastify";
import { unixSeconds } from "../../clock.ts";
import { DPOP_ALGORITHMS } from "../../crypto/jose/dpop.ts";
import { verifyAccessToken } from "../../crypto/jose/access-token-verify.ts";
import { AssayError, callerMessage, toAssayError } from "../../errors/assay-error.ts";
import { type ExchangeOptions, taskAudience } from "../../issuance/token-exchange/exchange-options.ts";
import { jwtKeysOf } from "../../issuance/token-exchange/token-keys.ts";
import { taskSubject } from "../../issuance/tasks/task-options.ts";
import type { TaskRecord } from "../../store/task-store.ts";
import type { TaskCallGuard } from "../tasks/task-call.ts";
import type { DpopGuard } from "./dpop-guard.ts";
import { taskResourceMetadataUrl } from "./oauth-metadata.ts";

/** What the guard stands on. */
export interface TaskTokenGuardOptions {
  readonly exchange: Pick<ExchangeOptions, "signing" | "issuer" | "clock" | "tasks" | "trustDomain">;
  /** Proofs for the task API; none of another kind may share it. */
  readonly dpop: DpopGuard;
}

/**
 * The guard of the task API: an access token of a task in `Authorization: DPoP`, a proof for it and this very request by the
 * key that it is bound to, and the task alive (RFC 9449 §7). The token as bearer is refused.
 */
export function taskTokenGuard(options: TaskTokenGuardOptions): TaskCallGuard {
  return {
    async admit(request, reply) {
      options.dpop.offerNonce(reply);
      try {
        return await admitted(options, request);
      } catch (thrown) {
        challenge(options, reply, toAssayError(thrown));
        throw thrown;
      }
    },
  };
}

async function admitted(
  { exchange, dpop }: TaskTokenGuardOptions,
  request: FastifyRequest,
): Promise<TaskRecord> {
  const token = tokenOf(request);
  const { issuer, signing, clock, tasks, trustDomain } = exchange;
  const { subject, confirmation } = await verifyAccessToken(token, jwtKeysOf(signing.bundle()), {
    issuer,
    audience: taskAudience(issuer),
    now: unixSeconds(clock),
    leewaySeconds: LEEWAY_SECONDS,
  });
  if (confirmation === undefined || !("jkt" in confirmation)) {
    throw new AssayError("INVALID_ACCESS_TOKEN", "the token is bound to no key");
  }
  const jkt = await dpop.admit(request, { token, jkt: confirmation.jkt });
  const task = await tasks.active(subject.slice(subject.lastIndexOf("/") + 1));
  if (taskSubject(trustDomain, task) !== subject || task.keyThumbprint !== jkt) {
    throw new AssayError("INVALID_ACCESS_TOKEN", "the token is not of this task");
  }
  return task;
}

function tokenOf({ headers, raw }: FastifyRequest): string {
  // Node keeps the first of several and says nothing; whoever stood before us may have read another.
  const names = raw.rawHeaders.filter((_, at) => at % 2 === 0);
  if (names.filter((name) => name.toLowerCase() === "authorization").length > 1) {
    throw new AssayError("INVALID_ACCESS_TOKEN", "exactly one Authorization header is expected");
  }
  const [, scheme = "", token = ""] = AUTHORIZATION.exec(headers.authorization ?? "") ?? [];
  if (scheme.toLowerCase() === "dpop") return token;
  const detail =
    scheme.toLowerCase() === "bearer"
      ? "the token is bound to a key: the scheme must be DPoP"
      : "an access token is missing, expected Authorization: DPoP";
  throw new AssayError("INVALID_ACCESS_TOKEN", detail);
}

/** RFC 9449 §7.1, with where to read on (RFC 9728 §5.1). */
function challenge({ exchange }: TaskTokenGuardOptions, reply: FastifyReply, error: AssayError): void {
  const name = ERRORS.get(error.code);
  if (name === undefined) return;
  const description = callerMessage(error).replaceAll(/[^\x20-\x21\x23-\x5b\x5d-\x7e]/g, "'");
  reply.header(
    "www-authenticate",
    [
      `DPoP error="${name}"`,
      `error_description="${description}"`,
      `algs="${DPOP_ALGORITHMS.join(" ")}"`,
      `resource_metadata="${taskResourceMetadataUrl(exchange.issuer)}"`,
    ].join(", "),
  );
}

const AUTHORIZATION = /^([A-Za-z]{1,16}) +([\x21-\x7e]{1,16384})$/;
const ERRORS: ReadonlyMap<string, string> = new Map([
  ["INVALID_ACCESS_TOKEN", "invalid_token"],
  ["INVALID_DPOP_PROOF", "invalid_dpop_proof"],
  ["DPOP_NONCE_REQUIRED", "use_dpop_nonce"],
]);
const LEEWAY_SECONDS = 5;
