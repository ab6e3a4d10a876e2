import { mkdir, readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FakeClock } from "../../test/fakes/clock.ts";
import { runCommand } from "../../test/fakes/cli.ts";
import { ServerBench } from "../../test/fakes/server-bench.ts";
import { wireEntry } from "../../test/fakes/server-wire.ts";
import { systemClock } from "../clock.ts";
import { Backup } from "../proto/gen/assay/api/server/v1/backup_pb.ts";

const BACKUP = ["backup", "--admin-socket"] as const;
const NODE = "spiffe://example.org/node";

let bench: ServerBench;
let file: string;

beforeEach(async () => {
  bench = await ServerBench.start();
  file = bench.path("one.assay");
});
afterEach(() => bench[Symbol.asyncDispose]());

/** As a person's own machine runs it. */
const run = (...args: readonly string[]) => runCommand(args, { clock: systemClock });
const backup = (to = file) => run(...BACKUP, bench.path("admin.sock"), "--to", to);
const restore = (...flags: readonly string[]) =>
  run("restore", "--from", file, "--data-dir", bench.path("data"), ...flags);

describe("assay backup", () => {
  it("writes one private file of a running server: two lines that say what it is, and the database", async () => {
    await bench.entries.batchCreateEntry({ entries: [wireEntry("kept", NODE)] });
    const { code, stdout } = await run(...BACKUP, bench.path("admin.sock"), "--to", file, "--output", "json");
    expect(code).toBe(0);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    const bytes = await readFile(file);
    const [first, second = ""] = bytes.toString("latin1", 0, 2000).split("\n");
    expect(first).toBe("assay backup 1");
    const manifest = JSON.parse(second) as Record<string, unknown>;
    expect(JSON.parse(stdout)).toEqual({ file, ...manifest });
    expect(manifest).toMatchObject({ trust_domain: "example.org", version: "test", private_keys: false });
    expect(bytes.subarray(-Number(manifest["database_bytes"])).toString("latin1", 0, 15)).toBe(
      "SQLite format 3",
    );
    const keys = await readdir(join(bench.path("data"), "keys"));
    expect(keys.length).toBeGreaterThan(1);
    for (const key of keys) {
      const text = await readFile(join(bench.path("data"), "keys", key), "utf8");
      const { privateKey } = JSON.parse(text) as { readonly privateKey: string };
      expect(bytes.includes(privateKey)).toBe(false);
      // The scalar itself, wherever it may stand.
      expect(bytes.includes(Buffer.from(privateKey, "base64").subarray(36, 68))).toBe(false);
    }
    expect((await readdir(bench.path("data"))).filter((name) => name.startsWith(".backup"))).toEqual([]);
    expect(bench.audit().at(-1)).toMatchObject({ event: "store.copied", caller_uid: process.getuid?.() });
  });

  it("never writes over a file, and leaves none where nobody answers", async () => {
    await writeFile(file, "precious");
    expect(await backup()).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/exists already/) as string,
    });
    expect(await readFile(file, "utf8")).toBe("precious");
    await bench.stop();
    expect((await backup(bench.path("two.assay"))).code).toBe(1);
    expect(await readdir(bench.folder)).not.toContain("two.assay");
  });

  it("makes one at a time, and another when one was given up", async () => {
    const service = bench.admin.service(Backup);
    const first = service.createBackup({});
    await first.next();
    await expect(service.createBackup({}).next()).rejects.toMatchObject({ status: "FAILED_PRECONDITION" });
    await first.return();
    await expect.poll(async () => (await backup()).code, { timeout: 5000 }).toBe(0);
  });

  it("says of a folder's backup when it was last written to", async () => {
    await bench.stop();
    const past = new Date("2026-01-02T03:04:05.000Z");
    for (const name of ["store.sqlite", "store.sqlite-wal"]) {
      await utimes(join(bench.path("data"), name), past, past).catch(() => undefined);
    }
    const { stdout } = await run(
      "backup",
      "--data-dir",
      bench.path("data"),
      "--to",
      file,
      "--output",
      "json",
    );
    expect(JSON.parse(stdout)).toMatchObject({ created_at: past.toISOString() });
  });

  it("takes a folder in place of the socket where no server has it", async () => {
    const offline = ["backup", "--data-dir", bench.path("data"), "--to", file];
    expect(await run(...offline)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/another process/) as string,
    });
    await bench.stop();
    expect((await run(...offline)).code).toBe(0);
    expect((await restore("--replace")).code).toBe(0);
  });
});

describe("assay restore", () => {
  it("puts the store back under its server's name, sets the other aside and leaves the rest alone", async () => {
    await bench.entries.batchCreateEntry({ entries: [wireEntry("kept", NODE)] });
    await backup();
    await bench.entries.batchCreateEntry({ entries: [wireEntry("later", NODE)] });
    const before = await bench.bundles.getBundle({});
    const id = await readFile(join(bench.path("data"), "server-id"), "utf8");
    await bench.stop();
    await writeFile(join(bench.path("data"), "server-id"), "another\n");
    expect((await restore()).stderr).toMatch(/is not empty: give --replace/);
    const { code, stdout } = await restore("--replace", "--trust-domain", "example.org");
    expect(code).toBe(0);
    expect(stdout).toMatch(/store-before-/);
    expect(await readFile(join(bench.path("data"), "server-id"), "utf8")).toBe(id);
    await bench.start();
    const { entries } = await bench.entries.listEntries({});
    expect(entries.map(({ spiffeId }) => spiffeId?.path)).toEqual(["/kept"]);
    const after = await bench.bundles.getBundle({});
    expect(after.sequenceNumber).toBeGreaterThan(before.sequenceNumber);
    expect(after.x509Authorities[0]?.asn1).toEqual(before.x509Authorities[0]?.asn1);
    expect(bench.audit().filter(({ event }) => event === "store.restored")).toHaveLength(1);
    // Others are on their way, and published before they sign.
    await expect
      .poll(async () => (await bench.bundles.getBundle({})).x509Authorities.length, { timeout: 5000 })
      .toBe(2);
    await bench.stop();
    await bench.start();
    expect(bench.audit().filter(({ event }) => event === "store.restored")).toHaveLength(1);
  });

  it("is refused while the server runs", async () => {
    await backup();
    expect((await restore("--replace")).stderr).toMatch(/used by another process/);
    expect((await readdir(bench.path("data"))).filter((name) => /restore|before/.test(name))).toEqual([]);
  });

  it("puts no store where the name under which its authorities are known cannot be written", async () => {
    await backup();
    await bench.stop();
    await rm(join(bench.path("data"), "server-id"));
    await mkdir(join(bench.path("data"), "server-id"));
    expect((await restore("--replace")).stderr).toMatch(/server-id/);
    expect((await readdir(bench.path("data"))).filter((name) => /restore|before/.test(name))).toEqual([]);
  });

  it("lists what it undoes, and says the same when it is asked again", async () => {
    await bench.entries.batchCreateEntry({ entries: [wireEntry("kept", NODE), wireEntry("gone", NODE)] });
    const { entries } = await bench.entries.listEntries({});
    const gone = entries.find(({ spiffeId }) => spiffeId?.path === "/gone")?.id ?? "";
    await backup();
    await bench.entries.batchDeleteEntry({ ids: [gone] });
    await bench.stop();
    const log = ["--audit-log", bench.path("audit.jsonl")];
    const listed = async () => {
      const { stdout } = await restore("--list-lost", ...log, "--output", "json");
      return JSON.parse(stdout) as { lost: { event: string; entry_id: string }[]; lost_incomplete: string };
    };
    const before = await listed();
    expect(before).toMatchObject({ lost: [{ event: "entry.deleted", entry_id: gone }], lost_incomplete: "" });
    const { stdout } = await restore("--replace", ...log);
    expect(stdout).toMatch(new RegExp(`names 1 bans.*\\n +\\S+Z entry\\.deleted ${gone}`));
    await bench.start();
    await bench.entries.batchDeleteEntry({ ids: [gone] });
    expect(await listed()).toEqual(before);
    const other = await restore("--list-lost", "--audit-log", bench.path("absent.jsonl"));
    expect(other).toMatchObject({ code: 0, stdout: expect.stringMatching(/may be more/) as string });
  });

  it("is refused over a store of another trust domain, unless that is said to be meant", async () => {
    await backup();
    await bench.stop();
    using store = new DatabaseSync(join(bench.path("data"), "store.sqlite"));
    store.exec("update meta set value = 'other.org' where name = 'trust_domain'");
    store.close();
    expect((await restore("--replace")).stderr).toMatch(
      /is of the trust domain example\.org, and the store in .* of other\.org: give --trust-domain/,
    );
    expect((await restore("--replace", "--trust-domain", "example.org")).code).toBe(0);
  });

  it("warns where the clock is far beyond all that is known of the store", async () => {
    await backup();
    await bench.stop();
    const args = ["restore", "--from", file, "--data-dir", bench.path("data"), "--replace"];
    const late = { now: () => systemClock.now() + 400 * 86_400_000, schedule: systemClock.schedule };
    expect((await runCommand(args, { clock: late })).stdout).toMatch(
      /clock says .*, \d+ days after the last/,
    );
    expect((await restore("--replace")).stdout).not.toMatch(/clock says/);
  });

  it("is one where two are begun at once, and the store is ahead of what was seen", async () => {
    await backup();
    const before = await bench.bundles.getBundle({});
    await bench.stop();
    const both = await Promise.all([restore("--replace"), restore("--replace")]);
    expect(both.map(({ code }) => code).toSorted((a, b) => a - b)).toEqual([0, 1]);
    expect(both.map(({ stderr }) => stderr).join("")).toMatch(/used by another process/);
    await bench.start();
    expect((await bench.bundles.getBundle({})).sequenceNumber).toBeGreaterThan(before.sequenceNumber + 1000n);
  });

  it("goes into an empty folder or one that is not there, and into no stranger's", async () => {
    await backup();
    const fresh = bench.path("fresh");
    expect((await run("restore", "--from", file, "--data-dir", fresh)).code).toBe(0);
    expect((await readdir(fresh)).toSorted()).toEqual(["server-id", "store.sqlite", "store.sqlite.lock"]);
    await mkdir(bench.path("open"), { mode: 0o755 });
    await writeFile(join(bench.path("open"), "x"), "");
    expect(
      (await run("restore", "--from", file, "--data-dir", bench.path("open"), "--replace")).stderr,
    ).toMatch(/has mode 0755/);
  });

  describe("of a file that is not good", () => {
    let good: Buffer;
    beforeEach(async () => {
      await backup();
      await bench.stop();
      good = await readFile(file);
    });

    const changed = (from: string | RegExp, to: string) => {
      const [first = "", second = ""] = good.toString("latin1", 0, 2000).split("\n");
      const header = `${first}\n${second}\n`;
      return Buffer.concat([Buffer.from(header.replace(from, to)), good.subarray(header.length)]);
    };

    it.each([
      ["is empty", () => Buffer.alloc(0), /no backup/],
      ["is something else", () => Buffer.from("hello\nworld\n"), /no backup/],
      ["is of a later format", () => changed("backup 1", "backup 2"), /no backup that this program can read/],
      ["lacks its end", () => good.subarray(0, -4096), /holds \d+ bytes of a database of \d+/],
      ["has more than its end", () => Buffer.concat([good, Buffer.from("x")]), /holds \d+ bytes/],
      ["has a bit turned", () => flipped(good), /damaged: its database is not the one of its manifest/],
      ["has a manifest that is no JSON", () => changed("{", "["), /manifest is no JSON/],
      [
        "has a manifest with more in it",
        () => changed("{", '{"more":1,'),
        /manifest is not as expected: Unrecognized key: "more"/,
      ],
      [
        "has a server id that is a path",
        () => changed(/"server_id":"[^"]*"/, '"server_id":"../x"'),
        /manifest is not as expected: server_id Invalid string: must match/,
      ],
      ["names another trust domain", () => changed("example.org", "other.org"), /not what its manifest says/],
      ["names another position", () => changed(/"changes":\d+/, '"changes":1'), /not what its manifest says/],
      ["is from tomorrow", () => changed(/"created_at":"20/, '"created_at":"21'), /set the clock first/],
    ])("that %s leaves everything as it was", async (_, content, said) => {
      await writeFile(file, content());
      const before = await readFile(join(bench.path("data"), "store.sqlite"));
      const { code, stderr } = await restore("--replace");
      expect(code).toBe(1);
      expect(stderr).toMatch(said);
      expect((await readFile(join(bench.path("data"), "store.sqlite"))).equals(before)).toBe(true);
      const names = await readdir(bench.path("data"));
      expect(names.filter((name) => /restore|before/.test(name))).toEqual([]);
      await bench.start();
    });

    it("that is not there, or of another trust domain than asked for, is refused", async () => {
      expect((await restore("--replace", "--trust-domain", "other.org")).stderr).toMatch(
        /is of the trust domain example\.org, expected other\.org/,
      );
      await rm(file);
      expect((await restore("--replace")).stderr).toMatch(/cannot read .*one\.assay: no such file/);
    });

    it("is refused where this machine's clock is behind it", async () => {
      const { stderr } = await runCommand(
        ["restore", "--from", file, "--data-dir", bench.path("data"), "--replace"],
        {
          clock: new FakeClock(),
        },
      );
      expect(stderr).toMatch(/this machine's clock says .* set the clock first/);
    });
  });
});

function flipped(bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  const at = copy.length - 3000;
  copy[at] = (copy[at] ?? 0) ^ 1;
  return copy;
}
