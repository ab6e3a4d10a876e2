import type { Clock } from "../../clock.ts";
import type { PolicyOptions } from "../../policy/policy-options.ts";
import type { TaskFacts, TaskIdentities } from "../../registry/task-identities.ts";
import type { Signing } from "../../signing/signing.ts";
import type { SpiffeId } from "../../spiffe/id.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import type { EntryRecord } from "../../store/records.ts";
import type { CredentialStore } from "../../store/task-store.ts";
import type { EndOutcome, Tasks } from "../../tasks/tasks.ts";
import type { AuditRecord } from "../../observe/audit-record.ts";
import type { Caller } from "../caller.ts";
import type { DecisionOptions } from "../decision.ts";

/** What access tokens are issued, read and revoked with. */
export interface ExchangeOptions extends DecisionOptions {
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly policy: PolicyOptions;
  readonly signing: Pick<Signing, "bundle" | "jwtAuthorityNotAfter" | "mintAccessToken">;
  /** The `iss` of all tokens, compared byte for byte. */
  readonly issuer: string;
  /** Registration entries that give this very ID, expired ones among them. */
  readonly entriesOf: (spiffeId: SpiffeId) => readonly EntryRecord[];
  readonly entry: (id: string) => EntryRecord | undefined;
  readonly tasks: Pick<Tasks, "active">;
  /** What the registration entries give a task now. */
  readonly identities: (instance: string, facts: TaskFacts) => TaskIdentities;
  /** Ends a task: `endTask`. */
  readonly endTask: (
    caller: Caller,
    id: string,
    reason: "job" | "operator",
    facts: Partial<AuditRecord>,
  ) => Promise<EndOutcome>;
  readonly credentials: Pick<CredentialStore, "get" | "record" | "reserveStatus" | "revoke">;
  /** Where a status list is fetched. */
  readonly statusListUri: (list: number) => string;
  /** A fresh, unguessable id for a token. */
  readonly newTokenId: () => string;
  /** How long after a task's lease a token of it may still be good, seconds. */
  readonly grace: number;
  /** Whether WIT-SVIDs are switched on. */
  readonly witSvids: boolean;
  /**
   * Whether a proof with this identifier was not seen before; remembers it for `client` while one made at `iat` could be
   * accepted.
   */
  readonly isNewProof: (id: string, issuedAt: number, client: SpiffeId) => boolean;
}

/** The audience of the tokens by which a task speaks to this server: `<issuer>/v1/task`. */
export function taskAudience(issuer: string): string {
  return `${issuer.replace(/\/$/, "")}/v1/task`;
}
