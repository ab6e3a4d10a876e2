import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeCertificate, makeKey } from "../../test/fakes/certificates.ts";
import { FakeSocketServer, runCommand } from "../../test/fakes/cli.ts";
import { toPem } from "../crypto/pem.ts";
import { AssayError } from "../errors/assay-error.ts";
import { Explain as AgentExplain } from "../proto/gen/assay/api/agent/v1/explain_pb.ts";
import { Explain as ServerExplain } from "../proto/gen/assay/api/server/v1/explain_pb.ts";
import { Decision_Outcome } from "../proto/gen/assay/api/types/v1/decision_pb.ts";
import {
  Health,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from "../proto/gen/grpc/health/v1/health_pb.ts";
import { Agent } from "../proto/gen/spire/api/server/agent/v1/agent_pb.ts";
import { Bundle } from "../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import { LocalAuthority } from "../proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts";
import { AgentSchema } from "../proto/gen/spire/api/types/agent_pb.ts";

let server: FakeSocketServer;
beforeEach(async () => {
  server = await FakeSocketServer.start();
});
afterEach(() => server[Symbol.asyncDispose]());

function authority(): { der: Uint8Array; pem: string } {
  const { der } = makeCertificate({ subject: "a", key: makeKey(), ca: true, uris: ["spiffe://example.org"] });
  return { der, pem: toPem("CERTIFICATE", der) };
}

const AGENT = create(AgentSchema, {
  id: { trustDomain: "example.org", path: "/spire/agent/x509pop/1" },
  attestationType: "x509pop",
  x509svidSerialNumber: "42",
  x509svidExpiresAt: 1_800_000_000n,
  selectors: [{ type: "x509pop", value: "subject:cn:n" }],
  canReattest: true,
  agentVersion: "0.1.0",
});

describe("a command to which nobody answers", () => {
  it.each([[["entry", "list"]], [["token", "generate"]], [["healthcheck"]], [["explain", "decision", "d"]]])(
    "%j exits 1 and says what to look at",
    async (args) => {
      const { code, stdout, stderr } = await runCommand([...args, "--admin-socket", server.at("none.sock")]);
      expect(stderr).toMatch(
        /^assay: nothing answers on .*none\.sock \(there is no such socket\); is the program running, and is --admin-socket the same\?\n$/,
      );
      expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    },
  );

  it("exits 1 where the caller is told to end meanwhile", async () => {
    const ending = new AbortController();
    server.serve(Agent, {
      listAgents: () => {
        ending.abort();
        return new Promise(() => {});
      },
    });
    const { code, stderr } = await server.run(["agents", "list"], { signal: ending.signal });
    expect({ code, stderr }).toEqual({ code: 1, stderr: "assay: interrupted\n" });
  });

  it("exits 1 with the server's words where it refuses", async () => {
    server.serve(Agent, {
      getAgent: () => {
        throw new AssayError("AGENT_NOT_FOUND", "agent not found");
      },
    });
    const { code, stderr } = await server.run(["agents", "show", "spiffe://example.org/spire/agent/a"]);
    expect({ code, stderr }).toEqual({ code: 1, stderr: "assay: agent not found\n" });
  });
});

describe("assay token generate", () => {
  it("prints the join token alone on standard output, and the rest beside it", async () => {
    const asked: unknown[] = [];
    server.serve(Agent, {
      createJoinToken: ({ ttl, token, agentId }) => {
        asked.push(ttl, token, agentId?.path);
        return { value: "the-token", expiresAt: 1_800_000_000n };
      },
    });
    const args = ["token", "generate", "--ttl", "1h30m", "--spiffe-id", "spiffe://example.org/node"];
    expect(await server.run(args)).toEqual({
      code: 0,
      stdout: "the-token\n",
      stderr: "usable once, until 2027-01-15T08:00:00Z\n",
    });
    expect(asked).toEqual([5400, "", "/node"]);
    const { stdout } = await server.run(["token", "generate", "--output", "json"]);
    expect(JSON.parse(stdout)).toEqual({ token: "the-token", expires_at: "2027-01-15T08:00:00Z" });
    expect(asked.slice(3)).toEqual([600, "", undefined]);
  });
});

describe("assay agents", () => {
  it("list follows pages and prints a table", async () => {
    server.serve(Agent, {
      listAgents: ({ pageToken }) =>
        pageToken === "" ? { agents: [AGENT], nextPageToken: "2" } : { agents: [{ ...AGENT, banned: true }] },
    });
    expect((await server.run(["agents", "list"])).stdout).toBe(
      [
        "SPIFFE ID                                   ATTESTED BY  SVID EXPIRES          STATE   VERSION",
        "spiffe://example.org/spire/agent/x509pop/1  x509pop      2027-01-15T08:00:00Z  active  0.1.0",
        "spiffe://example.org/spire/agent/x509pop/1  x509pop      2027-01-15T08:00:00Z  banned  0.1.0",
        "",
      ].join("\n"),
    );
    const { stdout } = await server.run(["agents", "list", "--output", "json"]);
    expect((JSON.parse(stdout) as unknown[])[0]).toEqual({
      id: "spiffe://example.org/spire/agent/x509pop/1",
      attestation_type: "x509pop",
      banned: false,
      can_reattest: true,
      serial: "42",
      expires_at: "2027-01-15T08:00:00Z",
      agent_version: "0.1.0",
      selectors: ["x509pop:subject:cn:n"],
    });
  });

  it("show prints everything about one", async () => {
    server.serve(Agent, { getAgent: () => AGENT });
    const { stdout } = await server.run(["agents", "show", "spiffe://example.org/spire/agent/x509pop/1"]);
    expect(stdout).toContain("State:            active\n");
    expect(stdout).toContain("Selectors:        x509pop:subject:cn:n\n");
  });

  it("purge evicts what expired long enough ago, and with --dry-run nothing", async () => {
    const deleted: string[] = [];
    const filters: unknown[] = [];
    server.serve(Agent, {
      listAgents: ({ filter }) => {
        filters.push([filter?.byExpiresBefore, filter?.byBanned]);
        return { agents: [AGENT] };
      },
      deleteAgent: ({ id }) => {
        deleted.push(id?.path ?? "");
        return {};
      },
    });
    expect((await server.run(["agents", "purge", "--dry-run"])).stdout).toBe(
      "would evict spiffe://example.org/spire/agent/x509pop/1\n",
    );
    expect(deleted).toEqual([]);
    expect((await server.run(["agents", "purge", "--expired-for", "1h"])).stdout).toMatch(/^evicted spiffe/);
    expect(deleted).toEqual(["/spire/agent/x509pop/1"]);
    expect(filters).toEqual([
      ["2026-10-23T12:00:00Z", false],
      ["2026-11-22T11:00:00Z", false],
    ]);
  });
});

describe("assay bundle", () => {
  it("show prints PEM for agents, and a SPIFFE bundle as JSON", async () => {
    const { der, pem } = authority();
    server.serve(Bundle, {
      getBundle: () => ({ trustDomain: "example.org", x509Authorities: [{ asn1: der }], sequenceNumber: 3n }),
    });
    expect((await server.run(["bundle", "show"])).stdout.trim()).toBe(pem.trim());
    const spiffe = JSON.parse((await server.run(["bundle", "show", "--format", "spiffe"])).stdout) as object;
    expect(spiffe).toMatchObject({ spiffe_sequence: 3, keys: [{ use: "x509-svid" }] });
    const json = JSON.parse((await server.run(["bundle", "show", "--output", "json"])).stdout) as object;
    expect(json).toMatchObject({ trust_domain: "example.org", spiffe_sequence: 3 });
  });

  it("set sends what a file holds, and refuses one that holds nothing of the kind before anybody is asked", async () => {
    const { der, pem } = authority();
    const sent: unknown[] = [];
    server.serve(Bundle, {
      batchSetFederatedBundle: ({ bundle }) => {
        sent.push(
          ...bundle.map(({ trustDomain, x509Authorities }) => [trustDomain, x509Authorities[0]?.asn1]),
        );
        return { results: [{ status: { code: 0 } }] };
      },
    });
    const args = ["bundle", "set", "--trust-domain", "spiffe://b.org", "--file", "-"];
    expect(await server.run(args, { input: pem })).toEqual({
      code: 0,
      stdout: "set the bundle of b.org\n",
      stderr: "",
    });
    expect(sent).toEqual([["b.org", der]]);
    const bad = await server.run(args, { input: "nothing" });
    expect(bad.stderr).toMatch(/^assay: --file: expected a bundle in the format pem: /);
    expect(bad.code).toBe(2);
    const none = await server.run([...args.slice(0, 4), "--file", server.at("none.pem")]);
    expect(none.stderr).toMatch(/^assay: --file: .*none\.pem cannot be read \(ENOENT\)\n$/);
    expect(sent).toHaveLength(1);
  });

  it("delete exits 1 with the reason of the item that failed", async () => {
    server.serve(Bundle, {
      batchDeleteFederatedBundle: () => ({ results: [{ status: { code: 9, message: "bundle in use" } }] }),
    });
    const { code, stderr } = await server.run(["bundle", "delete", "--trust-domain", "b.org"]);
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: "assay: cannot delete the bundle: failed precondition: bundle in use\n",
    });
  });
});

describe("assay authority", () => {
  it("shows authorities by state", async () => {
    server.serve(LocalAuthority, {
      getX509AuthorityState: () => ({ active: { authorityId: "ab12", expiresAt: 1_800_000_000n } }),
    });
    expect((await server.run(["authority", "x509", "show"])).stdout).toBe(
      "STATE   AUTHORITY ID  EXPIRES\nactive  ab12          2027-01-15T08:00:00Z\n",
    );
  });

  it.each(["X509", "JWT", "WIT"] as const)("moves authorities of kind %s", async (kind) => {
    const expiresAt = 1_800_000_000n;
    const asked: string[] = [];
    const move = (step: string) => (request: { readonly authorityId?: string }) => {
      asked.push(`${step} ${request.authorityId ?? ""}`.trim());
      return { [`${step}dAuthority`]: { authorityId: request.authorityId ?? "next", expiresAt } };
    };
    server.serve(LocalAuthority, {
      [`prepare${kind}Authority`]: move("prepare"),
      [`activate${kind}Authority`]: move("activate"),
      [`taint${kind}Authority`]: (request: { readonly authorityId: string }) => {
        asked.push(`taint ${request.authorityId}`);
        return { taintedAuthority: { authorityId: request.authorityId, expiresAt } };
      },
      [`revoke${kind}Authority`]: move("revoke"),
    });
    const name = kind.toLowerCase();
    const title = { X509: "X.509", JWT: "JWT", WIT: "WIT" }[kind];
    const run = (...args: readonly string[]) => server.run(["authority", name, ...args]);
    expect((await run("prepare")).stdout).toBe(`prepared the ${title} authority next\n`);
    expect((await run("activate", "--authority-id", "next")).stdout).toBe(
      `activated the ${title} authority next\n`,
    );
    expect((await run("taint", "--authority-id", "old")).stdout).toBe(`tainted the ${title} authority old\n`);
    const { stdout } = await run("revoke", "--authority-id", "old", "--output", "json");
    expect(JSON.parse(stdout)).toEqual({ revoked: "old", expires_at: "2027-01-15T08:00:00Z" });
    expect(asked).toEqual(["prepare", "activate next", "taint old", "revoke old"]);
  });

  it("shows the root upstream of each authority, taints it and revokes it", async () => {
    const asked: string[] = [];
    server.serve(LocalAuthority, {
      getX509AuthorityState: () => ({
        active: { authorityId: "ab12", expiresAt: 1_800_000_000n, upstreamAuthoritySubjectKeyId: "ee01" },
      }),
      taintX509UpstreamAuthority: ({ subjectKeyId }: { readonly subjectKeyId: string }) => {
        asked.push(`taint ${subjectKeyId}`);
        return { upstreamAuthoritySubjectKeyId: subjectKeyId };
      },
      revokeX509UpstreamAuthority: ({ subjectKeyId }: { readonly subjectKeyId: string }) => {
        asked.push(`revoke ${subjectKeyId}`);
        return { upstreamAuthoritySubjectKeyId: subjectKeyId };
      },
    });
    expect((await server.run(["authority", "x509", "show"])).stdout).toMatch(
      /UPSTREAM AUTHORITY ID[^]*ab12 .* ee01/,
    );
    const run = (...args: readonly string[]) => server.run(["authority", "upstream", ...args]);
    expect((await run("taint", "--subject-key-id", "ee00")).stdout).toBe(
      "tainted the upstream authority ee00\n",
    );
    const { stdout } = await run("revoke", "--subject-key-id", "ee00", "--output", "json");
    expect(JSON.parse(stdout)).toEqual({ revoked: "ee00" });
    expect(asked).toEqual(["taint ee00", "revoke ee00"]);
    expect((await run("taint")).code).toBe(2);
  });

  it("asks which authority is meant", async () => {
    for (const step of ["activate", "taint", "revoke"]) {
      const { code, stderr } = await server.run(["authority", "jwt", step]);
      expect({ code, stderr }).toMatchObject({
        code: 2,
        stderr: expect.stringContaining("--authority-id") as unknown,
      });
    }
  });

  it("says why an authority cannot be moved", async () => {
    server.serve(LocalAuthority, {
      taintJWTAuthority: () => {
        throw new AssayError("PRECONDITION_FAILED", "jwt authority k is active, expected one that is old");
      },
    });
    const { code, stderr } = await server.run(["authority", "jwt", "taint", "--authority-id", "k"]);
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: "assay: jwt authority k is active, expected one that is old\n",
    });
  });
});

describe("assay healthcheck", () => {
  it.each([
    [ServingStatus.SERVING, { code: 0, stdout: "ready\n", stderr: "" }],
    [ServingStatus.NOT_SERVING, { code: 1, stdout: "", stderr: "assay: it runs but is not ready\n" }],
  ])("with status %i gives %j", async (status, result) => {
    server.serve(Health, { check: () => ({ status }) });
    expect(await server.run(["healthcheck"])).toEqual(result);
  });

  it("gives up after its timeout", async () => {
    server.serve(Health, { check: () => new Promise(() => {}) });
    expect((await server.run(["healthcheck", "--timeout", "50ms"])).code).toBe(1);
  });
});

describe("assay explain", () => {
  it("pid says what was seen, and what came nearest", async () => {
    server.serve(AgentExplain, {
      explainPid: ({ pid }) => ({
        process: { pid, uid: 1000, gid: 100, path: "/usr/bin/app" },
        selectors: [{ type: "unix", value: "uid:1000" }],
        nearMisses: [
          {
            entry: { id: "e1", spiffeId: { trustDomain: "example.org", path: "/a" } },
            missing: [{ type: "unix", value: "uid:1001" }],
            reason: "one selector is missing",
          },
        ],
        outcome: Decision_Outcome.DENIED,
        code: "NO_IDENTITY_ISSUED",
        detail: "no entry matched",
      }),
    });
    expect((await server.run(["explain", "pid", "77"])).stdout).toBe(
      [
        "Process:        77 /usr/bin/app",
        "User and group: uid 1000, gid 100",
        "Selectors:      unix:uid:1000",
        "Outcome:        denied (NO_IDENTITY_ISSUED)",
        "Why:            no entry matched",
        "May have:",
        "Came near:",
        "  spiffe://example.org/a  (entry e1)",
        "    missing unix:uid:1001",
        "    one selector is missing",
        "",
      ].join("\n"),
    );
    const { stdout } = await server.run(["explain", "pid", "77", "--output", "json"]);
    expect(JSON.parse(stdout)).toMatchObject({
      process: { pid: 77, uid: 1000 },
      selectors: ["unix:uid:1000"],
      outcome: "denied",
      near_misses: [{ entry: { id: "e1", spiffe_id: "spiffe://example.org/a" }, missing: ["unix:uid:1001"] }],
    });
  });

  it("decision asks the server, or an agent where one is named", async () => {
    server.serve(ServerExplain, {
      explainDecision: ({ decisionId }) => ({
        decision: {
          id: decisionId,
          time: 1_800_000_000_123n,
          event: "x509_svid.issue",
          outcome: Decision_Outcome.ISSUED,
          spiffeId: { trustDomain: "example.org", path: "/a" },
          caller: { kind: "agent", address: "10.0.0.1:5" },
        },
      }),
    });
    server.serve(AgentExplain, {
      explainDecision: () => {
        throw new AssayError("DECISION_NOT_FOUND", "no decision d");
      },
    });
    const { stdout } = await server.run(["explain", "decision", "d1"]);
    expect(stdout).toContain("Decision:  d1\nTime:      2027-01-15T08:00:00.123Z\n");
    expect(stdout).toContain("Outcome:   issued\n");
    const agent = await runCommand(["explain", "decision", "d", "--agent-admin-socket", server.path]);
    expect({ code: agent.code, stderr: agent.stderr }).toEqual({ code: 1, stderr: "assay: no decision d\n" });
  });

  it("node says what an agent may hand out", async () => {
    server.serve(ServerExplain, {
      explainNode: () => ({
        agent: AGENT,
        status: "active",
        authorizedEntries: [{ id: "e1", spiffeId: { trustDomain: "example.org", path: "/a" } }],
      }),
    });
    const { stdout } = await server.run(["explain", "node", "spiffe://example.org/spire/agent/x509pop/1"]);
    expect(stdout).toContain("Status:       active\n");
    expect(stdout).toContain("May hand out: spiffe://example.org/a  (entry e1)\n");
  });
});
