import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { runCommand } from "../../test/fakes/cli.ts";
import type { AgentConfig } from "../config/agent-config.ts";
import type { ServerConfig } from "../config/server-config.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { Programs, RunningProgram } from "./programs.ts";
import { systemClock } from "../clock.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "run-"));
});
afterEach(() => rm(folder, { recursive: true }));

/** Programs that do nothing, and write down what happens to them. */
function fakePrograms(changes: Partial<RunningProgram> = {}) {
  const events: string[] = [];
  const configs: (ServerConfig | AgentConfig)[] = [];
  const running = (name: string) => ({
    ready: Promise.resolve(),
    closed: new Promise<Error | undefined>(() => {}),
    addresses: { api: { host: "127.0.0.1", port: 1 }, web: { host: "127.0.0.1", port: 2 } },
    [Symbol.asyncDispose]: async () => void events.push(`${name} stopped`),
    ...changes,
  });
  const programs: Programs = {
    startServer: async (config) => (configs.push(config), events.push("server started"), running("server")),
    startAgent: async (config) => (configs.push(config), events.push("agent started"), running("agent")),
    runTask: async () => 0,
    prepare: async () => {},
  };
  return { programs, events, configs };
}

describe("assay server and assay agent", () => {
  it.each([
    ["server", ["--trust-domain", "example.org"]],
    ["agent", ["--trust-domain", "example.org", "--server", "127.0.0.1:8081"]],
  ])("%s logs one line ready, tells the service manager, and stops when told to", async (name, flags) => {
    const { programs, events } = fakePrograms();
    const ending = new AbortController();
    const { code, stdout, stderr } = await runCommand([name, ...flags], {
      programs,
      signal: ending.signal,
      notify: (state) => {
        events.push(state);
        if (state === "READY=1") ending.abort();
      },
    });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(events).toEqual([`${name} started`, "READY=1", "STOPPING=1", `${name} stopped`]);
    const lines = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { msg: string });
    expect(lines.filter(({ msg }) => msg === "ready")).toHaveLength(1);
    expect(lines[0]).toMatchObject({ msg: "ready", trust_domain: "example.org", version: "1.2.3" });
  });

  it("take flags before the file, and the file before defaults", async () => {
    const file = join(folder, "server.yaml");
    await writeFile(file, "trust_domain: file.org\nca_ttl: 48h\nlisten: 127.0.0.1:1\n");
    const { programs, configs } = fakePrograms({ closed: Promise.resolve(new AssayError("INTERNAL", "x")) });
    await runCommand(["server", "--config", file, "--listen", "127.0.0.1:7", "--rate-limit", "off"], {
      programs,
    });
    expect(configs[0]).toMatchObject({
      trustDomain: "file.org",
      caTtl: 172_800,
      listen: { host: "127.0.0.1", port: 7 },
      rateLimit: "off",
    });
  });

  it.each([
    [["server"], /^assay: .*trust_domain: is missing.*--trust-domain\)\n$/],
    [["server", "--trust-domain", "Example.org"], /^assay: --trust-domain: expected a trust domain name/],
    [
      ["agent", "--trust-domain", "example.org", "--server", "nowhere"],
      /^assay: --server: expected host:port/,
    ],
    [
      ["server", "--trust-domain", "a.org", "--config", "/nonexistent.yaml"],
      /^assay: \/nonexistent\.yaml: cannot be read/,
    ],
  ])("with a wrong configuration exit 2 before anything starts: %j", async (args, line) => {
    const { programs, events } = fakePrograms();
    const { code, stdout, stderr } = await runCommand(args, { programs });
    expect(stderr).toMatch(line);
    expect({ code, stdout, events }).toEqual({ code: 2, stdout: "", events: [] });
  });

  it("exit 2 with a plugin's name where its settings are refused", async () => {
    const broken: Programs = {
      ...fakePrograms().programs,
      startServer: async () => {
        const violations = [{ pointer: "/ca_bundle_path", detail: "must be set" }];
        throw new AssayError("CONFIG_INVALID", "node attestor x509pop: ca_bundle_path: must be set", {
          violations,
        });
      },
    };
    const { code, stderr } = await runCommand(["server", "--trust-domain", "a.org"], { programs: broken });
    expect({ code, stderr }).toEqual({
      code: 2,
      stderr: "assay: node attestor x509pop: ca_bundle_path: must be set\n",
    });
  });

  it("exit 1 with one line where they cannot start", async () => {
    const { programs } = fakePrograms();
    const broken: Programs = {
      ...programs,
      startServer: async () => {
        throw new AssayError("LISTEN_FAILED", "listen: 127.0.0.1:8081 is taken by another program");
      },
    };
    const { code, stderr } = await runCommand(["server", "--trust-domain", "a.org"], { programs: broken });
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: "assay: listen: 127.0.0.1:8081 is taken by another program\n",
    });
  });

  it.each([
    ["before they are ready", (error: Error) => ({ ready: Promise.reject(error) })],
    ["while they work", (error: Error) => ({ closed: Promise.resolve(error) })],
  ])("exit 1 where they end by themselves %s", async (_, endedBy) => {
    const { programs, events } = fakePrograms(endedBy(new AssayError("AGENT_BANNED", "agent is banned")));
    const args = ["agent", "--trust-domain", "a.org", "--server", "127.0.0.1:1"];
    const { code, stderr } = await runCommand(args, { programs });
    expect({ code, stderr }).toEqual({ code: 1, stderr: "assay: agent is banned\n" });
    expect(events.at(-1)).toBe("agent stopped");
  });

  it("go on where the service manager cannot be told", async () => {
    const { programs } = fakePrograms({ closed: Promise.resolve(new AssayError("INTERNAL", "over")) });
    const { stdout } = await runCommand(["server", "--trust-domain", "a.org"], {
      programs,
      notify: () => {
        throw new AssayError("FILE_UNAVAILABLE", "NOTIFY_SOCKET: gone");
      },
    });
    expect(stdout).toContain('"msg":"the service manager was not told"');
  });

  it("show where they broke only to those who debug", async () => {
    const broken: Programs = {
      ...fakePrograms().programs,
      startServer: async () => {
        throw new TypeError("boom");
      },
    };
    const args = ["server", "--trust-domain", "a.org"];
    expect(await runCommand(args, { programs: broken })).toMatchObject({ code: 1, stderr: "assay: boom\n" });
    const talkative = await runCommand([...args, "--log-level", "debug"], { programs: broken });
    expect(talkative.stderr).toMatch(/^assay: boom\nTypeError: boom\n {4}at /);
  });
});

describe.skipIf(process.platform !== "linux")("assay dev (needs Linux)", () => {
  it("gives the calling user its SVIDs, says what to try, and removes its folder at the end", async () => {
    const ending = new AbortController();
    const told: unknown[] = [];
    const notified: string[] = [];
    const user = { uid: process.geteuid?.() ?? 0, name: "an n" };
    const { code, stdout, stderr } = await runCommand(["dev", "--demo", "--trust-domain", "laptop.test"], {
      clock: systemClock,
      user,
      signal: ending.signal,
      tellLauncher: (message) => told.push(message),
      notify: (state) => {
        notified.push(state);
        ending.abort();
      },
    });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    // A user's name that no SPIFFE ID could hold gives way to the number.
    const id = `spiffe://laptop.test/workload/uid-${user.uid}`;
    expect(stdout.split(`SPIFFE ID: ${id}\n`)).toHaveLength(3);
    expect(stdout).toMatch(/Authority: [0-9a-f]{40}\n/);
    expect(stdout).toMatch(/\nfirst SVID 1\.23 s after the start\n/);
    expect(stdout).toMatch(/\n {2}export SPIFFE_ENDPOINT_SOCKET=unix:\/\/\/\S+\/agent\.sock\n/);
    expect(stdout).toContain("http://localhost/v1/x509-svids\n");
    expect({ told, notified }).toEqual({
      told: [{ event: "first-svid", milliseconds: 1234 }],
      notified: ["READY=1"],
    });
    const place = /^Folder: +(\S+) \(removed at the end\)$/m.exec(stdout)?.[1] ?? "";
    await expect(readdir(place)).rejects.toThrow(/ENOENT/);
  });

  it("keeps a folder that was named, and starts again in it", async () => {
    const data = join(folder, "kept");
    for (const _ of [1, 2]) {
      const ending = new AbortController();
      const { code, stderr } = await runCommand(["dev", "--demo", "--data-dir", data], {
        clock: systemClock,
        user: { uid: process.geteuid?.() ?? 0, name: "ann" },
        signal: ending.signal,
        notify: () => ending.abort(),
      });
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    }
    expect(await readdir(data)).not.toContain("join-token");
    const audit = await readFile(join(data, "server", "audit.jsonl"), "utf8");
    expect(audit).toContain("spiffe://example.org/workload/ann");
  });
});
