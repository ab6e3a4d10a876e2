/**
 * issuance/workload/ — decides which identities a process on an agent's node has earned, and remembers why.
 *
 * Must never know a wire format, a socket, a key or where entries come from: facts in, decision out.
 * Called by the agent's Workload API, on whichever protocol it was asked.
 */
import type { ErrorCode } from "../../errors/codes.ts";
import type { Audience } from "../../spiffe/audience.ts";
import type { SpiffeId } from "../../spiffe/id.ts";
import type { Selector } from "../../spiffe/selector.ts";
import type { CallerProcess } from "../caller.ts";
import {
  byAge,
  type WorkloadEntry,
  type WorkloadEntryIndex,
  type WorkloadNearMiss,
} from "./workload-entry.ts";

/** What a workload can ask that earns a decision. */
export const WORKLOAD_EVENTS = [
  "x509_svid.issue",
  "x509_bundles.read",
  "jwt_svid.issue",
  "jwt_bundles.read",
  "wit_svid.issue",
  "wit_bundles.read",
] as const;

/** One of them. */
export type WorkloadEvent = (typeof WORKLOAD_EVENTS)[number];

/** What attestation of one process came to. */
export interface WorkloadEvidence {
  /** Facts of the attestors that answered. */
  readonly selectors: readonly Selector[];
  /** How many attestors answered, whatever they said. */
  readonly answered: number;
  /** The attestors that could not answer, with a reason for the operator. */
  readonly faults: readonly { readonly attestor: string; readonly detail: string }[];
}

/** One who asks about another workload, in place of it. */
export interface Referral {
  /** SPIFFE ID that the one who asks has proved. */
  readonly askerId: SpiffeId;
  /** Its network address without port; empty on a Unix socket. */
  readonly address: string;
  /** What it named the other by, as the audit log shows it. */
  readonly reference: string;
}

/** One question to decide. */
export interface WorkloadQuestion {
  /** Names the call; all decisions of one call or stream carry it. */
  readonly requestId: string;
  /** The method called, as the audit log names it. */
  readonly method: string;
  /** The agent that answers, where it is known. */
  readonly agentId?: SpiffeId;
  /** Unix milliseconds. */
  readonly at: number;
  readonly event: WorkloadEvent;
  /** The process that asks, where the kernel named it. */
  readonly process?: CallerProcess;
  /** What was found about the workload that the answer is for: the one that asks, unless there is a referral. */
  readonly evidence: WorkloadEvidence;
  /** Present where one asks in place of another. */
  readonly referral?: Referral;
  /** Only this identity is asked for. */
  readonly wanted?: SpiffeId;
  /** Audiences of a JWT-SVID, in the order asked for. */
  readonly audience?: readonly Audience[];
}

/** What the evidence earns, before anything is signed. */
export type Verdict =
  /** Entries in the order of the answer. */
  | { readonly granted: true; readonly entries: readonly WorkloadEntry[] }
  | {
      readonly granted: false;
      readonly code: ErrorCode;
      /** For the operator; a caller sees only the code's own text. */
      readonly detail: string;
      readonly nearMisses: readonly WorkloadNearMiss[];
    };

/**
 * Judges one question. Denials: `NO_IDENTITY_ISSUED` where no entry fits what was seen, or not the wanted one, whether
 * or not such an entry exists; `WORKLOAD_ATTESTATION_FAILED` where no attestor could answer at all, which is trouble
 * and says nothing about the caller.
 */
export function judge(question: WorkloadQuestion, index: WorkloadEntryIndex): Verdict {
  const { evidence, wanted } = question;
  if (evidence.answered === 0) {
    const faults = evidence.faults.map((fault) => `${fault.attestor}: ${fault.detail}`).join("; ");
    return {
      granted: false,
      code: "WORKLOAD_ATTESTATION_FAILED",
      detail: faults === "" ? "no workload attestor is configured" : `every attestor failed: ${faults}`,
      nearMisses: [],
    };
  }
  const earned = earnedEntries(evidence.selectors, index, question.at, isReferred(question));
  const asked = wanted === undefined ? earned : earned.filter((entry) => entry.spiffeId === wanted);
  if (asked.length > 0) return { granted: true, entries: withUniqueHints(asked) };
  return {
    granted: false,
    code: "NO_IDENTITY_ISSUED",
    detail: denialDetail(question, index, earned),
    nearMisses: index.nearest(evidence.selectors, MAX_NEAR_MISSES),
  };
}

/**
 * Entries that these selectors earn over the Workload API at this time (Unix milliseconds), in the order of the
 * answer. Expired entries earn nothing; entries whose SVID goes to an external store are not served here. Where one asks
 * in place of another, entries that give power over the server (`admin`, `downstream`) earn nothing either.
 */
export function earnedEntries(
  selectors: readonly Selector[],
  index: WorkloadEntryIndex,
  at: number,
  referred = false,
): readonly WorkloadEntry[] {
  return index
    .match(selectors)
    .filter((entry) => isServed(entry, at) && !(referred && isPowerful(entry)))
    .toSorted(byAge);
}

/**
 * The entries of one answer with each hint once, as a caller chooses its identity by hint: the oldest entry stays, younger
 * ones with its hint are left out (Workload API §5.2.1). Entries without a hint all stay.
 */
export function withUniqueHints(entries: readonly WorkloadEntry[]): readonly WorkloadEntry[] {
  const seen = new Set<string>();
  return entries.filter(({ hint }) => {
    if (hint === "") return true;
    if (seen.has(hint)) return false;
    seen.add(hint);
    return true;
  });
}

/** Whether one asks in place of another. */
export function isReferred({ referral }: Pick<WorkloadQuestion, "referral">): boolean {
  return referral !== undefined;
}

function isPowerful({ admin, downstream }: WorkloadEntry): boolean {
  return admin || downstream;
}

function isServed(entry: WorkloadEntry, at: number): boolean {
  return !entry.storeSvid && (entry.expiresAt === 0 || entry.expiresAt * 1000 > at);
}

function denialDetail(
  { evidence, wanted, at, referral }: WorkloadQuestion,
  index: WorkloadEntryIndex,
  earned: readonly WorkloadEntry[],
): string {
  if (wanted !== undefined && earned.length > 0) return `${wanted} is not among the caller's identities`;
  const matched = index.match(evidence.selectors);
  if (matched.some((entry) => !isServed(entry, at))) {
    return "every entry that matches has expired or is served by an external store";
  }
  if (referral !== undefined && matched.some(isPowerful)) {
    return "every entry that matches is flagged admin or downstream and is given to nobody but its own workload";
  }
  return "no registration entry matches the selectors";
}

const MAX_NEAR_MISSES = 5;
