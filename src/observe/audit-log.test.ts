import {
  appendFileSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  writeSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FakeClock } from "../../test/fakes/clock.ts";
import type { AssayError } from "../errors/assay-error.ts";
import type { FileCalls } from "./append-file.ts";
import { AUDIT_EVENTS } from "./audit-events.ts";
import { type AuditLog, type AuditLogOptions, openAuditLog } from "./audit-log.ts";
import { AUDIT_FIELDS, type AuditRecord } from "./audit-record.ts";
import { verifyAuditLog } from "./audit-verify.ts";

let folder: string;
let path: string;
const open: AuditLog[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "assay-audit-"));
  path = join(folder, "audit.jsonl");
});

afterEach(async () => {
  for (const log of open.splice(0)) await log[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

describe("audit log", () => {
  it("writes one line a record, chained by the hash of the line before", async () => {
    const log = opened();
    log.append([record("a"), record("b")]);
    log.append([record("c")]);
    expect(linesOf(path)).toMatchObject([
      { seq: 1, prev: "0".repeat(64), time: "2026-11-22T12:00:00.000Z", decision_id: "a", outcome: "issued" },
      { seq: 2, decision_id: "b" },
      { seq: 3, decision_id: "c" },
    ]);
    expect(await verifyAuditLog(path)).toEqual({ ok: true, records: 3, end: log.end });
  });

  it("is readable by its owner only, also when it was not before", async () => {
    writeFileSync(path, "", { mode: 0o644 });
    opened();
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it("goes on with the chain after it is closed and opened again", async () => {
    const first = opened();
    first.append([record("a")]);
    await first[Symbol.asyncDispose]();
    opened().append([record("b")]);
    expect(await verifyAuditLog(path)).toMatchObject({ ok: true, records: 2 });
  });

  it("refuses to write after it is closed", async () => {
    const log = opened();
    await log[Symbol.asyncDispose]();
    await log[Symbol.asyncDispose]();
    expect(() => log.append([record("a")])).toThrowCode("AUDIT_UNAVAILABLE", /closed/);
  });

  it("does not open a symbolic link, a missing folder or a file that is no audit log", () => {
    symlinkSync("/dev/null", join(folder, "link"));
    writeFileSync(join(folder, "notes"), "dear diary\n");
    expect(() => opened({ path: join(folder, "link") })).toThrowCode("AUDIT_UNAVAILABLE", /cannot be opened/);
    expect(() => opened({ path: join(folder, "no", "audit") })).toThrowCode("AUDIT_UNAVAILABLE", /ENOENT/);
    expect(() => opened({ path: join(folder, "notes") })).toThrowCode("AUDIT_UNAVAILABLE", /move it aside/);
    expect(readFileSync(join(folder, "notes"), "utf8")).toBe("dear diary\n");
  });

  it("shortens a record that is far too long and takes out what looks like a secret", async () => {
    const jwtSvid = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJzcGlmZmU6Ly9lIn0.c2lnbmF0dXJl";
    const log = opened();
    log.append([{ ...record("a"), reasons: Array.from({ length: 9000 }, (_, i) => `reason ${i}`) }]);
    log.append([{ ...record("b"), reasons: [jwtSvid] }]);
    expect(readFileSync(path, "utf8").length).toBeLessThan(5000);
    expect(readFileSync(path, "utf8")).not.toContain(jwtSvid);
    expect(await verifyAuditLog(path)).toMatchObject({ ok: true, records: 2 });
  });
});

describe("audit log after a crash", () => {
  it.each([
    ["half a record", '{"seq":3,"prev":"00'],
    ["blocks of zeros", "\0".repeat(5000)],
    ["zeros with a newline in them", "\0\0\n\0\0"],
  ])("moves %s aside, notes it by a record and goes on", async (_, torn) => {
    await write(["a", "b"]);
    appendFileSync(path, torn);
    const errors: AssayError[] = [];
    const log = opened({ onError: (error) => void errors.push(error) });
    log.append([record("c")]);
    expect(linesOf(path)).toMatchObject([
      {},
      {},
      { seq: 3, event: "audit.recovered" },
      { seq: 4, decision_id: "c" },
    ]);
    expect(await verifyAuditLog(path)).toMatchObject({ ok: true, records: 4 });
    expect(readFileSync(`${path}.torn`, "utf8")).toBe(`${torn}\n`);
    expect(statSync(`${path}.torn`).mode & 0o777).toBe(0o600);
    expect(errors.map(({ detail }) => detail)).toEqual([
      expect.stringContaining(`torn tail of ${torn.length} bytes`),
    ]);
  });

  it("begins anew where not even the first record was written wholly", async () => {
    writeFileSync(path, '{"seq":1,"pr');
    opened().append([record("a")]);
    expect(linesOf(path)).toMatchObject([
      { seq: 1, event: "audit.recovered" },
      { seq: 2, decision_id: "a" },
    ]);
  });

  it("notes a last record that does not follow from the one before", async () => {
    await write(["a", "b", "c"]);
    const lines = readFileSync(path, "utf8").split("\n");
    writeFileSync(path, [lines[0], lines[1]?.replace('"b"', '"x"'), lines[2], ""].join("\n"));
    const errors: AssayError[] = [];
    opened({ onError: (error) => void errors.push(error) });
    expect(errors[0]?.detail).toContain("record 3 does not follow");
    expect(await verifyAuditLog(path)).toEqual({
      ok: false,
      file: path,
      line: 3,
      reason: "the record does not follow from the line before",
    });
  });
});

describe("records of one turn of the event loop", () => {
  it("are written by one call and wait for the disk once, in the order in which they came", async () => {
    const disk = new BadDisk();
    const log = opened({ calls: disk, fsync: "always" });
    const written = ["a", "b", "c"].map((id) => log.appendSoon([record(id)]));
    expect(linesOf(path)).toHaveLength(0);
    await Promise.all(written);
    expect(disk.synced).toBe(1);
    await log.appendSoon([record("d")]);
    expect(disk.synced).toBe(2);
    expect(linesOf(path)).toMatchObject(["a", "b", "c", "d"].map((id) => ({ decision_id: id })));
    expect(await verifyAuditLog(path)).toMatchObject({ ok: true, records: 4 });
  });

  it("come before what is written at once after them, and are found before their turn", async () => {
    const log = opened();
    const first = log.appendSoon([record("a")]);
    log.append([record("b")]);
    const second = log.appendSoon([record("c")]);
    await log.search({ field: "serial", value: "none" }, 10);
    expect(linesOf(path)).toMatchObject(["a", "b", "c"].map((id) => ({ decision_id: id })));
    const third = log.appendSoon([record("d")]);
    expect(await log.find("d")).toMatchObject({ decision_id: "d", seq: 4 });
    await Promise.all([first, second, third]);
  });

  it("are refused together where they cannot be written, and the next ones are not", async () => {
    const disk = new BadDisk();
    const log = opened({ calls: disk });
    disk.room = 20;
    const refused = await Promise.allSettled(["a", "b"].map((id) => log.appendSoon([record(id)])));
    expect(refused.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    expect(readFileSync(path, "utf8")).toBe("");
    disk.room = Number.POSITIVE_INFINITY;
    await log.appendSoon([record("c")]);
    expect(linesOf(path)).toMatchObject([{ decision_id: "c", seq: 1 }]);
  });

  it("are written before the log is closed, and refused after", async () => {
    const log = opened();
    const last = log.appendSoon([record("a")]);
    await log[Symbol.asyncDispose]();
    await last;
    expect(linesOf(path)).toMatchObject([{ decision_id: "a" }]);
    await expect(log.appendSoon([record("b")])).rejects.toThrowCode("AUDIT_UNAVAILABLE", /closed/);
  });
});

describe("audit log on a bad disk", () => {
  it("takes a half-written record back and writes again when there is room", async () => {
    const disk = new BadDisk();
    const log = opened({ calls: disk });
    log.append([record("a")]);
    disk.room = 20;
    expect(() => log.append([record("b")])).toThrowCode("AUDIT_UNAVAILABLE", /no space left/);
    expect(() => log.append([record("b")])).toThrowCode("AUDIT_UNAVAILABLE", /no space left/);
    expect(linesOf(path)).toHaveLength(1);
    disk.room = Number.POSITIVE_INFINITY;
    log.append([record("c")]);
    expect(linesOf(path)).toMatchObject([{ decision_id: "a" }, { decision_id: "c", seq: 2 }]);
    expect(await verifyAuditLog(path)).toMatchObject({ ok: true, records: 2 });
    expect(await log.find("b")).toBeUndefined();
  });

  it("writes nothing more until what is half-written could be taken back", async () => {
    const disk = new BadDisk();
    const log = opened({ calls: disk });
    log.append([record("a")]);
    disk.room = 20;
    disk.truncates = false;
    expect(() => log.append([record("b")])).toThrowCode("AUDIT_UNAVAILABLE", /no space left/);
    disk.room = Number.POSITIVE_INFINITY;
    expect(() => log.append([record("c")])).toThrowCode("AUDIT_UNAVAILABLE", /cannot truncate/);
    disk.truncates = true;
    log.append([record("d")]);
    expect(linesOf(path)).toMatchObject([{ decision_id: "a" }, { decision_id: "d" }]);
  });

  it("takes a record back that did not reach the disk", async () => {
    const disk = new BadDisk();
    const log = opened({ calls: disk, fsync: "always" });
    disk.syncs = false;
    expect(() => log.append([record("a")])).toThrowCode("AUDIT_UNAVAILABLE", /input\/output/);
    expect(readFileSync(path, "utf8")).toBe("");
    disk.syncs = true;
    log.append([record("b")]);
    expect(disk.synced).toBe(1);
  });
});

describe("audit log whose file is taken away", () => {
  it("begins a new file within a second, with the same chain, and says so", async () => {
    const clock = new FakeClock();
    const errors: AssayError[] = [];
    const log = opened({ clock, onError: (error) => void errors.push(error) });
    log.append([record("a")]);
    renameSync(path, `${path}.1`);
    clock.step(1000);
    log.append([record("b")]);
    expect(linesOf(path)).toMatchObject([{ seq: 2 }]);
    expect(errors[0]?.detail).toContain("removed or renamed");
    expect(await log.find("a")).toMatchObject({ seq: 1 });
    expect(await log.find("b")).toMatchObject({ seq: 2 });
    expect(await verifyAuditLog(path)).toMatchObject({ ok: true, records: 2 });
  });

  it("looks again after the clock was set back", () => {
    const clock = new FakeClock();
    const log = opened({ clock });
    log.append([record("a")]);
    rmSync(path);
    clock.step(-3_600_000);
    log.append([record("b")]);
    expect(linesOf(path)).toMatchObject([{ seq: 2 }]);
  });
});

describe("audit log that rotates", () => {
  it("keeps so many old files and one chain over all of them", async () => {
    const log = opened({ maxSize: 1000, keep: 2 });
    for (let i = 0; i < 20; i++) log.append([record(`decision-${i}`)]);
    expect(existsSync(`${path}.2`)).toBe(true);
    expect(existsSync(`${path}.3`)).toBe(false);
    expect(existsSync(`${path}.next`)).toBe(false);
    expect(statSync(path).size).toBeLessThanOrEqual(1000);
    expect(statSync(`${path}.1`).mode & 0o777).toBe(0o600);
    expect(await verifyAuditLog(path)).toMatchObject({ ok: true, end: log.end });
    expect(log.end.seq).toBe(20);
  });

  it("goes on with the chain where the newest file is still empty", async () => {
    await write(["a", "b"]);
    writeFileSync(`${path}.1`, readFileSync(path));
    writeFileSync(path, "");
    opened().append([record("c")]);
    expect(linesOf(path)).toMatchObject([{ seq: 3 }]);
    expect(await verifyAuditLog(path)).toMatchObject({ ok: true, records: 3 });
  });

  it("goes on in the old file where no new one can be made", async () => {
    const errors: AssayError[] = [];
    symlinkSync("/nowhere", `${path}.next`);
    const log = opened({ maxSize: 1000, onError: (error) => void errors.push(error) });
    for (let i = 0; i < 10; i++) log.append([record(`decision-${i}`)]);
    expect(linesOf(path)).toHaveLength(10);
    expect(errors[0]?.detail).toContain("could not be rotated");
  });

  it("finds a missing file in the middle", async () => {
    const log = opened({ maxSize: 1000, keep: 5 });
    for (let i = 0; i < 20; i++) log.append([record(`decision-${i}`)]);
    writeFileSync(`${path}.2`, readFileSync(`${path}.3`));
    expect(await verifyAuditLog(path)).toMatchObject({ ok: false, file: `${path}.2`, line: 1 });
  });
});

describe("find", () => {
  it("finds recent decisions by their place and older ones by reading back, over all files", async () => {
    const log = opened({ maxSize: 20_000, keep: 20, recent: 10 });
    for (let i = 0; i < 500; i++)
      log.append([record(`decision-${i}`), { ...record("other"), reasons: ["x".repeat(i)] }]);
    for (const i of [0, 1, 137, 300, 498, 499]) {
      expect(await log.find(`decision-${i}`)).toMatchObject({ decision_id: `decision-${i}` });
    }
    expect(await log.find("other")).toMatchObject({ seq: 1000 });
  });

  it("finds a decision in a file larger than one block", async () => {
    const log = opened({ recent: 2 });
    for (let i = 0; i < 3000; i++) log.append([record(`decision-${i}`)]);
    expect(statSync(path).size).toBeGreaterThan(600_000);
    const found = await Promise.all([0, 1, 1111, 1500, 2998].map((i) => log.find(`decision-${i}`)));
    expect(found.map((hit) => hit?.seq)).toEqual([1, 2, 1112, 1501, 2999]);
  });

  it("is not led astray by an id that stands in another field", async () => {
    const log = opened({ recent: 2 });
    log.append([record("a")]);
    for (let i = 0; i < 5; i++) log.append([{ ...record(`b-${i}`), request_id: "a" }]);
    expect(await log.find("a")).toMatchObject({ seq: 1 });
  });

  it("gives nothing for an id that is not there", async () => {
    const log = opened();
    log.append([record("a")]);
    expect(await log.find("b")).toBeUndefined();
    expect(await log.find('"\n')).toBeUndefined();
  });

  it("says so where a file cannot be read", async () => {
    const log = opened();
    log.append([record("a")]);
    rmSync(path);
    expect(await log.find("a")).toBeUndefined();
    mkdirSync(path);
    await expect(log.find("a")).rejects.toThrowCode("AUDIT_UNAVAILABLE", /cannot be read/);
  });
});

describe("verifyAuditLog", () => {
  it.each([
    ["a changed field", (lines: string[]) => lines.with(1, lines[1]?.replace('"b"', '"x"') ?? ""), 3],
    ["a removed record", (lines: string[]) => lines.toSpliced(1, 1), 2],
    ["a record put in twice", (lines: string[]) => lines.toSpliced(1, 0, lines[1] ?? ""), 3],
    [
      "two records changed about",
      (lines: string[]) => lines.with(0, lines[1] ?? "").with(1, lines[0] ?? ""),
      2,
    ],
    ["a line that is no record", (lines: string[]) => lines.with(2, "{}"), 3],
    ["a torn last line", (lines: string[]) => [...lines.slice(0, -1), "{"], 5],
  ])("names the first line after %s", async (_, change, line) => {
    await write(["a", "b", "c", "d"]);
    writeFileSync(path, change(readFileSync(path, "utf8").split("\n")).join("\n"));
    expect(await verifyAuditLog(path)).toMatchObject({ ok: false, file: path, line });
  });

  it("accepts a log with nothing in it", async () => {
    opened();
    expect(await verifyAuditLog(path)).toMatchObject({ ok: true, records: 0 });
  });
});

describe("audit vocabulary", () => {
  it("describes every field and event in one sentence without a final period", () => {
    const texts = [
      ...Object.values(AUDIT_FIELDS).map((field) => field.description),
      ...Object.values(AUDIT_EVENTS),
    ];
    for (const text of texts) expect(text).toMatch(/^[A-Z`].*[^.]$/);
  });

  it("has no field for a secret", () => {
    for (const name of Object.keys(AUDIT_FIELDS))
      expect(name).not.toMatch(/token|secret|private|password|svid$|_key$/);
  });
});

/** A disk that runs full or breaks when told to. */
class BadDisk implements FileCalls {
  room = Number.POSITIVE_INFINITY;
  truncates = true;
  syncs = true;
  synced = 0;

  write(fd: number, chunk: Uint8Array, offset: number, length: number): number {
    if (this.room === 0) {
      this.room = 20;
      throw new Error("ENOSPC: no space left on device");
    }
    const written = writeSync(fd, chunk, offset, Math.min(length, this.room));
    this.room -= written;
    return written;
  }

  sync(): void {
    if (!this.syncs) throw new Error("EIO: input/output error");
    this.synced++;
  }

  truncate(fd: number, size: number): void {
    if (!this.truncates) throw new Error("EIO: cannot truncate");
    ftruncateSync(fd, size);
  }
}

function opened(options: Partial<AuditLogOptions> = {}): AuditLog {
  const log = openAuditLog({ path, clock: new FakeClock(), fsync: "never", ...options });
  open.push(log);
  return log;
}

async function write(ids: readonly string[]): Promise<void> {
  const log = openAuditLog({ path, clock: new FakeClock(), fsync: "never" });
  log.append(ids.map((id) => record(id)));
  await log[Symbol.asyncDispose]();
}

function record(id: string): AuditRecord {
  return {
    event: "svid.x509.issued",
    outcome: "issued",
    decision_id: id,
    spiffe_id: "spiffe://example.org/a",
  };
}

function linesOf(file: string): unknown[] {
  return readFileSync(file, "utf8")
    .split("\n")
    .slice(0, -1)
    .map((line): unknown => JSON.parse(line));
}
