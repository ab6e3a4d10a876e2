/** A task as the server's HTTP API gives it; times are RFC 3339. */
export interface TaskView {
  readonly id: string;
  readonly state: "active" | "ending" | "ended";
  readonly lease: number;
  readonly lease_expires_at: string;
  readonly hard_end: string;
  readonly attestor: string;
  readonly platform: string;
  readonly issuer: string;
  readonly description: string;
  readonly granularity: "job" | "run";
  readonly key_thumbprint: string;
  readonly selectors: readonly string[];
  readonly guarded_selectors: readonly string[];
  readonly claims: Readonly<Record<string, string>>;
  readonly author_claims: Readonly<Record<string, string>>;
  readonly opened_at: string;
  readonly ended_at: string | null;
  readonly end_reason: string | null;
  readonly identities: readonly { readonly spiffe_id: string; readonly hint: string }[];
}

/** Something that was issued to a task. */
export interface CredentialView {
  readonly kind: "x509" | "jwt" | "wit" | "access_token";
  readonly id: string;
  readonly authority_id: string;
  readonly spiffe_id: string;
  readonly entry_id: string;
  readonly parent: string;
  readonly issued_at: string;
  readonly expires_at: string;
  readonly revoked_at: string | null;
  readonly reason: string | null;
}

/** What entries give for a run's evidence. */
export interface MatchingView {
  readonly identities: readonly (EntryFacts & {
    readonly earned: string;
    readonly hint: string;
    readonly max_task_duration: number;
  })[];
  readonly faults: readonly (EntryFacts & { readonly reason: string })[];
  readonly near_misses: readonly (EntryFacts & {
    readonly missing: readonly string[];
    readonly unnamed: readonly string[];
  })[];
}

/** The entry that something is about. */
export interface EntryFacts {
  readonly entry_id: string;
  readonly spiffe_id: string;
  readonly id_template: string;
}

/** One task from the claims of its token to the end of what it got. */
export interface TaskExplanationView {
  readonly id: string;
  readonly task: TaskView | null;
  readonly matching: MatchingView | null;
  readonly cap: { readonly by: "setting" | "entry" | "other"; readonly entry_id: string } | null;
  readonly issued: readonly (CredentialView & {
    readonly audience: readonly string[];
    readonly decision_id: string | null;
  })[];
  readonly trail: readonly TrailRecord[];
  readonly trail_cut_off: boolean;
}

/** Fields of an audit record that a page shows. */
export interface TrailRecord {
  readonly time: string;
  readonly event: string;
  readonly outcome: string;
  readonly decision_id?: string;
  readonly code?: string;
  readonly caller_id?: string;
  readonly caller_address?: string;
  readonly caller_uid?: number;
  readonly spiffe_id?: string;
  readonly serial?: string;
  readonly jti?: string;
  readonly reason?: string;
  readonly reasons?: readonly string[];
}

/** What a job's claims would earn. */
export interface JobExplanationView {
  readonly attestor: string;
  readonly refusal: string | null;
  readonly run: RunView | null;
  readonly matching: MatchingView | null;
  readonly task: { readonly id: string; readonly state: string } | null;
}

/** What an attestor makes of a job's claims. */
export interface RunView
  extends Pick<
    TaskView,
    | "platform"
    | "issuer"
    | "description"
    | "granularity"
    | "selectors"
    | "guarded_selectors"
    | "claims"
    | "author_claims"
  > {
  readonly task_key: string;
  readonly ends_by: string | null;
}
