import { AssayError, toAssayError } from "../errors/assay-error.ts";
import type { AuditEvent } from "../observe/audit-events.ts";
import type { LifetimeFacts } from "../policy/lifetime.ts";
import type { SpiffeId } from "../spiffe/id.ts";
import type { SignatureWaiter } from "../signing/bounded-sign.ts";
import { formatSelector } from "../spiffe/selector.ts";
import type { EntryRecord } from "../store/records.ts";
import type { AgentCaller, Caller } from "./caller.ts";
import {
  type Decided,
  decision,
  type DecisionDraft,
  type DecisionFacts,
  type DecisionOptions,
  outcomeOf,
  recorded,
  recordedSoon,
  withdrawn,
} from "./decision.ts";

/** What issuing for registration entries needs. */
export interface EntryIssuanceOptions extends DecisionOptions {
  /** The entry, if the agent is authorised for it now and it has not expired. */
  readonly authorizedEntry: (agent: SpiffeId, entryId: string) => EntryRecord | undefined;
}

/** What tells the decisions about one kind of SVID from those about another. */
export interface SvidKind<Svid> {
  /** What the audit log calls an issued one, and a refusal. */
  readonly events: { readonly issued: AuditEvent; readonly refused: AuditEvent };
  /** The part of an audit record that an issued one fills in. */
  readonly facts: (svid: Svid) => DecisionFacts;
}

/** Whom an SVID is for and how long its life was asked to be: an entry's words, or an administrator's. */
export type SvidWanted = Omit<LifetimeFacts, "now" | "authorityNotAfter"> & { readonly spiffeId: SpiffeId };

/** The call that an SVID is for, as far as it matters whether anybody still waits for it. */
export type IssuanceCall = SignatureWaiter;

/**
 * Issues SVIDs for entries of an agent, each with its own outcome, in order. All records are written, by one call, before
 * any of them leaves. As many as 32 are under way at once, so that the signatures of a slow key are not waited for one by
 * one. Where the call ends before its time nothing more is signed, and what was signed is taken back.
 * @param make Asks policy and signs; called for entries that the agent is authorised for.
 * @param call Its signal is looked at whenever the others had their turn.
 * @throws AssayError `SIGNING_BUSY`, `AUDIT_UNAVAILABLE`, the reason of the call's signal; and then for the whole batch.
 */
export async function issueForEntries<Order extends { readonly entryId: string }, Svid>(
  options: EntryIssuanceOptions,
  kind: SvidKind<Svid>,
  caller: AgentCaller,
  orders: readonly Order[],
  make: (entry: EntryRecord, order: Order) => Promise<Svid>,
  call?: IssuanceCall,
): Promise<readonly Decided<Svid>[]> {
  const issue = () => issueBatch(options, kind, caller, orders, make, call);
  return options.underWay === undefined ? issue() : options.underWay.during(orders.length, issue);
}

async function issueBatch<Order extends { readonly entryId: string }, Svid>(
  options: EntryIssuanceOptions,
  { events, facts }: SvidKind<Svid>,
  caller: AgentCaller,
  orders: readonly Order[],
  make: (entry: EntryRecord, order: Order) => Promise<Svid>,
  call: IssuanceCall | undefined,
): Promise<readonly Decided<Svid>[]> {
  const begun: Promise<Decided<Svid>>[] = [];
  const decided: Decided<Svid>[] = [];
  for (const order of orders) {
    // A large batch takes a tenth of a second of signatures; nobody else is to wait for all of it.
    if (begun.length > 0 && begun.length % ORDERS_A_TURN === 0) {
      await new Promise(setImmediate);
      if (call?.signal.aborted === true) break;
    }
    const oldest = begun.length < ORDERS_AT_ONCE ? undefined : begun[decided.length];
    if (oldest !== undefined) decided.push(await oldest);
    begun.push(
      decision(options, events, caller, orderFacts(caller, order), async (draft) => {
        const svid = await make(entryOf(options, caller, order, draft), order);
        draft.note(facts(svid));
        return svid;
      }),
    );
  }
  while (decided.length < begun.length) decided.push(await (begun[decided.length] as (typeof begun)[number]));
  if (decided.length > 1 && call?.signal.aborted === true) {
    const reason = toAssayError(call.signal.reason);
    recorded(
      options,
      decided.map((one) => (one.error === undefined ? withdrawn(one, events.refused, reason) : one)),
    );
    throw reason;
  }
  // An agent may be banned in those turns, and who revokes what came through it looks for it in the records.
  const { spiffeId } = caller.svid;
  const still = decided.map((one, n) => {
    const entryId = orders[n]?.entryId ?? "";
    const isLost = one.error === undefined && options.authorizedEntry(spiffeId, entryId) === undefined;
    return isLost ? withdrawn(one, events.refused, notAuthorized()) : one;
  });
  return recordedSoon(options, still);
}

/**
 * Issues one SVID: makes the decision, writes its record, and gives the SVID or throws why there is none.
 * @param known What is known before anything is decided.
 * @throws AssayError what `make` throws, `SIGNING_BUSY`, `AUDIT_UNAVAILABLE`.
 */
export async function issueOne<Svid>(
  options: DecisionOptions,
  kind: SvidKind<Svid>,
  caller: Caller,
  known: DecisionFacts,
  make: (draft: DecisionDraft) => Promise<Svid>,
): Promise<Svid> {
  const issue = () => issueSingle(options, kind, caller, known, make);
  return options.underWay === undefined ? issue() : options.underWay.during(1, issue);
}

async function issueSingle<Svid>(
  options: DecisionOptions,
  { events, facts }: SvidKind<Svid>,
  caller: Caller,
  known: DecisionFacts,
  make: (draft: DecisionDraft) => Promise<Svid>,
): Promise<Svid> {
  const decided = await decision(options, events, caller, known, async (draft) => {
    const svid = await make(draft);
    draft.note(facts(svid));
    return svid;
  });
  await recordedSoon(options, [decided]);
  return outcomeOf(decided);
}

/** What is known of an agent's order before anything is decided. */
export function orderFacts(caller: AgentCaller, order: { readonly entryId: string }): DecisionFacts {
  return { agent_id: caller.svid.spiffeId, entry_id: order.entryId };
}

/** The entry that an agent orders for, noted. @throws AssayError `ENTRY_NOT_FOUND`. */
export function entryOf(
  options: EntryIssuanceOptions,
  caller: AgentCaller,
  { entryId }: { readonly entryId: string },
  draft: DecisionDraft,
): EntryRecord {
  const entry = options.authorizedEntry(caller.svid.spiffeId, entryId);
  if (entry === undefined) throw notAuthorized();
  draft.note({
    spiffe_id: entry.spiffeId,
    entry_revision: entry.revision,
    selectors: entry.selectors.map(formatSelector),
  });
  return entry;
}

function notAuthorized(): AssayError {
  return new AssayError("ENTRY_NOT_FOUND", "entry not found or not authorized");
}

const ORDERS_A_TURN = 50;
/** As many as the signatures of one remote key that are under way at once. */
const ORDERS_AT_ONCE = 32;
