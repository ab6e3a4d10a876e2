import { statSync } from "node:fs";
import type { Clock } from "../clock.ts";
import { AssayError } from "../errors/assay-error.ts";
import { AppendFile, type FileCalls } from "./append-file.ts";
import { auditLine, CHAIN_START, type ChainEnd, lineHash, parseAuditLine } from "./audit-chain.ts";
import { existingFiles, linesHoldingBackwards, readLineAt, rotateFiles } from "./audit-files.ts";
import type { AuditRecord, StoredAuditRecord } from "./audit-record.ts";
import { type AuditMatch, searchAuditFiles } from "./audit-search.ts";
import { keepTorn, readTail } from "./audit-tail.ts";
import { RecentPositions } from "./recent-positions.ts";

/** What an audit log needs. */
export interface AuditLogOptions {
  /** The file; it is made with mode 0600, its folder must exist. */
  readonly path: string;
  readonly clock: Clock;
  /** `always`: a record is on the disk before `append` returns. `never`: it is with the kernel, which outlives a crash
   * of the program but not of the machine. */
  readonly fsync: "never" | "always";
  /** Bytes after which a new file is begun. 100 MiB unless said otherwise. */
  readonly maxSize?: number;
  /** How many old files are kept beside the current one, at least 1. 10 unless said otherwise. */
  readonly keep?: number;
  /** How many recent decisions are found without reading the file. 10 000 unless said otherwise. */
  readonly recent?: number;
  /** Told of damage that the log lived through: a torn tail, a broken chain, a failed rotation. */
  readonly onError?: (error: AssayError) => void;
  /** The file system, for tests of its failures. */
  readonly calls?: FileCalls;
}

/** The audit log: one line of JSON a record, appended only, each chained to the one before by its hash. */
export interface AuditLog extends AsyncDisposable {
  /**
   * Writes the records by one call, all or none, before it returns.
   * @throws AssayError `AUDIT_UNAVAILABLE` where they cannot be written. The file is then as before, and a later
   * call succeeds once the trouble is over.
   */
  append(records: readonly AuditRecord[]): void;
  /**
   * As `append`, by one call together with all that comes in the same turn of the event loop: where many calls are under
   * way, one write, and one wait for the disk, does for all of them. Whoever reads the log finds the records at once.
   * @throws AssayError `AUDIT_UNAVAILABLE`, and then nothing of that turn was written.
   */
  appendSoon(records: readonly AuditRecord[]): Promise<void>;
  /**
   * The last record with this decision id, from the current file or an older one.
   * @throws AssayError `AUDIT_UNAVAILABLE` where a file cannot be read.
   */
  find(decisionId: string): Promise<StoredAuditRecord | undefined>;
  /**
   * The records that match, newest first, from the current file and older ones; at most `limit`, 1 to 10,000. Reads the
   * files backwards: 100 MiB take about 150 ms, and `since` spares what is older.
   * @throws AssayError `AUDIT_UNAVAILABLE` where a file cannot be read.
   */
  search(match: AuditMatch, limit: number): Promise<readonly StoredAuditRecord[]>;
  /** Where the chain stands. */
  readonly end: ChainEnd;
}

/**
 * Opens an audit log and goes on with its chain. What a crash left half-written is moved to `<path>.torn` and noted
 * by a record; so is a chain whose last two records do not fit together.
 * @throws AssayError `AUDIT_UNAVAILABLE` where the file cannot be opened or is not an audit log.
 */
export function openAuditLog(options: AuditLogOptions): AuditLog {
  return new FileAuditLog(options);
}

class FileAuditLog implements AuditLog {
  readonly #options: AuditLogOptions;
  readonly #maxSize: number;
  readonly #recent: RecentPositions;
  #file: AppendFile;
  #end: ChainEnd;
  // Positions count bytes over all files written by this process; `#bases` tells where each file begins, newest first.
  #bases: readonly number[] = [0];
  #rotateAt: number;
  #closed = false;
  #soon: Gathered | undefined;
  #timeMs = Number.NaN;
  #nextLookMs = Number.NEGATIVE_INFINITY;
  #time = "";

  constructor(options: AuditLogOptions) {
    this.#options = options;
    this.#maxSize = options.maxSize ?? DEFAULT_MAX_SIZE;
    this.#rotateAt = this.#maxSize;
    this.#recent = new RecentPositions(options.recent ?? DEFAULT_RECENT);
    this.#file = attempt(options.path, "opened", () => AppendFile.open(options.path, options.calls));
    try {
      this.#end = this.#resume();
    } catch (error) {
      this.#file[Symbol.dispose]();
      throw error;
    }
  }

  get end(): ChainEnd {
    return this.#end;
  }

  appendSoon(records: readonly AuditRecord[]): Promise<void> {
    if (this.#soon === undefined) {
      this.#soon = { records: [], ...Promise.withResolvers<void>() };
      setImmediate(() => this.#appendGathered());
    }
    for (const record of records) this.#soon.records.push(record);
    return this.#soon.promise;
  }

  append(records: readonly AuditRecord[]): void {
    this.#appendGathered();
    if (this.#closed) throw new AssayError("AUDIT_UNAVAILABLE", "the audit log is closed");
    const time = this.#now();
    let end = this.#end;
    let text = "";
    const starts: number[] = [];
    let length = 0;
    for (const record of records) {
      const line = auditLine(end, time, record);
      starts.push(length);
      length += Buffer.byteLength(line) + 1;
      text += `${line}\n`;
      end = { seq: end.seq + 1, hash: lineHash(line) };
    }
    this.#followPath();
    if (this.#file.size > 0 && this.#file.size + length > this.#rotateAt) this.#rotate();
    const at = (this.#bases[0] ?? 0) + this.#file.size;
    const sync = this.#options.fsync === "always";
    attempt(this.#options.path, "written", () => this.#file.append(Buffer.from(text), sync));
    this.#end = end;
    for (const [i, { decision_id }] of records.entries()) {
      if (decision_id !== undefined) this.#recent.set(decision_id, at + (starts[i] ?? 0));
    }
  }

  async find(decisionId: string): Promise<StoredAuditRecord | undefined> {
    this.#appendGathered();
    const isWanted = (record: StoredAuditRecord | undefined) => record?.decision_id === decisionId;
    try {
      const recent = await this.#findRecent(decisionId);
      if (isWanted(recent)) return recent;
      for (const file of existingFiles(this.#options.path)) {
        for await (const line of linesHoldingBackwards(file, JSON.stringify(decisionId))) {
          const record = parseAuditLine(line);
          if (isWanted(record)) return record;
        }
      }
      return undefined;
    } catch (cause) {
      throw new AssayError("AUDIT_UNAVAILABLE", `audit log ${this.#options.path} cannot be read`, { cause });
    }
  }

  async search(match: AuditMatch, limit: number): Promise<readonly StoredAuditRecord[]> {
    const { path } = this.#options;
    this.#appendGathered();
    try {
      return await searchAuditFiles(path, match, limit);
    } catch (cause) {
      throw new AssayError("AUDIT_UNAVAILABLE", `audit log ${path} cannot be read`, { cause });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#appendGathered();
    this.#closed = true;
    this.#file[Symbol.dispose]();
  }

  #appendGathered(): void {
    const soon = this.#soon;
    if (soon === undefined) return;
    this.#soon = undefined;
    try {
      this.append(soon.records);
      soon.resolve();
    } catch (error) {
      soon.reject(error);
    }
  }

  async #findRecent(decisionId: string): Promise<StoredAuditRecord | undefined> {
    const position = this.#recent.get(decisionId);
    if (position === undefined) return undefined;
    const number = this.#bases.findIndex((base) => base <= position);
    const base = this.#bases[number];
    const file = existingFiles(this.#options.path)[number];
    if (base === undefined || file === undefined) return undefined;
    const line = await readLineAt(file, position - base);
    return line === undefined ? undefined : parseAuditLine(line);
  }

  #resume(): ChainEnd {
    const { path } = this.#options;
    const { size } = this.#file;
    const tail = attempt(path, "read", () => readTail(path, size));
    if (tail === undefined) {
      throw new AssayError(
        "AUDIT_UNAVAILABLE",
        `${path} does not end in audit records; move it aside and start again`,
      );
    }
    // An empty current file after a rotation goes on with the chain of the file before.
    this.#end = tail.size === 0 ? this.#endOfRotated() : tail.end;
    const faults: string[] = [];
    if (tail.size < size) {
      attempt(path, "mended", () => {
        keepTorn(path, tail.size, size);
        this.#file.truncate(tail.size);
      });
      faults.push(`torn tail of ${size - tail.size} bytes moved to ${path}.torn`);
    }
    if (tail.broken) faults.push(`record ${tail.end.seq} does not follow from the line before`);
    if (faults.length > 0) {
      this.append([{ event: "audit.recovered", outcome: "done", reasons: faults }]);
      for (const fault of faults) this.#report(fault);
    }
    return this.#end;
  }

  #endOfRotated(): ChainEnd {
    const name = `${this.#options.path}.1`;
    if (!existingFiles(this.#options.path).includes(name)) return CHAIN_START;
    return attempt(name, "read", () => readTail(name, statSync(name).size))?.end ?? CHAIN_START;
  }

  // A file that someone removed or renamed still takes records, which nobody would ever read. Looked for once a second.
  #followPath(): void {
    if (this.#timeMs < this.#nextLookMs && this.#nextLookMs - this.#timeMs <= LOOK_EVERY_MS) return;
    this.#nextLookMs = this.#timeMs + LOOK_EVERY_MS;
    const { path, calls } = this.#options;
    if (statSync(path, { throwIfNoEntry: false })?.ino === this.#file.inode) return;
    const next = attempt(path, "opened", () => AppendFile.open(path, calls));
    this.#bases = [(this.#bases[0] ?? 0) + this.#file.size];
    this.#file[Symbol.dispose]();
    this.#file = next;
    this.#report("the file was removed or renamed by someone else; a new one was begun");
  }

  #rotate(): void {
    const { path, keep, calls } = this.#options;
    try {
      const kept = keep ?? DEFAULT_KEEP;
      // Opened before anything is moved: where there is no room for a new file, the old ones stay as they are.
      const next = AppendFile.open(`${path}.next`, calls);
      rotateFiles(path, `${path}.next`, kept);
      const base = (this.#bases[0] ?? 0) + this.#file.size;
      this.#file[Symbol.dispose]();
      this.#file = next;
      this.#bases = [base, ...this.#bases].slice(0, kept + 1);
      this.#rotateAt = this.#maxSize;
    } catch (cause) {
      // Records go on into the old file, whatever its name is now; a rotation that fails must not stop issuance.
      this.#rotateAt = this.#file.size + this.#maxSize / 10;
      this.#report("the file could not be rotated", cause);
    }
  }

  #now(): string {
    const now = this.#options.clock.now();
    if (now !== this.#timeMs) {
      this.#timeMs = now;
      this.#time = new Date(now).toISOString();
    }
    return this.#time;
  }

  #report(detail: string, cause?: unknown): void {
    const { path, onError } = this.#options;
    onError?.(new AssayError("AUDIT_UNAVAILABLE", `audit log ${path}: ${detail}`, { cause }));
  }
}

function attempt<Result>(path: string, verb: string, action: () => Result): Result {
  try {
    return action();
  } catch (cause) {
    if (cause instanceof AssayError) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new AssayError("AUDIT_UNAVAILABLE", `audit log ${path} cannot be ${verb}: ${reason}`, { cause });
  }
}

/** What came in this turn of the event loop. */
interface Gathered {
  readonly records: AuditRecord[];
  readonly promise: Promise<void>;
  resolve(): void;
  reject(error: unknown): void;
}

const DEFAULT_MAX_SIZE = 100 * 1024 * 1024;
const DEFAULT_KEEP = 10;
const LOOK_EVERY_MS = 1000;
const DEFAULT_RECENT = 10_000;
