import type { DatabaseSync } from "node:sqlite";
import { RESTORED, writeRestored } from "../sql/backup.ts";
import { factsOf } from "./backup-copy.ts";
import type { HighWater } from "./high-water.ts";
import { STORE_MARK } from "./high-water-keeper.ts";

/** What is to become of a store that is restored. */
export interface RestorePlan {
  /** Now, Unix milliseconds. */
  readonly now: number;
  /** When the backup was made, Unix seconds. */
  readonly backupAt: number;
  /** Whether the authorities of the backup go on; else they are replaced when a server starts. */
  readonly keepAuthorities: boolean;
  /** Whether agents go on with the SVIDs that they had at the backup; else each must attest again. */
  readonly keepAgents: boolean;
}

/** How far the store that is replaced had come; every number is 0 where nothing is known of it. */
export interface Reached extends HighWater {
  /** How many status lists it had begun, those before an earlier restore too. */
  readonly statusLists: number;
}

/**
 * Makes a store of long ago one that was never seen before, in one transaction: what others remember of the one that it replaces
 * is behind it, and what was good once is good no more.
 */
export function putAhead(database: DatabaseSync, plan: RestorePlan, before: Reached): void {
  const now = Math.floor(plan.now / 1000);
  // What was shown before the last restore stays refused, though the clock was set back since; and revocation lists that were
  // numbered from that time on are older than those that follow.
  const at = now < before.restoredAt ? before.restoredAt + CLOCK_SET_BACK : now;
  database.exec("begin immediate");
  raiseNumbers(database, at, plan.now, before);
  const statusLists = endWhatWasGood(database, at, before.statusLists);
  if (!plan.keepAgents) {
    database.exec("update nodes set serial = '', pending_serial = '', pending_expires_at = 0");
  }
  const { backupAt, keepAuthorities } = plan;
  const known = keepAuthorities ? [] : database.prepare("select id from authorities").all();
  const authorities = known.map(({ id }) => String(id));
  setMeta(database, RESTORED, writeRestored({ at, backupAt, authorities, statusLists, told: false }));
  database.exec("commit");
}

/**
 * Numbers that others remember jump to the time: none of them grows as fast as its unit, so they are larger than any that was ever
 * given out, and larger than those of every restore before.
 */
function raiseNumbers(database: DatabaseSync, at: number, now: number, before: Reached): void {
  const facts = factsOf(database, "copy");
  // Seconds: a bundle changes less than once in one.
  const sequence = max(facts.bundleSequence, before.bundleSequence, BigInt(at)) + 1n;
  database
    .prepare("update bundles set sequence = ? where trust_domain = ?")
    .run(sequence.toString(), facts.trustDomain);

  // Microseconds: there are thousands of changes in a second. All rows are forgotten, so that whoever follows reads anew.
  const changes = Math.max(facts.changes, before.changes, at * 1_000_000, now * 1000) + 1;
  database.exec("delete from changes");
  database.prepare("update sqlite_sequence set seq = ? where name = 'changes'").run(changes);
  database
    .prepare("insert into sqlite_sequence (name, seq) select 'changes', ? where changes() = 0")
    .run(changes);
  setMeta(database, "changes_pruned_up_to", String(changes));

  // An agent keeps an entry whose revision it knows; one that was changed after the backup has the same again else. Each revision
  // is a change too, so that none was given out that is larger.
  database.prepare("update entries set revision = max(revision, ?) + 1").run(changes);

  const mark = database.prepare("select value from meta where name = ?").get(STORE_MARK)?.["value"];
  setMeta(database, STORE_MARK, String(Math.max(Number(mark ?? 0), before.mark) + 1));
}

/** Ends what may have been used or revoked after the backup; gives the first status list that none of it is in. */
function endWhatWasGood(database: DatabaseSync, at: number, listsBefore: number): number {
  // What is good once may have been used after the backup.
  database.exec("delete from join_tokens where used_at is null");
  // What was issued since is unknown, so nothing that can end early is left of before.
  database
    .prepare(
      "update tasks set state = 'ending', ended_at = ?, end_reason = 'operator' where state = 'active'",
    )
    .run(at);
  database.prepare("update credentials set revoked_at = ?, reason = 'operator' where revoked_at = 0").run(at);
  const last = database.prepare("select coalesce(max(list), -1) as n from status_lists").get()?.["n"];
  const lists = Math.max(Number(last) + 1 + LISTS_SINCE, listsBefore);
  database.exec("delete from status_places");
  database.exec("delete from status_lists");
  database.prepare("insert into status_lists (list, taken) values (?, 0)").run(lists);
  return lists;
}

function setMeta(database: DatabaseSync, name: string, value: string): void {
  database
    .prepare("insert into meta (name, value) values (?, ?) on conflict (name) do update set value = ?2")
    .run(name, value);
}

function max(...values: readonly bigint[]): bigint {
  return values.reduce((largest, value) => (value > largest ? value : largest), 0n);
}

// Seconds. Revocation lists are numbered by the millisecond, and ten are signed in a second at most.
const CLOCK_SET_BACK = 3600;
// More lists than can have been begun between backup and restore: each has room for 65,536 tokens at a time.
const LISTS_SINCE = 16;
