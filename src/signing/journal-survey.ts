import type { ManagedKey } from "../plugin/key-manager.ts";
import type { AuthorityRecord } from "../store/records.ts";
import type { RetirementReason } from "./authority.ts";
import { isAhead } from "./rotation-schedule.ts";

/** An authority to be made old, and why. */
export interface Retirement {
  readonly record: AuthorityRecord;
  readonly reason: RetirementReason;
}

/** What a journal and a key manager say together. */
export interface JournalSurvey {
  readonly active: Found | undefined;
  readonly prepared: Found | undefined;
  readonly retired: readonly Retirement[];
}

interface Found {
  readonly record: AuthorityRecord;
  readonly key: ManagedKey;
}

/**
 * Which of one server's authorities of one kind can go on: in each of the two living states the newest that has not
 * expired, is not from a future that the clock has come back from, and whose private key the key manager still has. The rest of
 * the living are to be retired.
 */
export function surveyJournal(
  records: readonly AuthorityRecord[],
  keys: ReadonlyMap<string, ManagedKey>,
  now: number,
): JournalSurvey {
  const found: { active: Found | undefined; prepared: Found | undefined } = {
    active: undefined,
    prepared: undefined,
  };
  const retired: Retirement[] = [];
  const newestFirst = records.toSorted((a, b) => b.notBefore - a.notBefore || b.changedAt - a.changedAt);
  for (const record of newestFirst) {
    const { state } = record;
    if (state !== "active" && state !== "prepared") continue;
    const key = keys.get(record.keyId);
    if (record.notAfter <= now) retired.push({ record, reason: "expired" });
    else if (isAhead(record, now)) retired.push({ record, reason: "not-yet-valid" });
    else if (key === undefined || Buffer.compare(key.publicKey, record.publicKey) !== 0) {
      retired.push({ record, reason: "key-missing" });
    } else if (found[state] !== undefined) retired.push({ record, reason: "superseded" });
    else found[state] = { record, key };
  }
  return { ...found, retired };
}
