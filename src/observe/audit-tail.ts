import { closeSync, constants, openSync, readSync, writeSync } from "node:fs";
import { CHAIN_START, type ChainEnd, lineHash, parseAuditLine } from "./audit-chain.ts";

/** What the end of a log file says. */
export interface AuditTail {
  readonly end: ChainEnd;
  /** Bytes up to and with the last whole record's newline. What comes after is a torn tail. */
  readonly size: number;
  /** Whether the last two records do not fit together. */
  readonly broken: boolean;
}

/**
 * Reads the end of a log file: its last whole record and what a crash left behind it.
 * `undefined` where the last 1 MiB holds no record although the file is not empty: that is no file of ours.
 */
export function readTail(path: string, size: number): AuditTail | undefined {
  if (size === 0) return { end: CHAIN_START, size: 0, broken: false };
  const from = Math.max(0, size - TAIL_BYTES);
  const bytes = readRange(path, from, size - from);
  let stop = bytes.lastIndexOf(NEWLINE);
  while (stop >= 0) {
    const start = startOfLine(bytes, stop);
    const record = parseAuditLine(bytes.toString("utf8", start, stop));
    if (record !== undefined && (start > 0 || from === 0)) {
      const end = { seq: record.seq, hash: lineHash(bytes.subarray(start, stop)) };
      return { end, size: from + stop + 1, broken: !followsLineBefore(bytes, start, record.prev) };
    }
    stop = start - 1;
  }
  // A first record that never got its newline: nothing of value, as long as it looks like the start of one.
  const torn = from === 0 && bytes.indexOf(NEWLINE) < 0 && looksTorn(bytes);
  return torn ? { end: CHAIN_START, size: 0, broken: false } : undefined;
}

/** Copies the bytes after `size` to the end of `<path>.torn` (0600), so that nothing is thrown away. */
export function keepTorn(path: string, size: number, total: number): void {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND | constants.O_NOFOLLOW;
  const fd = openSync(`${path}.torn`, flags, 0o600);
  try {
    writeSync(fd, readRange(path, size, Math.min(total - size, TAIL_BYTES)));
    writeSync(fd, "\n");
  } finally {
    closeSync(fd);
  }
}

function followsLineBefore(bytes: Buffer, start: number, prev: string): boolean {
  if (start === 0) return true;
  const before = startOfLine(bytes, start - 1);
  // Without the beginning of the line before there is nothing to compare with.
  if (before === 0 && bytes[0] !== OPENING_BRACE) return true;
  return lineHash(bytes.subarray(before, start - 1)) === prev;
}

function looksTorn(bytes: Buffer): boolean {
  const text = bytes.toString("latin1").replaceAll("\0", "");
  return text.startsWith(FIRST_WORDS.slice(0, text.length));
}

function startOfLine(bytes: Buffer, end: number): number {
  return end === 0 ? 0 : bytes.lastIndexOf(NEWLINE, end - 1) + 1;
}

function readRange(path: string, from: number, length: number): Buffer {
  const fd = openSync(path, constants.O_RDONLY);
  try {
    const bytes = Buffer.alloc(length);
    let read = 0;
    while (read < length) {
      const count = readSync(fd, bytes, read, length - read, from + read);
      if (count === 0) break;
      read += count;
    }
    return bytes.subarray(0, read);
  } finally {
    closeSync(fd);
  }
}

const NEWLINE = 0x0a;
const OPENING_BRACE = 0x7b;
const TAIL_BYTES = 1024 * 1024;
const FIRST_WORDS = '{"seq":';
