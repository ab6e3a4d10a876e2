import { createReadStream } from "node:fs";
import { CHAIN_START, type ChainEnd, lineHash, parseAuditLine } from "./audit-chain.ts";
import { existingFiles } from "./audit-files.ts";

/** What verification found: the number of records, or the first line that does not fit. */
export type AuditVerification =
  | { readonly ok: true; readonly records: number; readonly end: ChainEnd }
  | { readonly ok: false; readonly file: string; readonly line: number; readonly reason: string };

/**
 * Walks the chain through all files of a log, oldest first. The oldest file's first record is believed, since what
 * came before it has been rotated away; unless it is number 1, which must begin a chain.
 * @throws Error of node:fs where a file cannot be read.
 */
export async function verifyAuditLog(path: string): Promise<AuditVerification> {
  let end: ChainEnd | undefined;
  let records = 0;
  for (const file of existingFiles(path).toReversed()) {
    let line = 0;
    for await (const { bytes, whole } of linesOf(file)) {
      line++;
      const fault = whole ? faultOf(bytes, end) : "the line is not complete";
      if (fault !== undefined) return { ok: false, file, line, reason: fault };
      end = { seq: (end?.seq ?? seqOf(bytes) - 1) + 1, hash: lineHash(bytes) };
      records++;
    }
  }
  return { ok: true, records, end: end ?? CHAIN_START };
}

function faultOf(bytes: Buffer, end: ChainEnd | undefined): string | undefined {
  const record = parseAuditLine(bytes.toString("utf8"));
  if (record === undefined) return "the line is not an audit record";
  const before = end ?? (record.seq === 1 ? CHAIN_START : undefined);
  if (before === undefined) return undefined;
  if (record.seq !== before.seq + 1) return `record ${before.seq + 1} was expected, found ${record.seq}`;
  return record.prev === before.hash ? undefined : "the record does not follow from the line before";
}

function seqOf(bytes: Buffer): number {
  return parseAuditLine(bytes.toString("utf8"))?.seq ?? 0;
}

// Lines as bytes, since the hash is over bytes: decoding and encoding again would mend what was damaged.
async function* linesOf(path: string): AsyncGenerator<{ bytes: Buffer; whole: boolean }> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of createReadStream(path, { highWaterMark: BLOCK })) {
    let bytes = Buffer.concat([rest, chunk as Buffer]);
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE)) {
      yield { bytes: bytes.subarray(0, end), whole: true };
      bytes = bytes.subarray(end + 1);
    }
    rest = bytes;
  }
  if (rest.length > 0) yield { bytes: rest, whole: false };
}

const NEWLINE = 0x0a;
const BLOCK = 256 * 1024;
