import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { hash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { workloadAttestorSuite } from "../../../../test/contract/workload-attestor-suite.ts";
import { systemClock } from "../../../clock.ts";
import type { PluginHost } from "../../../plugin/host.ts";
import { parseTrustDomain } from "../../../spiffe/trust-domain.ts";
import { ExecutableReader } from "./executable.ts";
import { parseNames } from "./id-names.ts";
import { unix } from "./unix.ts";

const folder = mkdtempSync(join(tmpdir(), "unix-"));
afterAll(() => rmSync(folder, { recursive: true }));

const warnings: string[] = [];
const host: PluginHost = {
  trustDomain: parseTrustDomain("example.org"),
  clock: systemClock,
  log: { debug() {}, info() {}, warn: (message) => void warnings.push(message), error() {} },
};
const signal = new AbortController().signal;
const me = { pid: process.pid, uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
const isRoot = me.uid === 0;
const canSetGroups = isRoot && spawnSync("setpriv", ["--version"]).status === 0;

let children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children) child.kill("SIGKILL");
  children = [];
  warnings.length = 0;
});

/** A sleeping process from this program file. */
async function sleeping(program: string, ids: { uid?: number; gid?: number } = {}) {
  const child = spawn(program, ["60"], { stdio: "ignore", cwd: "/", ...ids });
  children.push(child);
  await once(child, "spawn");
  return { pid: child.pid ?? 0, uid: ids.uid ?? me.uid, gid: ids.gid ?? me.gid };
}

/** A program file of our own, which differs from any other by its last bytes. */
function program(name: string, tail = ""): string {
  const path = join(folder, name);
  copyFileSync("/bin/sleep", path);
  if (tail !== "") writeFileSync(path, Buffer.concat([readFileSync("/bin/sleep"), Buffer.from(tail)]));
  chmodSync(path, 0o755);
  return path;
}

async function values(workload: typeof me, config: Record<string, unknown> = {}): Promise<string[]> {
  const result = await unix.config["~standard"].validate(config);
  if (result.issues !== undefined) throw new Error(result.issues.map(({ message }) => message).join("; "));
  await using attestor = await unix.create(result.value, host);
  return ((await attestor.attest?.(workload, signal)) ?? []).map(({ value }) => value);
}

const sha256 = (path: string) => hash("sha256", readFileSync(path), "hex");
const idOf = (...args: string[]) => execFileSync("id", args, { encoding: "utf8" }).trim();

workloadAttestorSuite({ plugin: unix, host, config: { discover_workload_path: true }, process: me });

describe("unix", () => {
  it("gives user and group by number and by name, as id(1) does", async () => {
    const found = await values(me);
    expect(found.slice(0, 4)).toEqual([
      `uid:${idOf("-u")}`,
      `user:${idOf("-un")}`,
      `gid:${idOf("-g")}`,
      `group:${idOf("-gn")}`,
    ]);
  });

  it.skipIf(!canSetGroups)(
    "gives every supplementary group by number and by name (needs root and setpriv)",
    async () => {
      const ids = ["--reuid=65534", "--regid=65534", "--groups=0,4,54321"];
      const child = spawn("setpriv", [...ids, "sh", "-c", "echo up; exec sleep 60"], { cwd: "/" });
      children.push(child);
      await once(child.stdout, "data");
      const found = await values({ pid: child.pid ?? 0, uid: 65534, gid: 65534 });
      const names = parseNames(readFileSync("/etc/group", "utf8"));
      expect(found.filter((value) => value.startsWith("supplementary_"))).toEqual([
        "supplementary_gid:0",
        `supplementary_group:${names.get(0) ?? ""}`,
        "supplementary_gid:4",
        `supplementary_group:${names.get(4) ?? ""}`,
        "supplementary_gid:54321",
      ]);
    },
  );

  it.skipIf(!isRoot)(
    "tells another user's process apart and leaves names out that do not exist (needs root)",
    async () => {
      const nobody = await sleeping("/bin/sleep", { uid: 65534, gid: 65534 });
      expect(await values(nobody)).toEqual(expect.arrayContaining(["uid:65534", "user:nobody", "gid:65534"]));
      const nameless = await sleeping("/bin/sleep", { uid: 54321, gid: 54322 });
      const found = await values(nameless);
      expect(found).toEqual(expect.arrayContaining(["uid:54321", "gid:54322"]));
      expect(found.filter((value) => /^(user|group):/.test(value))).toEqual([]);
    },
  );

  it("refuses a process whose user or group is not the one that connected", async () => {
    await expect(values({ ...me, uid: me.uid + 1 })).rejects.toThrowCode(
      "WORKLOAD_ATTESTATION_FAILED",
      /connected as/,
    );
    await expect(values({ ...me, gid: me.gid + 1 })).rejects.toThrowCode(
      "WORKLOAD_ATTESTATION_FAILED",
      /connected as/,
    );
  });

  it("says nothing about the program unless asked", async () => {
    expect((await values(me)).filter((value) => /^(path|sha256):/.test(value))).toEqual([]);
  });

  it("gives path and hash of the program when asked", async () => {
    const path = program("plain");
    const found = await values(await sleeping(path), { discover_workload_path: true });
    expect(found).toEqual(expect.arrayContaining([`path:${path}`, `sha256:${sha256(path)}`]));
  });

  it("hashes the program that runs, not what was put in its place", async () => {
    const path = program("replaced");
    const before = sha256(path);
    const running = await sleeping(path);
    renameSync(program("other", "different"), path);
    expect(sha256(path)).not.toBe(before);
    const found = await values(running, { discover_workload_path: true });
    expect(found).toContain(`sha256:${before}`);
    expect(found).not.toContain(`path:${path}`);
  });

  it("leaves the hash out, and says so, where the program is larger than the limit", async () => {
    const path = program("large");
    const { size } = statSync(path);
    const running = await sleeping(path);
    const over = await values(running, { discover_workload_path: true, workload_size_limit: size - 1 });
    expect(over).toContain(`path:${path}`);
    expect(over.join()).not.toContain("sha256:");
    expect(warnings).toEqual([expect.stringContaining("workload_size_limit")]);
    const exact = await values(running, { discover_workload_path: true, workload_size_limit: size });
    expect(exact).toContain(`sha256:${sha256(path)}`);
  });

  it("hashes nothing with a negative limit", async () => {
    const found = await values(me, { discover_workload_path: true, workload_size_limit: -1 });
    expect(found.join()).toContain("path:");
    expect(found.join()).not.toContain("sha256:");
    expect(warnings).toEqual([]);
  });

  it.each([
    { workload_size_limit: -2 },
    { workload_size_limit: 1.5 },
    { workload_size_limit: "1" },
    { discoverWorkloadPath: true },
  ])("refuses the configuration %j", async (config) => {
    await expect(values(me, config)).rejects.toThrow();
  });
});

describe("ExecutableReader", () => {
  it("hashes a program once for many processes at the same time and later", async () => {
    using reader = new ExecutableReader(systemClock, 0);
    const begun = performance.now();
    const [first, ...others] = await Promise.all(Array.from({ length: 50 }, () => reader.read(process.pid)));
    const cold = performance.now() - begun;
    expect(first?.sha256).toBe(sha256(process.execPath));
    for (const other of others) expect(other).toEqual(first);
    const again = performance.now();
    expect(await reader.read(process.pid)).toEqual(first);
    // Node's own program is about a hundred megabytes, so a second hash could not hide.
    expect(performance.now() - again).toBeLessThan(cold / 2);
  });

  it("does not take one version of a file for another", async () => {
    using reader = new ExecutableReader(systemClock, 0);
    const path = program("versions", "1");
    expect((await reader.read((await sleeping(path)).pid)).sha256).toBe(sha256(path));
    // As an update does: another file under the same name.
    renameSync(program("next", "2"), path);
    expect((await reader.read((await sleeping(path)).pid)).sha256).toBe(sha256(path));
  });

  it("fails for a process that is not there, and after disposal", async () => {
    const reader = new ExecutableReader(systemClock, 0);
    await expect(reader.read(2 ** 30)).rejects.toThrowCode("WORKLOAD_ATTESTATION_FAILED");
    reader[Symbol.dispose]();
    await expect(reader.read(process.pid)).rejects.toThrowCode("WORKLOAD_ATTESTATION_FAILED");
  });
});
