import { existsSync } from "node:fs";
import { parseAuditLine } from "../../observe/audit-chain.ts";
import type { AuditEvent } from "../../observe/audit-events.ts";
import { linesHoldingBackwards, rotatedName } from "../../observe/audit-files.ts";
import type { StoredAuditRecord } from "../../observe/audit-record.ts";

/** What an audit log says of the time between a backup and its restore. */
export interface Lost {
  /** Changes that took a right away, oldest first; each is undone by the restore. */
  readonly records: readonly StoredAuditRecord[];
  /** Whether the log goes back to the backup, so that nothing is missing. */
  readonly isWhole: boolean;
}

/**
 * What a restore of a backup of `createdAt` undoes: every ban, deletion, revocation and change since, by the files of an audit
 * log, the rotated ones too.
 * @param createdAt ISO 8601, as the backup's manifest has it.
 * @param until `restored`: ends where the log says that this backup was restored last, so that it says the same afterwards. `now`: goes on
 * to the end of the log, as whoever has just restored it again undid what was done since, too.
 * @throws Error of node:fs.
 */
export async function lostSince(
  auditPath: string,
  createdAt: string,
  until: "restored" | "now" = "restored",
): Promise<Lost> {
  const since = Date.parse(createdAt);
  const found: StoredAuditRecord[] = [];
  let isWhole = false;
  const isEnough = (line: string) => {
    const record = parseAuditLine(line);
    // A log that was begun anew after the backup has a first record too, and says nothing of before.
    isWhole ||= timeOf(record) < (record?.seq === 1 ? since : since - CLOCK_SET_BACK_MS);
    return isWhole;
  };
  for (let number = 0; !isWhole && existsSync(rotatedName(auditPath, number)); number++) {
    for await (const line of linesHoldingBackwards(rotatedName(auditPath, number), DONE, isEnough)) {
      const record = parseAuditLine(line);
      if (record === undefined || timeOf(record) < since) continue;
      const isRestored = record.event === "store.restored" && isOf(record, since);
      if (isRestored && until === "restored") found.length = 0;
      else if (TAKES_AWAY.has(record.event)) found.push(record);
    }
  }
  return { records: found.reverse(), isWhole };
}

/** Unix milliseconds; what has no time is never too old. */
function timeOf(record: StoredAuditRecord | undefined): number {
  const time = record === undefined ? Number.NaN : Date.parse(record.time);
  return Number.isNaN(time) ? Number.POSITIVE_INFINITY : time;
}

/** Whether a record of a restore is of the backup of this time, which it knows by the second. */
function isOf({ reasons }: StoredAuditRecord, createdAt: number): boolean {
  const second = new Date(Math.floor(createdAt / 1000) * 1000).toISOString();
  return reasons?.includes(`backup of ${second}`) === true;
}

const DONE = '"outcome":"done"';
const CLOCK_SET_BACK_MS = 3_600_000;
const TAKES_AWAY: ReadonlySet<AuditEvent> = new Set([
  "node.banned",
  "node.evicted",
  "node.purged",
  "entry.updated",
  "entry.deleted",
  "svid.revoked",
  "token.revoked",
  "task.ended",
  "authority.tainted",
  "authority.revoked",
  "bundle.changed",
  "bundle.deleted",
  "crl.changed",
  "crl.deleted",
  "federation.updated",
  "federation.deleted",
]);
