import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { AUDIT_EVENTS, type AuditEvent } from "../../observe/audit-events.ts";
import { lostSince } from "./lost-since.ts";

let folder: string;
let path: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "assay-lost-"));
  path = join(folder, "audit.jsonl");
});
afterEach(() => rm(folder, { recursive: true }));

const START = Date.parse("2026-11-21T12:00:00.000Z");
const BACKUP = new Date(START + 10_000).toISOString();
const at = (seconds: number) => new Date(START + seconds * 1000).toISOString();
let seq = 0;
const line = (event: AuditEvent, seconds: number, more: object = {}) =>
  `${JSON.stringify({ seq: ++seq, prev: "0".repeat(64), time: at(seconds), event, outcome: "done", ...more })}\n`;

async function events(): Promise<readonly string[]> {
  return (await lostSince(path, BACKUP)).records.map(({ event }) => event);
}

describe("what a restore undoes", () => {
  beforeEach(() => {
    seq = 0;
  });

  it("is read from every file of the log, from the backup on, oldest first", async () => {
    await writeFile(`${path}.2`, line("entry.deleted", 1) + line("node.banned", 11));
    await writeFile(`${path}.1`, line("svid.x509.issued", 12) + line("federation.deleted", 13));
    await writeFile(path, line("crl.deleted", 14) + line("node.attested", 15) + line("entry.updated", 16));
    expect(await lostSince(path, BACKUP)).toMatchObject({ isWhole: true });
    expect(await events()).toEqual(["node.banned", "federation.deleted", "crl.deleted", "entry.updated"]);
  });

  it("is every event that takes a right away, and none that gives one or is refused", async () => {
    const all = Object.keys(AUDIT_EVENTS) as AuditEvent[];
    await writeFile(path, all.map((event, n) => line(event, 20 + n)).join(""));
    const found = await events();
    // Whatever is called so took something away, now and when events are added.
    const named = all.filter((event) => /\.(banned|evicted|purged|deleted|revoked|tainted)$/.test(event));
    expect(found).toEqual(expect.arrayContaining(named));
    for (const event of ["entry.updated", "bundle.changed", "crl.changed", "federation.updated"]) {
      expect(found).toContain(event);
    }
    for (const event of ["entry.created", "svid.x509.issued", "store.copied"]) {
      expect(found).not.toContain(event);
    }
    await writeFile(path, line("node.banned", 20, { outcome: "failed" }));
    expect(await events()).toEqual([]);
  });

  it("ends where that backup was restored, and not where another was", async () => {
    const other = line("node.banned", 11) + line("store.restored", 12, { reasons: [`backup of ${at(3)}`] });
    const own = line("store.restored", 14, { reasons: [`backup of ${at(10)}`, `restored at ${at(13)}`] });
    await writeFile(path, other + line("entry.deleted", 13) + own + line("svid.revoked", 15));
    expect(await events()).toEqual(["node.banned", "entry.deleted"]);
  });

  it("goes on to the end of the log for who has just restored that backup once more", async () => {
    const first = line("node.banned", 11) + line("store.restored", 14, { reasons: [`backup of ${at(10)}`] });
    await writeFile(path, line("entry.deleted", 1) + first + line("svid.revoked", 15));
    const { records } = await lostSince(path, BACKUP, "now");
    expect(records.map(({ event }) => event)).toEqual(["node.banned", "svid.revoked"]);
  });

  it("is said to be incomplete where the log begins after the backup, or is not there", async () => {
    seq = 40;
    await writeFile(path, line("node.banned", 11));
    expect(await lostSince(path, BACKUP)).toMatchObject({ isWhole: false, records: [{ seq: 41 }] });
    seq = 0;
    await writeFile(path, line("node.banned", 11));
    expect(await lostSince(path, BACKUP)).toMatchObject({ isWhole: false, records: [{ seq: 1 }] });
    expect(await lostSince(join(folder, "absent"), BACKUP)).toEqual({ isWhole: false, records: [] });
  });
});
