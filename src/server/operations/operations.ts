/**
 * server/operations — what an operator may change, each change with its audit record, for every face of the server.
 *
 * Must never know a wire format, nor who may call what: callers were authorised before.
 * Called by the gRPC services and the JSON routes.
 */
import { agentOperations, type AgentOperations, type OperatedNodes } from "./agent-operations.ts";
import {
  authorityOperations,
  type AuthorityOperations,
  type OperatedAuthorities,
} from "./authority-operations.ts";
import {
  bundleOperations,
  type BundleOperations,
  type OperatedBundles,
  type OperatedSigning,
} from "./bundle-operations.ts";
import { entryOperations, type EntryOperations, type OperatedEntries } from "./entry-operations.ts";
import { revocationOperations, type RevocationOperations } from "./revocation-operations.ts";
import type { Clock } from "../../clock.ts";
import type { AuditRecord } from "../../observe/audit-record.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import type { CrlStore } from "../../store/store.ts";

/** What the operations stand on. */
export interface OperationsOptions {
  readonly trustDomain: TrustDomain;
  readonly entries: OperatedEntries;
  readonly nodes: OperatedNodes;
  readonly bundles: OperatedBundles;
  readonly signing: OperatedSigning & OperatedAuthorities;
  readonly crls: CrlStore;
  /** Subject key ids of the X.509 authorities whose keys servers of this trust domain hold or held. */
  readonly ownAuthorities: () => Promise<ReadonlySet<string>>;
  /** The bundle of a trust domain, own or foreign, as it stands. */
  readonly bundleOf: (trustDomain: TrustDomain) => SpiffeBundle | undefined;
  readonly clock: Clock;
  /** Writes records before it returns, all or none, or throws `AUDIT_UNAVAILABLE`. */
  readonly audit: { append(records: readonly AuditRecord[]): void };
}

/**
 * Everything an operator may change. Each call makes its change, then writes its audit records, then answers; where
 * the records cannot be written it throws `AUDIT_UNAVAILABLE`, and the change stands though it was not acknowledged,
 * as with any answer that is lost. What changed nothing has no record. All may throw `STORE_UNAVAILABLE`.
 */
export type Operations = EntryOperations &
  AgentOperations &
  BundleOperations &
  AuthorityOperations &
  RevocationOperations;

/** Makes the operations of one server. */
export function createOperations(options: OperationsOptions): Operations {
  return {
    ...entryOperations(options),
    ...agentOperations(options),
    ...bundleOperations(options),
    ...authorityOperations(options),
    ...revocationOperations(options),
  };
}
