import { mkdirSync, mkdtempSync, renameSync, rmSync, statSync, writeFileSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FakeClock } from "../../test/fakes/clock.ts";
import { linesHoldingBackwards } from "./audit-files.ts";
import { type AuditLog, openAuditLog } from "./audit-log.ts";
import type { AuditRecord } from "./audit-record.ts";
import { searchAuditFiles } from "./audit-search.ts";

let folder: string;
let path: string;
let clock: FakeClock;
let log: AuditLog;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "assay-search-"));
  path = join(folder, "audit.jsonl");
  clock = new FakeClock();
  log = openAuditLog({ path, clock, fsync: "never", maxSize: 20_000, keep: 50 });
});

afterEach(async () => {
  await log[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

describe("search", () => {
  it("finds the records of one task over all files, the newest first", async () => {
    for (let i = 0; i < 500; i++) log.append([record(`t${i % 5}`, i)]);
    expect(statSync(`${path}.3`).size).toBeGreaterThan(0);
    const found = await log.search({ field: "task_id", value: "t3" }, 1000);
    expect(found.map(({ serial }) => serial)).toEqual(
      Array.from({ length: 100 }, (_, i) => String(495 - 5 * i + 3)),
    );
  });

  it("gives no more than asked for, and then reads no further", async () => {
    for (let i = 0; i < 500; i++) log.append([record("t", i)]);
    rmSync(`${path}.1`);
    mkdirSync(`${path}.1`);
    const found = await log.search({ field: "task_id", value: "t" }, 3);
    expect(found.map(({ serial }) => serial)).toEqual(["499", "498", "497"]);
    await expect(log.search({ field: "task_id", value: "t" }, 1000)).rejects.toThrowCode("AUDIT_UNAVAILABLE");
  });

  it.each([
    ["agent_id", "spiffe://example.org/spire/agent/a"],
    ["spiffe_id", "spiffe://example.org/b"],
    ["caller_id", "spiffe://example.org/c"],
    ["serial", "0a"],
    ["jti", "9f2c"],
    ["task_id", "b0"],
  ] as const)("tells a value of %s from the same value elsewhere", async (field, value) => {
    const names = ["agent_id", "spiffe_id", "caller_id", "serial", "jti", "task_id"] as const;
    for (const name of names) log.append([{ event: "svid.jwt.issued", outcome: "issued", [name]: value }]);
    log.append([{ event: "svid.denied", outcome: "denied", reasons: [`"${field}":"${value}"`] }]);
    const found = await log.search({ field, value }, 100);
    expect(found.map(({ seq }) => seq)).toEqual([names.indexOf(field) + 1]);
  });

  it("does not take the beginning of a value for the value, nor quotes for an end", async () => {
    log.append([record("task-1", 1), record("task-10", 2), record('x","serial":"7', 3)]);
    expect(await log.search({ field: "task_id", value: "task-1" }, 9)).toMatchObject([{ serial: "1" }]);
    expect(await log.search({ field: "serial", value: "7" }, 9)).toEqual([]);
    expect(await log.search({ field: "task_id", value: 'x","serial":"7' }, 9)).toMatchObject([
      { serial: "3" },
    ]);
  });

  it("leaves out what is older than a time, and does not read files of before it", async () => {
    for (let i = 0; i < 200; i++) log.append([record("t", i)]);
    clock.step(4 * 3_600_000);
    const since = clock.now() / 1000;
    log.append([record("t", 1000)]);
    for (let i = 0; i < 100; i++) log.append([record("other", i)]);
    expect((await log.search({ field: "task_id", value: "t" }, 1000)).length).toBe(201);
    // A file that cannot be read shows that it was not.
    const oldest = [9, 8, 7, 6, 5, 4, 3, 2, 1].map((n) => `${path}.${n}`).find((name) => exists(name));
    if (oldest === undefined) throw new Error("the log has not rotated");
    renameSync(oldest, `${path}.kept`);
    mkdirSync(oldest);
    const found = await log.search({ field: "task_id", value: "t", since }, 1000);
    expect(found.map(({ serial }) => serial)).toEqual(["1000"]);
  });

  it("goes on past a clock that was set back for less than an hour", async () => {
    const since = clock.now() / 1000;
    log.append([record("t", 1)]);
    clock.step(-1_800_000);
    for (let i = 0; i < 400; i++) log.append([record("other", i)]);
    expect(await log.search({ field: "task_id", value: "t", since }, 9)).toMatchObject([{ serial: "1" }]);
  });

  it("counts a record once that a rotation brings by again", async () => {
    for (let i = 0; i < 20; i++) log.append([record("t", i)]);
    writeFileSync(`${path}.1`, readFileSync(path));
    expect(await searchAuditFiles(path, { field: "task_id", value: "t" }, 100)).toHaveLength(20);
  });

  it("finds nothing in an empty log, and passes over lines that are no records", async () => {
    expect(await log.search({ field: "jti", value: "a" }, 9)).toEqual([]);
    writeFileSync(path, '{"task_id":"t"}\n\0\0"task_id":"t"\n');
    expect(await log.search({ field: "task_id", value: "t" }, 9)).toEqual([]);
  });
});

describe("linesHoldingBackwards", () => {
  it("stops where it is told that it has gone back far enough", async () => {
    const file = join(folder, "lines");
    writeFileSync(file, Array.from({ length: 30_000 }, (_, i) => `line ${i} of many more\n`).join(""));
    const lines: string[] = [];
    const asked: string[] = [];
    const isEnough = (line: string) => asked.push(line) === 1;
    for await (const line of linesHoldingBackwards(file, "line", isEnough)) lines.push(line);
    expect(lines[0]).toBe("line 29999 of many more");
    expect(lines.at(-1)).toBe(asked[0]);
    expect(lines.length).toBeLessThan(15_000);
  });
});

function record(task: string, serial: number): AuditRecord {
  return { event: "svid.x509.issued", outcome: "issued", task_id: task, serial: String(serial) };
}

function exists(file: string): boolean {
  return statSync(file, { throwIfNoEntry: false }) !== undefined;
}
