import { AssayError } from "../../errors/assay-error.ts";
import { CODES, type ErrorCode } from "../../errors/codes.ts";
import type { AuditEvent } from "../../observe/audit-events.ts";
import type { AuditRecord } from "../../observe/audit-record.ts";
import { formatSelector } from "../../spiffe/selector.ts";
import type { WorkloadEvent, WorkloadQuestion } from "./verdict.ts";
import type { WorkloadEntry, WorkloadNearMiss } from "./workload-entry.ts";

/** One SVID that is about to be handed over. */
export interface DeliveredSvid {
  readonly entry: WorkloadEntry;
  readonly authorityId: string;
  /** X509-SVID: lower-case hex. */
  readonly serial?: string;
  /** JWT-SVID or WIT-SVID that has one. */
  readonly jti?: string;
  /** Unix seconds. */
  readonly expiresAt: number;
}

/** Why nothing is handed over. */
export interface Refusal {
  readonly code: ErrorCode;
  /** For the operator. */
  readonly detail: string;
  readonly nearMisses: readonly WorkloadNearMiss[];
}

/** What records of workload decisions need. */
export interface WorkloadRecorderOptions {
  /** Writes before it returns, or throws `AUDIT_UNAVAILABLE`. */
  readonly append: (records: readonly AuditRecord[]) => void;
  /** A new decision id: a UUID. */
  readonly newId: () => string;
  /** Told of each decision after it was recorded. */
  readonly onDecision: (event: WorkloadEvent, outcome: "issued" | "denied" | "failed") => void;
}

/**
 * Records decisions before their answers leave. Every identity that is handed over is a decision of its own with an id of
 * its own; those of one answer share the question's id as request id.
 */
export class WorkloadRecorder {
  readonly #options: WorkloadRecorderOptions;

  constructor(options: WorkloadRecorderOptions) {
    this.#options = options;
  }

  /** Records that SVIDs are handed over. @throws AssayError `AUDIT_UNAVAILABLE`: the answer must not leave. */
  delivered(question: WorkloadQuestion, svids: readonly DeliveredSvid[]): void {
    if (svids.length === 0) return;
    this.#options.append(
      svids.map(({ entry, authorityId, serial, jti, expiresAt }) => ({
        ...this.#common(question, DELIVERED[question.event]),
        outcome: "issued" as const,
        entry_id: entry.id,
        entry_revision: entry.revision,
        parent_id: entry.parentId,
        spiffe_id: entry.spiffeId,
        authority_id: authorityId,
        expires_at: expiresAt,
        ...(serial === undefined ? {} : { serial }),
        ...(jti === undefined ? {} : { jti }),
      })),
    );
    for (const _ of svids) this.#options.onDecision(question.event, "issued");
  }

  /** Records that bundles are handed over. @throws AssayError `AUDIT_UNAVAILABLE`. */
  bundlesDelivered(question: WorkloadQuestion, trustDomains: readonly string[]): void {
    this.#options.append([
      {
        ...this.#common(question, "bundle.delivered"),
        outcome: "issued",
        trust_domain: trustDomains.join(" "),
      },
    ]);
    this.#options.onDecision(question.event, "issued");
  }

  /**
   * Records that nothing is handed over and gives the error for the caller, which names the decision and no reason.
   * @throws AssayError `AUDIT_UNAVAILABLE`.
   */
  refused(question: WorkloadQuestion, refusal: Refusal): AssayError {
    const outcome = CODES[refusal.code].grpc === "PERMISSION_DENIED" ? "denied" : "failed";
    const record = {
      ...this.#common(question, "svid.denied"),
      outcome,
      code: refusal.code,
      reasons: [refusal.detail, ...refusal.nearMisses.map(nearMissText)],
      ...(question.wanted === undefined ? {} : { spiffe_id: question.wanted }),
    } as const;
    this.#options.append([record]);
    this.#options.onDecision(question.event, outcome);
    const detail =
      refusal.code === "NO_IDENTITY_ISSUED"
        ? `no identity issued (decision ${record.decision_id})`
        : `${refusal.detail} (decision ${record.decision_id})`;
    return new AssayError(refusal.code, detail);
  }

  #common(question: WorkloadQuestion, event: AuditEvent) {
    const { process, evidence, referral } = question;
    return {
      event,
      decision_id: this.#options.newId(),
      request_id: question.requestId,
      method: question.method,
      selectors: evidence.selectors.map(formatSelector),
      ...(process === undefined
        ? {}
        : { caller_pid: process.pid, caller_uid: process.uid, caller_gid: process.gid }),
      ...(process?.path === undefined ? {} : { caller_path: process.path }),
      ...(referral === undefined ? {} : { caller_id: referral.askerId, reference: referral.reference }),
      ...(referral === undefined || referral.address === "" ? {} : { caller_address: referral.address }),
      ...(question.agentId === undefined ? {} : { agent_id: question.agentId }),
      ...(question.audience === undefined ? {} : { audience: question.audience }),
    };
  }
}

/** A near miss on one line: which entry, and what it demands that was not seen. */
export function nearMissText({ entry, missing }: WorkloadNearMiss): string {
  return `entry ${entry.id} (${entry.spiffeId}) also demands ${missing.map(formatSelector).join(", ")}`;
}

const DELIVERED: Readonly<Record<WorkloadEvent, AuditEvent>> = {
  "x509_svid.issue": "svid.x509.delivered",
  "jwt_svid.issue": "svid.jwt.delivered",
  "x509_bundles.read": "bundle.delivered",
  "jwt_bundles.read": "bundle.delivered",
  "wit_svid.issue": "svid.wit.delivered",
  "wit_bundles.read": "bundle.delivered",
};
