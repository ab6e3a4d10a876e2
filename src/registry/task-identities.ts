import { taskParentId } from "../spiffe/reserved.ts";
import type { SpiffeId } from "../spiffe/id.ts";
import { formatSelector, type Selector } from "../spiffe/selector.ts";
import type { EntryRecord } from "../store/records.ts";
import { type Directory, hasExpired } from "./directory.ts";
import { fillIdTemplate, parseIdTemplate } from "./id-template.ts";
import type { NearMiss } from "./match.ts";

/** What is known of a task, as its evidence said it. */
export interface TaskFacts {
  readonly selectors: readonly Selector[];
  /** Those of `selectors` that an entry must name to give anything. */
  readonly guarded: readonly Selector[];
  /** Verified claims by name. */
  readonly claims: Readonly<Record<string, string>>;
}

/** What a task earns. */
export interface TaskIdentities {
  /** In order of creation: the first is the task's default. */
  readonly identities: readonly TaskIdentity[];
  /** Entries that matched and whose template could not be filled, in order of creation. */
  readonly faults: readonly { readonly entry: EntryRecord; readonly reason: string }[];
  /** What came nearest, best first, at most five; looked for when it is asked for. */
  readonly nearest: readonly TaskNearMiss[];
}

/** One identity, and the entry that gives it. */
export interface TaskIdentity {
  readonly entry: EntryRecord;
  /** The entry's own ID, or its template's with the task's claims. */
  readonly spiffeId: SpiffeId;
}

/** An entry that did not match: selectors it demands that were not seen, or guarded ones that it does not name. */
export interface TaskNearMiss extends NearMiss<EntryRecord> {
  readonly unnamed: readonly Selector[];
}

/**
 * The identities of a task at this time (Unix seconds), from memory.
 * @throws AssayError `INVALID_SPIFFE_ID` where the instance's name is none.
 */
export function taskIdentities(
  directory: Directory,
  instance: string,
  facts: TaskFacts,
  now: number,
): TaskIdentities {
  const { entries, trustDomain } = directory;
  const parentId = taskParentId(trustDomain, instance);
  const matched = entries
    .ofTasks(parentId, facts.selectors)
    .filter((entry) => !hasExpired(entry, now))
    .toSorted((a, b) => a.ordinal - b.ordinal);
  const identities: TaskIdentity[] = [];
  const faults: { entry: EntryRecord; reason: string }[] = [];
  const unguarded: TaskNearMiss[] = [];
  for (const entry of matched) {
    const unnamed = unnamedBy(entry, facts.guarded);
    if (unnamed.length > 0) {
      unguarded.push({ entry, missing: [], unnamed });
    } else if (entry.idTemplate === "") {
      identities.push({ entry, spiffeId: entry.spiffeId });
    } else {
      const filled = fillIdTemplate(parseIdTemplate(entry.idTemplate), trustDomain, facts.claims);
      if ("fault" in filled) faults.push({ entry, reason: filled.fault });
      // Who chooses a branch's name must not choose to be an administrator.
      else if (entries.ofSpiffeId(filled.spiffeId).some(hasPower)) faults.push({ entry, reason: POWERFUL });
      else identities.push({ entry, spiffeId: filled.spiffeId });
    }
  }
  return {
    identities,
    faults,
    get nearest() {
      const others = entries
        .nearestOfTasks(parentId, facts.selectors, NEAREST, (entry) => !hasExpired(entry, now))
        .map((miss) => ({ ...miss, unnamed: unnamedBy(miss.entry, facts.guarded) }));
      return [...unguarded, ...others].slice(0, NEAREST);
    },
  };
}

function hasPower({ admin, downstream }: EntryRecord): boolean {
  return admin || downstream;
}

function unnamedBy(entry: EntryRecord, guarded: readonly Selector[]): readonly Selector[] {
  if (guarded.length === 0) return [];
  const named = new Set(entry.selectors.map(formatSelector));
  return guarded.filter((selector) => !named.has(formatSelector(selector)));
}

const NEAREST = 5;
const POWERFUL = "the claims make the SPIFFE ID of an administrator or a subordinate server";
