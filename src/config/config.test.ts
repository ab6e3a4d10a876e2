import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { AssayError } from "../errors/assay-error.ts";
import { loadAgentConfig } from "./agent-config.ts";
import { configFlags, describeConfig, printConfig } from "./describe.ts";
import { readEnvironment } from "./environment.ts";
import { configProblemLines } from "./problems.ts";
import { loadServerConfig } from "./server-config.ts";

let folder: string;
let file: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "assay-config-"));
  file = join(folder, "assay.yaml");
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

describe("server configuration", () => {
  it("needs nothing but a trust domain", () => {
    const { config, warnings } = loadServerConfig({ flags: { "trust-domain": "example.org" } });
    expect(config).toMatchObject({
      trustDomain: "example.org",
      dataDir: "/var/lib/assay/server",
      listen: { host: "127.0.0.1", port: 8081 },
      adminSocket: "/var/lib/assay/server/admin.sock",
      caTtl: 86_400,
      defaultX509SvidTtl: 3600,
      defaultJwtSvidTtl: 300,
      nodeAttestors: [{ type: "join_token" }],
      rateLimit: { attestation: 10, signing: 500, bundle: 100, token: 100, task: 20 },
      audit: { path: "/var/lib/assay/server/audit.jsonl", fsync: "never", maxSize: 104_857_600 },
      log: { level: "info", format: "json" },
    });
    expect(warnings).toEqual([]);
  });

  it("reads a file, and lets flags win over it", () => {
    write(`
trust_domain: example.org
listen: "[::1]:9000"
ca_ttl: 48h
log: { level: debug }
rate_limit: { signing: 9 }
admin_ids: [spiffe://example.org/admin]
node_attestors:
  - type: x509pop
    config: { ca_bundle_path: /etc/ca.pem, snake_case_key: 1 }
`);
    const { config } = loadServerConfig({
      file,
      flags: { listen: "127.0.0.1:1", "log-level": "error", "audit-keep": "3" },
    });
    expect(config).toMatchObject({
      listen: { host: "127.0.0.1", port: 1 },
      caTtl: 172_800,
      log: { level: "error", format: "json" },
      audit: { keep: 3 },
      rateLimit: { signing: 9, attestation: 10 },
      adminIds: ["spiffe://example.org/admin"],
      nodeAttestors: [{ type: "x509pop", config: { ca_bundle_path: "/etc/ca.pem", snake_case_key: 1 } }],
    });
  });

  it("is frozen through and through", () => {
    const { config } = loadServerConfig({ flags: { "trust-domain": "example.org" } });
    expect(() => Object.assign(config.audit, { keep: 1 })).toThrow(TypeError);
    expect(() => Object.assign(config, { caTtl: 1 })).toThrow(TypeError);
  });

  it("means relative paths from the file's folder in a file and from the current folder in a flag", () => {
    write("trust_domain: example.org\ndata_dir: data\naudit: { path: ../audit.jsonl }\n");
    const { config } = loadServerConfig({ file, flags: { "admin-socket": "here.sock" } });
    expect(config.dataDir).toBe(join(folder, "data"));
    expect(config.audit.path).toBe(join(folder, "..", "audit.jsonl"));
    expect(config.adminSocket).toBe(join(process.cwd(), "here.sock"));
  });

  it("takes off for all rate limits", () => {
    const { config } = loadServerConfig({ flags: { "trust-domain": "example.org", "rate-limit": "off" } });
    expect(config.rateLimit).toBe("off");
  });

  it("warns of a refresh hint that others cannot be told", () => {
    const warningsFor = (hint: string) => {
      write(
        `federation: { bundle_endpoint: { listen: "127.0.0.1:1", profile: https_spiffe, refresh_hint: ${hint} } }\n`,
      );
      return loadServerConfig({ file, flags: { "trust-domain": "example.org" } }).warnings;
    };
    expect(warningsFor("2h")).toEqual([]);
    expect(warningsFor("3h")).toEqual([
      "federation.bundle_endpoint.refresh_hint 3h is too long for ca_ttl 24h: others are told 2h40m, so that they ask three times before a new key signs",
    ]);
  });

  it("warns of lifetimes that an authority cannot promise", () => {
    const { warnings } = loadServerConfig({
      flags: { "trust-domain": "example.org", "default-x509-svid-ttl": "5h" },
    });
    expect(warnings).toEqual([
      "default_x509_svid_ttl 5h is longer than a sixth of ca_ttl (4h): some SVIDs will live shorter",
    ]);
  });

  it.each([
    [
      "trust_domain: Example.org",
      "trust_domain: expected a trust domain name, got Example.org (write a name such as example.org, without spiffe://)",
    ],
    [
      "listen: 8081",
      "listen: expected host:port, got 8081 (write an address and a port, such as 127.0.0.1:8081 or [::1]:8081)",
    ],
    [
      "ca_ttl: 3600",
      "ca_ttl: expected a duration, got 3600 (write a number with a unit of ms, s, m, h or d, such as 90s or 1h30m)",
    ],
    ["ca_ttl: 1s", "ca_ttl: expected a duration from 1m to 3650d, got 1s (write a number"],
    ["agent_ttl: 10500ms", "agent_ttl: expected a duration of whole seconds, got 10500ms (write"],
    [
      "audit: { max_size: 100MB }",
      "audit.max_size: expected a size, got 100MB (write a whole number with a unit of B, KiB, MiB or GiB, such as 100MiB)",
    ],
    ["audit: { keep: 0 }", "audit.keep: expected whole number from 1 to 1000, got 0"],
    ["audit: yes", "audit: expected a table, got yes"],
    ["log: { level: loud }", "log.level: expected trace, debug, info, warn, error or fatal, got loud"],
    ["lisen: 127.0.0.1:1", "lisen: is not a known key (did you mean listen?)"],
    ["log: { levle: info }", "log.levle: is not a known key (did you mean level?)"],
    ["join_token: 4a1f9d0c", "join_token: is not a known key (remove it, or see assay config docs)"],
    ["rate_limit: on", "rate_limit: expected default, off, or table, got on"],
    ["rate_limit: { signing: 0 }", "rate_limit.signing: expected whole number from 1 to 1000000, got 0"],
    ["rate_limit: { signin: 1 }", "rate_limit.signin: is not a known key (did you mean signing?)"],
    ["node_attestors: []", "node_attestors: expected at least one item, got a list"],
    ["node_attestors: [{ config: {} }]", "node_attestors.0.type: is missing"],
    [
      "node_attestors: [{ type: a }, { type: a }]",
      "node_attestors: expected each type once, got a twice (remove one)",
    ],
    ["admin_ids: [example.org/admin]", "admin_ids.0: expected a SPIFFE ID, got example.org/admin"],
    [
      "jwt_issuer: http://example.org",
      "jwt_issuer: expected an https URL without query and fragment, got http://example.org (write a URL",
    ],
    [
      "default_x509_svid_ttl: 30h",
      "default_x509_svid_ttl: expected at most ca_ttl, 24h, got 30h (lower it or raise ca_ttl)",
    ],
    ["web_listen: 127.0.0.1:8081", "web_listen: expected another address than listen (choose another port)"],
    [
      "admin_socket: tcp://0.0.0.0:8099",
      "admin_socket: expected the path of a Unix socket, got tcp://0.0.0.0:8099",
    ],
    [
      "admin_socket: unix:///run/a.sock",
      "admin_socket: expected the path of a Unix socket, got unix:///run/a.sock",
    ],
    [`admin_socket: /${"x".repeat(108)}`, "admin_socket: expected the path of a Unix socket, got /xxx"],
    [
      "data_dir: ''",
      "data_dir: expected the path of a folder, got an empty text (name a folder that this user can write to)",
    ],
    ["__proto__: { a: 1 }", "__proto__: is not a known key"],
    ['listen: "a\\nb\\u001b[31m"', String.raw`listen: expected host:port, got a\nb\u001b[31m (write`],
  ])("refuses %j by one line that names key, value and remedy", (text, line) => {
    write(`${text}\n${text.startsWith("trust_domain") ? "" : "trust_domain: example.org\n"}`);
    const lines = linesOf(() => loadServerConfig({ file }));
    expect(lines[0]).toContain(`${file}: ${line}`);
    expect(lines[0]).not.toContain("\n");
  });

  it("names every problem at once, and the flag where the value came by flag", () => {
    write("lisen: 1\nca_ttl: 1\n");
    const lines = linesOf(() => loadServerConfig({ file, flags: { listen: "nowhere" } }));
    expect(lines).toEqual([
      `${file}: trust_domain: is missing, expected a trust domain name (set it in the file or by --trust-domain)`,
      expect.stringMatching(/^--listen: expected host:port, got nowhere \(/),
      expect.stringContaining("ca_ttl: expected a duration, got 1 ("),
      expect.stringContaining("lisen: is not a known key"),
    ]);
  });

  it("never quotes what looks like a secret", () => {
    write("trust_domain: eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln\n");
    expect(linesOf(() => loadServerConfig({ file }))[0]).toContain("got [secret]");
  });

  it.each([
    ["is not there", undefined, /ENOENT.*\(name a YAML file/],
    ["is a list", "- a\n", /expected a table of settings/],
    ["has a key twice", "listen: a:1\nlisten: a:2\n", /not valid YAML: .*unique.*line 2/],
    ["has an unknown tag", "listen: !exec rm\n", /not valid YAML/],
    ["has two documents", "a: 1\n---\nb: 2\n", /not valid YAML/],
    ["does not end a quote", 'listen: "a\n', /not valid YAML/],
    ["is not UTF-8", Buffer.from([0x61, 0x3a, 0xff]), /cannot be read/],
    ["is larger than 1 MiB", "#".repeat(1024 * 1024 + 1), /larger than 1 MiB/],
    ["makes a billion of a few aliases", bomb(), /not valid YAML/],
    ["is nested without end", `a: ${"[".repeat(100_000)}`, /not valid YAML/],
  ])("refuses a file that %s", (_, content, detail) => {
    if (content !== undefined) writeFileSync(file, content);
    expect(() => loadServerConfig({ file })).toThrowCode("CONFIG_INVALID", detail);
    expect(linesOf(() => loadServerConfig({ file }))).toEqual([expect.stringMatching(/^[^\n]+$/)]);
  });

  it("reads an empty file as one without keys", () => {
    write("# nothing\n");
    expect(loadServerConfig({ file, flags: { "trust-domain": "example.org" } }).config.trustDomain).toBe(
      "example.org",
    );
  });
});

describe("features", () => {
  const flags = { "trust-domain": "example.org", server: "127.0.0.1:8081" };

  it("are off unless a file or a repeated flag names them", () => {
    write("features: [broker]\n");
    for (const load of [loadAgentConfig, loadServerConfig]) {
      const { "trust-domain": name, server } = flags;
      const common = load === loadAgentConfig ? { "trust-domain": name, server } : { "trust-domain": name };
      expect(load({ flags: common }).config.features).toEqual([]);
      expect(load({ file, flags: common }).config.features).toEqual(["broker"]);
      const both = load({ file, flags: { ...common, feature: ["wit-svid", "broker"] } });
      expect(both.config.features).toEqual(["wit-svid", "broker"]);
    }
  });

  it("must be known", () => {
    write("features: [wit-svd]\n");
    expect(linesOf(() => loadAgentConfig({ file, flags }))).toEqual([
      `${file}: features.0: expected wit-svid or broker, got wit-svd`,
    ]);
    expect(linesOf(() => loadAgentConfig({ flags: { ...flags, feature: ["wit-svid", "sds"] } }))).toEqual([
      "--feature: expected wit-svid or broker, got sds",
    ]);
  });
});

describe("the Broker Endpoint", () => {
  const flags = { "trust-domain": "example.org", server: "127.0.0.1:8081" };
  const table = (broker: string) => write(`features: [broker]\nbroker: ${broker}\n`);

  it("has addresses as SPIFFE writes them, and brokers with what they may do", () => {
    table(`
  addresses: ["unix:///run/assay/broker.sock", "tcp://broker.example.org:8443", "tcp://[::1]:8444"]
  brokers:
    - id: spiffe://other.org/broker
      references: [{ type: workload_pid }, { type: kubernetes_object, allow_over_tcp: true }]`);
    const { config, warnings } = loadAgentConfig({ file, flags });
    expect(warnings).toEqual([]);
    expect(config.broker).toEqual({
      addresses: [
        { scheme: "unix", path: "/run/assay/broker.sock" },
        { scheme: "tcp", host: "broker.example.org", port: 8443 },
        { scheme: "tcp", host: "::1", port: 8444 },
      ],
      socketMode: "0660",
      brokers: [
        {
          id: "spiffe://other.org/broker",
          references: [
            { type: "workload_pid", allowOverTcp: false },
            { type: "kubernetes_object", allowOverTcp: true },
          ],
        },
      ],
    });
  });

  it.each([
    ["addresses", "{ addresses: [], brokers: [] }", /broker\.addresses/],
    [
      "a scheme",
      '{ addresses: ["https://a:1"], brokers: [] }',
      /addresses\.0: expected the address of an endpoint/,
    ],
    [
      "a path",
      '{ addresses: ["unix://host/p"], brokers: [] }',
      /addresses\.0: expected the address of an endpoint/,
    ],
    [
      "a port",
      '{ addresses: ["tcp://a.example"], brokers: [] }',
      /addresses\.0: expected the address of an endpoint/,
    ],
    [
      "a socket of its own",
      '{ addresses: ["unix:///run/assay/agent.sock"], brokers: [] }',
      /got \/run\/assay\/agent.sock twice/,
    ],
    ["brokers", '{ addresses: ["unix:///b"] }', /broker\.brokers/],
    [
      "a way to name workloads",
      '{ addresses: ["unix:///b"], brokers: [{ id: spiffe://a/b, references: [] }] }',
      /references/,
    ],
    [
      "a known way",
      '{ addresses: ["unix:///b"], brokers: [{ id: spiffe://a/b, references: [{ type: pid }] }] }',
      /references\.0\.type/,
    ],
    [
      "each way once",
      '{ addresses: ["unix:///b"], brokers: [{ id: spiffe://a/b, references: [{ type: workload_pid }, { type: workload_pid }] }] }',
      /each type once/,
    ],
    [
      "each broker once",
      '{ addresses: ["unix:///b"], brokers: [{ id: spiffe://a/b, references: [{ type: workload_pid }] }, { id: spiffe://a/b, references: [{ type: workload_pid }] }] }',
      /each ID once, got spiffe:\/\/a\/b/,
    ],
    [
      "a mode in quotes",
      '{ addresses: ["unix:///b"], socket_mode: 0660, brokers: [] }',
      /socket_mode: expected 0600, 0660 or 0666/,
    ],
  ])("must have %s", (_, text, expected) => {
    table(text);
    expect(linesOf(() => loadAgentConfig({ file, flags })).join()).toMatch(expected);
  });

  it("is named where it is half configured", () => {
    write("features: [broker]\n");
    expect(loadAgentConfig({ file, flags }).warnings).toEqual([expect.stringContaining("no table broker")]);
    write('broker: { addresses: ["unix:///b"], brokers: [] }\n');
    expect(loadAgentConfig({ file, flags }).warnings).toEqual([
      expect.stringContaining("features has no broker"),
    ]);
  });
});

describe("agent configuration", () => {
  const flags = { "trust-domain": "example.org", server: "127.0.0.1:8081" };

  it("has defaults for all but trust domain and server", () => {
    const { config } = loadAgentConfig({ flags });
    expect(config).toMatchObject({
      server: { host: "127.0.0.1", port: 8081 },
      socket: "/run/assay/agent.sock",
      adminSocket: "/var/lib/assay/agent/admin.sock",
      workloadAttestors: [{ type: "unix" }],
      workloadKeyType: "ec-p256",
      syncInterval: 5000,
      jwtSvidCacheSize: 1000,
      allowUnauthenticatedVerifiers: false,
      rateLimit: { x509Svid: 100, jwtSvid: 500, bundles: 100, validation: 1000 },
    });
    expect(config.trustBundle).toBeUndefined();
    expect(config.joinTokenFile).toBeUndefined();
  });

  it("takes a switch by flag", () => {
    const set = { ...flags, "allow-unauthenticated-verifiers": "true" };
    expect(loadAgentConfig({ flags: set }).config.allowUnauthenticatedVerifiers).toBe(true);
    expect(
      linesOf(() => loadAgentConfig({ flags: { ...set, "allow-unauthenticated-verifiers": "si" } })),
    ).toEqual(["--allow-unauthenticated-verifiers: expected true or false, got si"]);
  });

  it("demands that the trust bundle is a file it can read", () => {
    mkdirSync(join(folder, "dir"));
    symlinkSync("/nowhere", join(folder, "link"));
    for (const [path, reason] of [
      ["missing.pem", "ENOENT"],
      ["dir", "is none"],
      ["link", "ENOENT"],
    ] as const) {
      const at = join(folder, path);
      const [line] = linesOf(() => loadAgentConfig({ flags: { ...flags, "trust-bundle": at } }));
      expect(line).toMatch(/^--trust-bundle: expected a .*file/);
      expect(line).toContain(reason);
      expect(line).toContain(at);
    }
  });

  it("refuses a trust bundle without the right to read it", () => {
    writeFileSync(join(folder, "bundle.pem"), "");
    chmodSync(join(folder, "bundle.pem"), 0);
    chmodSync(folder, 0o755);
    const given = { ...flags, "trust-bundle": join(folder, "bundle.pem") };
    // Nothing is forbidden to root, so the test becomes somebody else for as long as it reads.
    const isRoot = process.geteuid?.() === 0;
    if (isRoot) process.seteuid?.(NOBODY);
    try {
      expect(linesOf(() => loadAgentConfig({ flags: given }))[0]).toContain("EACCES");
    } finally {
      if (isRoot) process.seteuid?.(0);
    }
  });

  it("lets a join token file be gone, since an agent that has attested does without", () => {
    const given = { ...flags, "join-token-file": join(folder, "gone") };
    expect(loadAgentConfig({ flags: given }).config.joinTokenFile).toBe(join(folder, "gone"));
  });

  it.each([
    [
      "node_attestor: { type: x509pop }\njoin_token_file: t",
      "node_attestor: expected no join_token_file beside it",
    ],
    ["node_attestor: { type: join_token }", "node_attestor.type: expected another type than join_token"],
    ["admin_socket: /run/assay/agent.sock", "admin_socket: expected another path than socket"],
    ["sync_interval: 100ms", "sync_interval: expected a duration from 500ms to 1h, got 100ms"],
    ["sds: { default_svid_name: ROOTCA }", "sds: expected three different names"],
    ['sds: { default_bundle_name: "spiffe://example.org" }', "sds.default_bundle_name: expected"],
    ['sds: { default_all_bundles_name: "*" }', "sds.default_all_bundles_name: expected"],
    ["workload_attestors: [{ type: unix }, { type: unix }]", "workload_attestors: expected each type once"],
  ])("refuses %j", (text, line) => {
    write(`${text}\n`);
    expect(linesOf(() => loadAgentConfig({ file, flags }))[0]).toContain(line);
  });

  it("refuses port 0 of a server", () => {
    expect(linesOf(() => loadAgentConfig({ flags: { ...flags, server: "a:0" } }))[0]).toMatch(
      /^--server: expected a port/,
    );
  });
});

describe("flags, print and docs", () => {
  it("has the flags that scripts rely on", () => {
    const names = (program: "server" | "agent") => configFlags(program).map(({ name }) => name);
    expect(names("server")).toEqual(
      expect.arrayContaining([
        "trust-domain",
        "data-dir",
        "listen",
        "web-listen",
        "admin-socket",
        "rate-limit",
        "log-level",
      ]),
    );
    expect(names("agent")).toEqual(
      expect.arrayContaining(
        "trust-domain server trust-bundle join-token-file data-dir socket admin-socket rate-limit log-level".split(
          " ",
        ),
      ),
    );
  });

  it("prints a file that loads to the same configuration", () => {
    const first = loadServerConfig({
      flags: { "trust-domain": "example.org", "ca-ttl": "36h", "rate-limit": "off" },
    });
    write(printConfig(first.document));
    expect(loadServerConfig({ file }).config).toEqual(first.config);
  });

  it("documents every key of both programs, each with its meaning", () => {
    const rows = describeConfig()
      .split("\n")
      .filter((line) => line.startsWith("| `"));
    expect(rows.length).toBeGreaterThan(50);
    for (const row of rows) expect(row).not.toMatch(/\|\s+\|$/);
  });

  it("reads two environment variables, empty ones as absent", () => {
    const variables = { SPIFFE_ENDPOINT_SOCKET: "unix:///a", NOTIFY_SOCKET: "" };
    expect(readEnvironment(variables)).toEqual({
      spiffeEndpointSocket: "unix:///a",
      notifySocket: undefined,
      variables,
    });
  });
});

function write(text: string): void {
  writeFileSync(file, text);
}

function linesOf(load: () => unknown): readonly string[] {
  try {
    load();
  } catch (error) {
    if (error instanceof AssayError && error.code === "CONFIG_INVALID") return configProblemLines(error);
    throw error;
  }
  throw new Error("the configuration was accepted");
}

function bomb(): string {
  const lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"];
  for (const [name, before] of ["ba", "cb", "dc", "ed", "fe", "gf", "hg", "ih"].map((pair) =>
    pair.split(""),
  )) {
    const items = Array.from({ length: 10 }, () => `*${before ?? ""}`);
    lines.push(`${name ?? ""}: &${name ?? ""} [${items.join(", ")}]`);
  }
  return lines.join("\n");
}

const NOBODY = 65_534;
