import type { Socket } from "node:net";
import type { HttpLog } from "../../http/http-routes.ts";
import type { Caller } from "../../issuance/caller.ts";
import type { TaskIssuance } from "../../issuance/tasks/task-issuance.ts";
import type { ExchangeOptions } from "../../issuance/token-exchange/exchange-options.ts";
import type { Allowance } from "../limits.ts";
import type { DpopGuard } from "./dpop-guard.ts";

/** What the OAuth endpoints stand on. */
export interface OAuthRoutesOptions {
  /** What is decided about tokens; its `issuer` is the endpoints' base. */
  readonly exchange: ExchangeOptions;
  /** Opens tasks; absent where no task attestor is configured. */
  readonly openTask?: TaskIssuance["open"] | undefined;
  /** Proofs for these endpoints; none of another kind may share it. */
  readonly dpop: DpopGuard;
  /**
   * Who is at the other end of a connection, now.
   * @throws AssayError `CALLER_NOT_IDENTIFIED` where its SVID is no longer trusted.
   */
  readonly callerOf: (socket: Socket) => Caller;
  /** DER of the leaf by which the other end proved its X509-SVID, `undefined` where it showed none. */
  readonly certificateOf: (socket: Socket) => Uint8Array | undefined;
  /** Taken from by each request before anything in it is read, by the caller's SPIFFE ID or else its address. */
  readonly limit: Allowance;
  readonly log: HttpLog;
}
