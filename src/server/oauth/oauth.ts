import type { Socket } from "node:net";
import type { Clock } from "../../clock.ts";
import type { HttpLog, HttpRoutes } from "../../http/http-routes.ts";
import type { Caller } from "../../issuance/caller.ts";
import type { TaskIssuance } from "../../issuance/tasks/task-issuance.ts";
import type { ExchangeOptions } from "../../issuance/token-exchange/exchange-options.ts";
import type { Allowance } from "../limits.ts";
import type { TaskCallGuard } from "../tasks/task-call.ts";
import type { OAuthMetadata } from "../web/oidc-routes.ts";
import type { OperatorGuard } from "../web/operator-guard.ts";
import { DpopGuard } from "./dpop-guard.ts";
import { clientCertificateOf } from "./held.ts";
import { oauthMetadata } from "./oauth-metadata.ts";
import { oauthRoutes } from "./oauth-routes.ts";
import { ReplayMemory } from "./replay-memory.ts";
import { taskResourceRoutes } from "./resource-routes.ts";
import { taskTokenGuard } from "./task-token-guard.ts";

/** What the OAuth face of a server is made of. */
export interface OAuthParts {
  readonly exchange: Omit<ExchangeOptions, "isNewProof">;
  /** Opens tasks; absent where no task attestor is configured. */
  readonly openTask?: TaskIssuance["open"] | undefined;
  readonly callerOf: (socket: Socket) => Caller;
  /** DER of the certificate that a connection's other end showed; the TLS socket's word unless given. */
  readonly certificateOf?: (socket: Socket) => Uint8Array | undefined;
  readonly limit: Allowance;
  readonly log: HttpLog;
  readonly random: (octets: number) => Uint8Array;
  /** Where the addresses of all status lists are listed, if anywhere. */
  readonly statusListAggregation?: string | undefined;
}

/** The OAuth face of a server. */
export interface OAuth {
  /** Adds its routes, in a scope of their own. */
  addRoutes(routes: HttpRoutes, guard: OperatorGuard): void;
  /** Stands before the task API. */
  readonly taskGuard: TaskCallGuard;
  /** What both well-known documents say of it. */
  readonly metadata: OAuthMetadata;
}

/** Makes the OAuth face of a server that has an issuer. */
export function createOAuth(parts: OAuthParts): OAuth {
  const { openTask, callerOf, limit, log, random, statusListAggregation } = parts;
  const { issuer, clock, witSvids } = parts.exchange;
  const exchange: ExchangeOptions = { ...parts.exchange, isNewProof: proofMemory(clock) };
  const dpop = new DpopGuard({ clock, issuer, nonceKey: random(NONCE_KEY_OCTETS) });
  const tasks = openTask !== undefined;
  return {
    addRoutes(routes, guard) {
      const { certificateOf = clientCertificateOf } = parts;
      if (tasks) taskResourceRoutes(routes, issuer);
      routes.register(async (scope) => {
        oauthRoutes(
          scope.withTypeProvider(),
          { exchange, openTask, dpop, callerOf, certificateOf, limit, log },
          guard,
        );
      });
    },
    taskGuard: taskTokenGuard({
      exchange,
      dpop: new DpopGuard({ clock, issuer, nonceKey: random(NONCE_KEY_OCTETS) }),
    }),
    metadata: oauthMetadata({ issuer, tasks, witSvids, statusListAggregation }),
  };
}

/** Remembers proofs that say themselves when they were made, by the minute. */
function proofMemory(clock: Clock): ExchangeOptions["isNewProof"] {
  const seen = new ReplayMemory();
  return (id, issuedAt, client) => {
    // A proof is at most one minute old, so that of two minutes ago is of no use to anybody.
    seen.forgetBefore(Math.floor(clock.now() / MINUTE) - 2);
    return seen.remember(Math.floor((issuedAt * 1000) / MINUTE), id, client);
  };
}

const NONCE_KEY_OCTETS = 32;
const MINUTE = 60_000;
