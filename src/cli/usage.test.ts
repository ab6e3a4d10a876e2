import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { runCommand } from "../../test/fakes/cli.ts";
import { loadAgentConfig } from "../config/agent-config.ts";
import { loadServerConfig } from "../config/server-config.ts";
import {
  DEFAULT_ADMIN_SOCKET,
  DEFAULT_AGENT_ADMIN_SOCKET,
  DEFAULT_WORKLOAD_ENDPOINT,
} from "./default-sockets.ts";

describe("a wrong command line", () => {
  it.each([
    [
      ["entry", "list", "--parent", "x"],
      /^assay: unknown option '--parent' \(did you mean --parent-id\?\)\n$/,
    ],
    [["entri"], /^assay: unknown command 'entri' \(did you mean entry\?\)\n$/],
    [["entry", "crate"], /^assay: unknown command 'crate' \(did you mean create\?\)\n$/],
    [["entry", "show"], /^assay: required option '--id <id>' not specified\n$/],
    [["entry", "list", "extra"], /^assay: too many arguments .*\n$/],
    [["server", "--trust-domian", "x"], /did you mean --trust-domain/],
    [["entry", "list", "--output", "xml"], /^assay: --output: expected pretty or json, got "xml"\n$/],
    [
      ["entry", "list", "--match-selectors", "some"],
      /^assay: --match-selectors: expected exact, subset, superset or any/,
    ],
    [["bundle", "show", "--format", "der"], /^assay: --format: expected pem or spiffe/],
    [
      ["bundle", "delete", "--trust-domain", "a.org", "--mode", "maybe"],
      /^assay: --mode: expected restrict, /,
    ],
    [
      ["token", "generate", "--ttl", "10"],
      /^assay: --ttl: expected a duration such as 90s or 1h30m, got "10"\n$/,
    ],
    [["token", "generate", "--ttl", "1500ms"], /^assay: --ttl: expected whole seconds/],
    [["agents", "purge", "--expired-for", "soon"], /^assay: --expired-for: expected a duration/],
    [["explain", "pid", "0x10"], /^assay: <pid>: expected a process id, got "0x10"\n$/],
    [["explain", "pid", "99999999999"], /^assay: <pid>: expected a process id/],
    [["config", "validate"], /^assay: required option '--config <file>' not specified\n$/],
    [["config", "print", "--config", "x", "gateway"], /^assay: \[program\]: expected server or agent/],
    [["fetch", "jwt"], /^assay: required option '--audience <audience>' not specified\n$/],
    [["fetch", "x509", "--socket", "tcp://127.0.0.1:1"], /^assay: --socket: expected a Unix socket/],
    [
      ["fetch", "x509", "--socket", "http://x"],
      /^assay: --socket: workload endpoint address: scheme must be/,
    ],
    [["fetch", "x509", "--timeout", "1"], /^assay: --timeout: expected a duration/],
    [["healthcheck", "--timeout", "never"], /^assay: --timeout: expected a duration/],
  ])("%j exits 2 with one line that says what was expected", async (args, line) => {
    const { code, stdout, stderr } = await runCommand(args);
    expect(stderr).toMatch(line);
    expect(stderr.split("\n")).toHaveLength(2);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  });

  const id = "spiffe://example.org/a";
  it.each([
    [
      "--spiffe-id",
      ["entry", "create", "--spiffe-id", "spiffe://Example.org/a", "--parent-id", id, "--selector", "a:b"],
    ],
    ["--parent-id", ["entry", "create", "--spiffe-id", id, "--parent-id", "a", "--selector", "a:b"]],
    ["--selector", ["entry", "create", "--spiffe-id", id, "--parent-id", id, "--selector", "unix"]],
    ["--selector", ["entry", "create", "--spiffe-id", id, "--parent-id", id, "--selector", ""]],
    ["--federates-with", ["entry", "update", "--id", "e", "--federates-with", "B.org"]],
    ["--x509-svid-ttl", ["entry", "update", "--id", "e", "--x509-svid-ttl", "1 hour"]],
    ["--expires-at", ["entry", "update", "--id", "e", "--expires-at", "tomorrow"]],
    ["--expires-at", ["entry", "update", "--id", "e", "--expires-at", "1"]],
    ["--spiffe-id", ["entry", "update", "--id", "e", "--spiffe-id", `${id}/`]],
    ["--selector", ["entry", "update", "--id", "e", "--selector", ":b"]],
    ["--spiffe-id", ["entry", "list", "--spiffe-id", "spiffe://"]],
    ["--parent-id", ["entry", "list", "--parent-id", `${id}?x`]],
    ["--selector", ["entry", "list", "--selector", "unix:"]],
    ["--federates-with", ["entry", "list", "--federates-with", "a/b"]],
    ["--spiffe-id", ["entry", "count", "--spiffe-id", "http://example.org/a"]],
    ["--selector", ["entry", "count", "--selector", "x"]],
    ["--spiffe-id", ["token", "generate", "--spiffe-id", "spiffe://example.org//a"]],
    ["<spiffe-id>", ["agents", "show", "example.org/a"]],
    ["<spiffe-id>", ["agents", "evict", "spiffe://example.org/a b"]],
    ["<spiffe-id>", ["agents", "ban", "SPIFFE://example.org/a"]],
    ["<spiffe-id>", ["explain", "node", "spiffe://example.org/../a"]],
    ["--trust-domain", ["bundle", "list", "--trust-domain", "Example.org"]],
    ["--trust-domain", ["bundle", "delete", "--trust-domain", ""]],
    ["--spiffe-id", ["fetch", "jwt", "--audience", "a", "--spiffe-id", "x"]],
  ])("with a malformed %s exits 2 before anybody is asked: %j", async (flag, args) => {
    const { code, stderr } = await runCommand(args);
    expect(stderr.startsWith(`assay: ${flag}: `)).toBe(true);
    expect(stderr.split("\n")).toHaveLength(2);
    expect(code).toBe(2);
  });

  it("shows the help of a group where no command is named, and exits 2", async () => {
    const { code, stdout, stderr } = await runCommand(["entry"]);
    expect(stderr).toContain("Usage: assay entry");
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  });

  it("keeps control characters and line breaks of a value off the terminal", async () => {
    const { stderr } = await runCommand(["entry", "list", "--spiffe-id", "\u001b[31m\nred"]);
    expect(stderr.replace(/\n$/, "")).not.toMatch(/\p{Cc}/u);
  });
});

describe("help and version", () => {
  it("are printed on standard output and exit 0", async () => {
    expect(await runCommand(["--version"])).toEqual({ code: 0, stdout: "1.2.3\n", stderr: "" });
    const help = await runCommand(["--help"]);
    expect(help.code).toBe(0);
    for (const name of [
      "server",
      "agent",
      "dev",
      "entry",
      "token",
      "agents",
      "bundle",
      "authority",
      "fetch",
      "explain",
      "healthcheck",
      "config",
    ]) {
      expect(help.stdout).toMatch(new RegExp(`^  ${name}\\b`, "m"));
    }
    expect(help.stdout).toContain("Exit codes: 0 done, 1 refused or failed, 2 wrong usage or configuration");
  });

  it("list the flags that scripts rely on", async () => {
    const { stdout: server } = await runCommand(["server", "--help"]);
    for (const flag of [
      "config",
      "trust-domain",
      "data-dir",
      "listen",
      "web-listen",
      "admin-socket",
      "rate-limit",
      "log-level",
    ]) {
      expect(server).toContain(`--${flag} <`);
    }
    const { stdout: agent } = await runCommand(["agent", "--help"]);
    for (const flag of [
      "config",
      "trust-domain",
      "server",
      "trust-bundle",
      "join-token-file",
      "data-dir",
      "socket",
      "admin-socket",
      "rate-limit",
      "log-level",
    ]) {
      expect(agent).toContain(`--${flag} <`);
    }
  });
});

describe("the default sockets of commands", () => {
  it("are where programs without flags make them", () => {
    const server = loadServerConfig({ flags: { "trust-domain": "example.org" } }).config;
    const agent = loadAgentConfig({
      flags: { "trust-domain": "example.org", server: "127.0.0.1:8081" },
    }).config;
    expect(server.adminSocket).toBe(DEFAULT_ADMIN_SOCKET);
    expect(agent.adminSocket).toBe(DEFAULT_AGENT_ADMIN_SOCKET);
    expect(`unix://${agent.socket}`).toBe(DEFAULT_WORKLOAD_ENDPOINT);
  });
});

describe("assay config", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "config-"));
  });
  afterEach(() => rm(folder, { recursive: true }));

  async function file(text: string): Promise<string> {
    const path = join(folder, "assay.yaml");
    await writeFile(path, text);
    return path;
  }

  it("validate says which program a good file is for", async () => {
    const path = await file("trust_domain: example.org\n");
    expect(await runCommand(["config", "validate", "--config", path])).toEqual({
      code: 0,
      stdout: `${path} may be used for the server\n`,
      stderr: "",
    });
    const agent = await file("trust_domain: example.org\nserver: 127.0.0.1:8081\n");
    const { stdout } = await runCommand(["config", "validate", "--config", agent, "--output", "json"]);
    expect(JSON.parse(stdout)).toEqual({ valid: true, program: "agent", warnings: [] });
  });

  it("validate exits 2 with one line for each thing that is wrong", async () => {
    const path = await file("trust_domain: Example.org\nca_ttl: 24\nca_tll: 1h\n");
    const { code, stdout, stderr } = await runCommand(["config", "validate", "--config", path, "server"]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    const lines = stderr.trimEnd().split("\n");
    expect(lines).toHaveLength(3);
    for (const line of lines) expect(line.startsWith(`assay: ${path}: `)).toBe(true);
    expect(stderr).toContain("did you mean ca_ttl");
  });

  it("validate exits 2 for a file that cannot be read", async () => {
    const { code, stderr } = await runCommand(["config", "validate", "--config", join(folder, "none.yaml")]);
    expect(stderr).toMatch(/^assay: .*none\.yaml: cannot be read: .*ENOENT/);
    expect(code).toBe(2);
  });

  it("print writes a file out with its defaults, which loads the same", async () => {
    const path = await file("trust_domain: example.org\n");
    const { stdout } = await runCommand(["config", "print", "--config", path]);
    expect(stdout).toContain("default_x509_svid_ttl: 1h");
    const again = await runCommand(["config", "print", "--config", await file(stdout)]);
    expect(again.stdout).toBe(stdout);
  });

  it("docs prints the reference", async () => {
    const { code, stdout } = await runCommand(["config", "docs"]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^# Configuration\n/);
  });
});
