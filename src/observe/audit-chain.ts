import { hash } from "node:crypto";
import { looksSecret, redacted } from "./redact.ts";
import type { AuditRecord, StoredAuditRecord } from "./audit-record.ts";

/** Where a chain stands: the number of its last record and the hash of that record's line. */
export interface ChainEnd {
  readonly seq: number;
  readonly hash: string;
}

/** The chain before its first record. */
export const CHAIN_START: ChainEnd = { seq: 0, hash: "0".repeat(64) };

/** SHA-256 of a line without its newline, in lower-case hex. */
export function lineHash(line: string | Uint8Array): string {
  return hash("sha256", line, "hex");
}

/** The line, without newline, that carries the record as the next of the chain. */
export function auditLine(end: ChainEnd, time: string, record: AuditRecord): string {
  const head = `{"seq":${end.seq + 1},"prev":"${end.hash}","time":"${time}",`;
  const body = JSON.stringify(record);
  // The rule is that nobody passes secrets or books; this is the net below it.
  if (body.length > MAX_BODY || looksSecret(body)) return head + JSON.stringify(shortened(record)).slice(1);
  return head + body.slice(1);
}

/** The record that a line carries, or `undefined` where the line is none. */
export function parseAuditLine(line: string): StoredAuditRecord | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { seq, prev, event } = value as Record<string, unknown>;
  const isRecord =
    Number.isSafeInteger(seq) && typeof prev === "string" && HEX_256.test(prev) && typeof event === "string";
  return isRecord ? (value as StoredAuditRecord) : undefined;
}

function shortened(record: AuditRecord): object {
  const fields = Object.entries(record).map(([name, value]: [string, unknown]) => {
    if (Array.isArray(value)) return [name, value.slice(0, MAX_ITEMS).map((item) => cut(item))];
    return [name, cut(value)];
  });
  return redacted(Object.fromEntries(fields)) as object;
}

function cut(value: unknown): unknown {
  return typeof value === "string" && value.length > MAX_TEXT ? `${value.slice(0, MAX_TEXT)}…` : value;
}

const HEX_256 = /^[0-9a-f]{64}$/;
/** Longest line in characters that is written as it comes. */
const MAX_BODY = 64 * 1024;
const MAX_ITEMS = 64;
const MAX_TEXT = 256;
