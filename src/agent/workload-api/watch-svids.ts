import type { Clock } from "../../clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { DeliveredSvid, WorkloadRecorder } from "../../issuance/workload/issuance-record.ts";
import type { WorkloadQuestion } from "../../issuance/workload/verdict.ts";
import type { WorkloadEntry } from "../../issuance/workload/workload-entry.ts";
import type { AgentCache } from "../cache/agent-cache.ts";
import type { KeyedSvid, SvidCache } from "../cache/svid-cache.ts";
import { ChangeWaiter } from "./change-waiter.ts";
import { Demand } from "./demand.ts";
import { type SvidIdentity, type SvidState, withdraws } from "./svid-state.ts";
import { type AnyWorkloadCall, isReferredCall, requireWaiting } from "./workload-call.ts";

/** One kind of SVID with a key, as a stream of answers about it needs it. */
export interface WatchedKind<Svid extends KeyedSvid, State extends SvidState<Svid>> {
  /** As errors call it. */
  readonly name: string;
  readonly svids: SvidCache<Svid>;
  stateOf(entries: readonly WorkloadEntry[]): State;
  isSame(last: State | undefined, state: State): boolean;
  /** Whether a client could verify anything. */
  hasAuthorities(state: State): boolean;
  readonly delivered: (identity: SvidIdentity<Svid>) => DeliveredSvid;
}

/** What a stream of answers stands on. */
export interface SvidWatchOptions {
  readonly cache: Pick<AgentCache, "bell">;
  readonly clock: Clock;
  readonly recorder: WorkloadRecorder;
  /** Milliseconds that an answer waits for SVIDs that are being signed. */
  readonly signingPatience: number;
  /** What the caller has earned at a time (Unix ms); the same array where nothing changed. */
  readonly earned: (now: number) => readonly WorkloadEntry[];
  /** Records that the caller has nothing at a time (Unix ms), and gives the error that says so. */
  readonly refusal: (now: number) => AssayError;
}

/**
 * The caller's SVIDs of one kind: the complete state now and after each change of it, every one recorded before it
 * leaves.
 * @throws AssayError as soon as the caller has none, or where nothing can be handed over.
 */
export async function* watchSvids<Svid extends KeyedSvid, State extends SvidState<Svid>>(
  call: AnyWorkloadCall,
  question: WorkloadQuestion,
  kind: WatchedKind<Svid, State>,
  { cache, clock, recorder, signingPatience, earned, refusal }: SvidWatchOptions,
): AsyncGenerator<State, never, undefined> {
  using waiter = new ChangeWaiter(cache.bell, call.signal, clock);
  using demand = new Demand(kind.svids);
  const mayHaveNone = isReferredCall(call) && call.mayHaveNone === true;
  const handedOver = new Set<unknown>();
  let last: State | undefined;
  let missingSince: number | undefined;
  for (;;) {
    requireWaiting(call);
    const now = clock.now();
    const entries = earned(now);
    if (entries.length === 0 && !mayHaveNone) throw refusal(now);
    demand.follow(entries);
    const state = kind.stateOf(entries);
    missingSince = state.missing.length === 0 ? undefined : (missingSince ?? now);
    const patienceEnds = (missingSince ?? now) + signingPatience;
    const mayWait =
      now < patienceEnds && (last === undefined || !withdraws(last, entries)) && !isHopeless(state, kind);
    if (state.missing.length > 0 && mayWait) {
      await waiter.next(patienceEnds);
      continue;
    }
    if (entries.length > 0 && !isServable(state, entries, last, kind)) {
      throw notSigned({ ...question, at: now }, state, kind, recorder);
    }
    if (!kind.isSame(last, state)) {
      if (entries.length === 0 && last?.identities.length !== 0) refusal(now);
      const fresh = state.identities.filter(({ svid }) => !handedOver.has(svid));
      recorder.delivered({ ...question, at: now }, fresh.map(kind.delivered));
      handedOver.clear();
      for (const { svid } of state.identities) handedOver.add(svid);
      last = state;
      yield state;
      continue;
    }
    await waiter.next(Number.POSITIVE_INFINITY);
  }
}

type Failures = { readonly svids: Pick<SvidCache<KeyedSvid>, "failure"> };

/** Whether the server does not sign SVIDs of this kind at all. */
function isHopeless({ missing }: SvidState<KeyedSvid>, { svids }: Failures): boolean {
  return missing.some(({ id }) => svids.failure(id)?.code === "UNIMPLEMENTED");
}

/** A first answer needs the default identity; a later one may do without what could not be renewed. */
function isServable<Svid extends KeyedSvid, State extends SvidState<Svid>>(
  state: State,
  entries: readonly WorkloadEntry[],
  last: State | undefined,
  kind: WatchedKind<Svid, State>,
): boolean {
  const [first] = state.identities;
  if (first === undefined || !kind.hasAuthorities(state)) return false;
  return last !== undefined || first.entry.id === entries[0]?.id;
}

function notSigned(
  question: WorkloadQuestion,
  state: SvidState<KeyedSvid>,
  kind: Failures & { readonly name: string },
  recorder: WorkloadRecorder,
): AssayError {
  const reasons = state.missing.map(
    ({ id }) => `entry ${id}: ${kind.svids.failure(id)?.detail ?? "still being signed"}`,
  );
  const detail = `${kind.name} could not be signed: ${reasons.join("; ")}`;
  // A client asks again for what is unavailable, never for what is not implemented.
  const isNever = isHopeless(state, kind);
  const code = isNever ? "UNIMPLEMENTED" : "SERVER_UNAVAILABLE";
  recorder.refused(question, { code, detail, nearMisses: [] });
  return new AssayError(
    code,
    isNever ? `the server issues no ${kind.name}s` : `the ${kind.name} could not be signed now`,
  );
}
