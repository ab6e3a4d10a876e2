import { existsSync } from "node:fs";
import { parseAuditLine } from "./audit-chain.ts";
import { linesHoldingBackwards, rotatedName } from "./audit-files.ts";
import type { StoredAuditRecord } from "./audit-record.ts";

/** Fields by which records are searched. */
export const AUDIT_SEARCH_FIELDS = [
  "task_id",
  "agent_id",
  "spiffe_id",
  "caller_id",
  "serial",
  "jti",
] as const satisfies readonly (keyof StoredAuditRecord)[];

/** What records must be: the value of one field, and not older than a time. */
export interface AuditMatch {
  readonly field: (typeof AUDIT_SEARCH_FIELDS)[number];
  readonly value: string;
  /** Unix seconds. Files are not read further back than to an hour before it, since a clock may have been set back. */
  readonly since?: number;
}

/** Most records that one search gives. */
export const MAX_AUDIT_SEARCH = 10_000;

/**
 * The records of a log that match, newest first, over all its files. Holds a block of 256 KiB at a time and what it gives.
 * @param limit Most records to give, at most {@link MAX_AUDIT_SEARCH}.
 * @throws Error of node:fs.
 */
export async function searchAuditFiles(
  path: string,
  match: AuditMatch,
  limit: number,
): Promise<readonly StoredAuditRecord[]> {
  const { field, value, since = 0 } = match;
  const most = Math.min(limit, MAX_AUDIT_SEARCH);
  const found = new Map<string, StoredAuditRecord>();
  let isPast = false;
  const isEnough = (line: string) => (isPast ||= timeOf(parseAuditLine(line)) < since - CLOCK_SET_BACK);
  // A rotation meanwhile makes the next file the one just read: nothing is missed, and what comes twice counts once.
  for (let number = 0; found.size < most && !isPast; number++) {
    const file = rotatedName(path, number);
    if (!existsSync(file)) break;
    for await (const line of linesHoldingBackwards(file, `"${field}":${JSON.stringify(value)}`, isEnough)) {
      const record = parseAuditLine(line);
      if (record?.[field] !== value || timeOf(record) < since) continue;
      found.set(`${record.seq} ${record.prev}`, record);
      if (found.size >= most) break;
    }
  }
  return [...found.values()];
}

/** When a record was written, Unix seconds; what has no time is never too old. */
function timeOf(record: StoredAuditRecord | undefined): number {
  const time = record === undefined ? Number.NaN : Date.parse(record.time) / 1000;
  return Number.isNaN(time) ? Number.POSITIVE_INFINITY : time;
}

const CLOCK_SET_BACK = 3600;
