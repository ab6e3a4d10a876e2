import { type Clock, unixSeconds } from "../../clock.ts";
import type { TlsPeer } from "../../endpoint/tls-listener.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { RateLimiter } from "../../issuance/rate-limiter.ts";
import type { AuditRecord } from "../../observe/audit-record.ts";
import type { CallContext } from "../../rpc/call-context.ts";
import type { SpiffeId } from "../../spiffe/id.ts";
import type { Asker } from "../workload-api/workload-call.ts";
import type { BrokerAllowance } from "./broker-settings.ts";

/** A connection to the Broker Endpoint. */
export interface BrokerPeer {
  readonly tls: TlsPeer;
  readonly transport: "unix" | "tcp";
}

/** A broker that may call. */
export interface AdmittedBroker {
  readonly asker: Asker;
  readonly allowance: BrokerAllowance;
  /** Records that it may not do what it asks for, and gives the error that says so. */
  denial(detail: string): AssayError;
}

/** What telling brokers from others needs. */
export interface AdmissionOptions {
  readonly brokers: readonly BrokerAllowance[];
  readonly clock: Clock;
  readonly audit: { append(records: readonly AuditRecord[]): void };
}

/**
 * Tells brokers from others, at each call: the security header first (Broker Endpoint §3), then who the caller is, then
 * whether it is one of those that the operator has named. The hook throws `SECURITY_HEADER_MISSING`,
 * `CALLER_NOT_IDENTIFIED` and `AUTHORIZATION_DENIED`.
 */
export function brokerAdmission({ brokers, clock, audit }: AdmissionOptions) {
  const allowances = new Map(brokers.map((broker) => [broker.id, broker]));
  // Any member of the trust domain may knock; the audit log shall not be written full by one.
  const recorded = new RateLimiter({ perSecond: 1, burst: 20 }, clock);
  const isRecorded = (id: SpiffeId): boolean => {
    try {
      recorded.take(id);
      return true;
    } catch {
      return false;
    }
  };
  return (context: CallContext<BrokerPeer, undefined>): AdmittedBroker => {
    if (context.header(SECURITY_HEADER) !== "true") {
      throw new AssayError("SECURITY_HEADER_MISSING", "security header missing from request");
    }
    const { method, peer } = context;
    const { spiffeId, address } = identified(peer, clock);
    const denial = (detail: string): AssayError => {
      const error = new AssayError("AUTHORIZATION_DENIED", detail);
      if (isRecorded(spiffeId)) {
        audit.append([
          {
            event: "api.denied",
            outcome: "denied",
            method: method.slice(1),
            code: error.code,
            caller_id: spiffeId,
            ...(address === "" ? {} : { caller_address: address }),
            reasons: [detail],
          },
        ]);
      }
      return error;
    };
    const allowance = allowances.get(spiffeId);
    if (allowance === undefined) throw denial(`${spiffeId} is not an authorized broker`);
    return {
      allowance,
      denial,
      asker: { spiffeId, address, requireEntitled: () => void identified(peer, clock) },
    };
  };
}

function identified(
  { tls }: BrokerPeer,
  clock: Clock,
): { readonly spiffeId: SpiffeId; readonly address: string } {
  const { svid, address } = tls.caller();
  if (svid === undefined) throw new AssayError("CALLER_NOT_IDENTIFIED", "the broker has shown no X509-SVID");
  if (svid.notAfter < unixSeconds(clock)) {
    throw new AssayError("CALLER_NOT_IDENTIFIED", "the broker's X509-SVID has expired");
  }
  return { spiffeId: svid.spiffeId, address };
}

const SECURITY_HEADER = "broker.spiffe.io";
