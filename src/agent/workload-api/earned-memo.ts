import { earnedEntries, withUniqueHints } from "../../issuance/workload/verdict.ts";
import type { WorkloadEntry } from "../../issuance/workload/workload-entry.ts";
import { formatSelector, type Selector } from "../../spiffe/selector.ts";
import type { EntryTable } from "../cache/entry-table.ts";

/**
 * Which entries a set of selectors earns, computed once for all streams that have the same selectors and entries. Many
 * replicas of one program see one set, and each change wakes them all.
 */
export class EarnedMemo {
  readonly #table: EntryTable;
  readonly #known = new Map<string, { version: number; until: number; entries: readonly WorkloadEntry[] }>();

  constructor(table: EntryTable) {
    this.#table = table;
  }

  /**
   * What these selectors earn, at any time (Unix ms) it is asked: entries in the order of an answer, hints unique unless
   * the answer has none; the same array as before where nothing changed. `referred` where one asks in place of another.
   */
  view(
    selectors: readonly Selector[],
    referred = false,
    hints: "unique" | "unused" = "unique",
  ): (now: number) => readonly WorkloadEntry[] {
    const key = JSON.stringify([referred, hints, ...selectors.map(formatSelector)]);
    const decide = (now: number) => {
      const entries = earnedEntries(selectors, this.#table.index, now, referred);
      return hints === "unique" ? withUniqueHints(entries) : entries;
    };
    return (now) => this.#earned(key, decide, now);
  }

  #earned(
    key: string,
    decide: (now: number) => readonly WorkloadEntry[],
    now: number,
  ): readonly WorkloadEntry[] {
    const known = this.#known.get(key);
    const { version } = this.#table;
    if (known?.version === version && now < known.until) return known.entries;
    const found = decide(now);
    const same =
      known !== undefined &&
      known.entries.length === found.length &&
      known.entries.every((entry, i) => entry === found[i]);
    const entries = same ? known.entries : found;
    if (this.#known.size >= MAX_KNOWN) this.#known.clear();
    const expiries = found.flatMap(({ expiresAt }) => (expiresAt === 0 ? [] : [expiresAt * 1000]));
    this.#known.set(key, { version, until: Math.min(Number.POSITIVE_INFINITY, ...expiries), entries });
    return entries;
  }
}

const MAX_KNOWN = 4096;
