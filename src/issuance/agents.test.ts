import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { AGENT, agentCaller, IssuanceBench, trustDomain } from "../../test/fakes/issuance-bench.ts";
import { brokenSignature, makeCsr, makeGreedyCsr } from "../../test/fakes/issuance-csr.ts";
import { makeKey } from "../../test/fakes/certificates.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { NodeAttestor } from "../plugin/node-attestor.ts";
import type { PolicyOptions } from "../policy/policy-options.ts";
import type { SpiffeId } from "../spiffe/id.ts";
import { agentId } from "../spiffe/reserved.ts";
import type { NodeRecord } from "../store/records.ts";
import { type AgentIssuanceOptions, attestAgent, renewAgent } from "./agents.ts";
import type { Caller } from "./caller.ts";

const STRANGER: Caller = { address: "192.0.2.9" };
let bench: IssuanceBench;
let nodes: Map<SpiffeId, NodeRecord>;
let tokens: Set<string>;
beforeEach(async () => {
  bench = await IssuanceBench.open();
  nodes = new Map();
  tokens = new Set(["one"]);
});
afterEach(() => bench[Symbol.asyncDispose]());

describe("the attestation of an agent", () => {
  it("gives it an SVID with the attestor's ID and the key of the request, whatever the request names", async () => {
    const key = makeKey();
    const csr = makeGreedyCsr(["spiffe://example.org/spire/server"], key);
    const { svid, canReattest } = await attest({ csr });
    const leaf = bench.validated(svid.chain);
    expect(leaf.subjectAltName?.uris).toEqual([idOf("one")]);
    expect(leaf.subjectAltName?.dnsNames).toEqual([]);
    expect(leaf.basicConstraints?.ca ?? false).toBe(false);
    expect(Buffer.from(leaf.spki).equals(key.spki)).toBe(true);
    expect(canReattest).toBe(false);
  });

  it("leaves a node record with the SVID's serial and nothing pending", async () => {
    const { svid } = await attest();
    expect(nodes.get(idOf("one"))).toMatchObject({
      attestationType: "join_token",
      serial: svid.serial,
      expiresAt: svid.notAfter,
      pendingSerial: "",
      canReattest: false,
      banned: false,
      attestedAt: bench.now,
    });
  });

  it("is recorded with caller, attestor, selectors, SVID and outcome; the token only inside the agent's ID", async () => {
    const { svid } = await attest({ type: "open", payload: "rack-7" });
    expect(bench.audit.records).toEqual([
      {
        event: "node.attested",
        outcome: "issued",
        decision_id: "decision-1",
        caller_address: "192.0.2.9",
        attestor: "open",
        spiffe_id: agentId(trustDomain, "open", "rack-7"),
        agent_id: agentId(trustDomain, "open", "rack-7"),
        selectors: ["open:name:rack-7"],
        authority_id: svid.authorityId,
        serial: svid.serial,
        expires_at: svid.notAfter,
      },
    ]);
    bench.audit.records.length = 0;
    await attest();
    const { agent_id: id, spiffe_id: same, ...rest } = bench.audit.records[0] ?? {};
    expect(id).toBe(idOf("one"));
    expect(same).toBe(id);
    expect(Object.values(rest).flat().map(String)).not.toContain("one");
  });

  it.each([
    ["a broken signature", () => brokenSignature(makeCsr())],
    ["no bytes", () => new Uint8Array()],
  ])("reads the request first: one with %s uses up no token", async (_, csr) => {
    await expect(attest({ csr: csr() })).rejects.toThrowCode("INVALID_CSR");
    expect(tokens.has("one")).toBe(true);
    expect(nodes.size).toBe(0);
    await expect(attest()).resolves.toMatchObject({ canReattest: false });
  });

  it("fails for a token that was used, with a record that does not hold it", async () => {
    await attest();
    nodes.clear();
    bench.audit.records.length = 0;
    await expect(attest()).rejects.toThrowCode(
      "JOIN_TOKEN_INVALID",
      "failed to attest: join token does not exist or has already been used",
    );
    expect(bench.audit.records).toEqual([
      {
        event: "node.denied",
        outcome: "denied",
        decision_id: "decision-2",
        code: "JOIN_TOKEN_INVALID",
        caller_address: "192.0.2.9",
        attestor: "join_token",
        reasons: ["failed to attest: join token does not exist or has already been used"],
      },
    ]);
  });

  it("fails for an attestor that is not configured", async () => {
    await expect(attest({ type: "tpm_devid" })).rejects.toThrowCode("ATTESTOR_UNKNOWN", "tpm_devid");
  });

  it("is refused to a banned node, before anything is signed", async () => {
    nodes.set(agentId(trustDomain, "open", "n"), node(agentId(trustDomain, "open", "n"), { banned: true }));
    await expect(attest({ type: "open", payload: "n" })).rejects.toThrowCode("AGENT_BANNED", "banned");
    expect(bench.audit.records).toMatchObject([{ outcome: "denied", code: "AGENT_BANNED" }]);
    expect(bench.audit.records[0]).not.toHaveProperty("serial");
  });

  it("is refused where the ban comes between the look and the write", async () => {
    const options = { ...issuance(), nodes: { ...issuance().nodes, attested: bannedMeanwhile } };
    await expect(attest({}, options)).rejects.toThrowCode("AGENT_BANNED");
    expect(bench.audit.records).toMatchObject([{ outcome: "denied", code: "AGENT_BANNED" }]);
  });

  it("trusts evidence that works once at its first use only", async () => {
    tokens.add("one");
    await attest();
    tokens.add("one");
    await expect(attest()).rejects.toThrowCode("ATTESTATION_FAILED", "evict it first");
  });

  it("may be repeated with evidence that stays good, which replaces the serial and keeps the version", async () => {
    const first = await attest({ type: "open", payload: "n" });
    const id = first.svid.spiffeId;
    nodes.set(id, { ...node(id), ...nodes.get(id), agentVersion: "1.2.3", pendingSerial: "ff" });
    const second = await attest({ type: "open", payload: "n" });
    expect(second.canReattest).toBe(true);
    expect(nodes.get(id)).toMatchObject({
      serial: second.svid.serial,
      pendingSerial: "",
      agentVersion: "1.2.3",
    });
    expect(second.svid.serial).not.toBe(first.svid.serial);
  });

  it("gives nothing when its record cannot be written", async () => {
    bench.audit.broken = true;
    await expect(attest()).rejects.toThrowCode("AUDIT_UNAVAILABLE");
    expect(nodes.size, "no node that nobody can speak for").toBe(0);
  });

  it("leaves the node that was there when the record of another attestation cannot be written", async () => {
    const id = agentId(trustDomain, "open", "n");
    nodes.set(id, node(id, { canReattest: true }));
    bench.audit.broken = true;
    await expect(attest({ type: "open", payload: "n" })).rejects.toThrowCode("AUDIT_UNAVAILABLE");
    expect([...nodes.keys()]).toEqual([id]);
  });

  it("is refused by policy for a key of another type", async () => {
    await expect(attest({}, issuance({ keyTypes: ["rsa"] }))).rejects.toThrowCode(
      "POLICY_DENIED",
      "rule key-type",
    );
  });
});

describe("the renewal of an agent", () => {
  it("writes the new serial as pending and leaves the active one", async () => {
    nodes.set(AGENT, node(AGENT));
    const svid = await renewAgent(issuance(), agentCaller(), { csr: makeCsr() });
    expect(bench.validated(svid.chain).subjectAltName?.uris).toEqual([AGENT]);
    expect(nodes.get(AGENT)).toMatchObject({
      serial: "0a",
      pendingSerial: svid.serial,
      pendingExpiresAt: svid.notAfter,
    });
    expect(bench.audit.records).toEqual([
      {
        event: "node.renewed",
        outcome: "issued",
        decision_id: "decision-1",
        caller_address: "192.0.2.7",
        caller_id: AGENT,
        agent_id: AGENT,
        spiffe_id: AGENT,
        authority_id: svid.authorityId,
        serial: svid.serial,
        expires_at: svid.notAfter,
      },
    ]);
  });

  it("is refused to a node that can show its evidence again", async () => {
    nodes.set(AGENT, node(AGENT, { canReattest: true }));
    await expect(renewAgent(issuance(), agentCaller(), { csr: makeCsr() })).rejects.toThrowCode(
      "AGENT_MUST_REATTEST",
    );
    expect(nodes.get(AGENT)?.pendingSerial).toBe("");
    expect(bench.audit.records).toMatchObject([
      { event: "node.denied", outcome: "denied", code: "AGENT_MUST_REATTEST" },
    ]);
  });

  it("is refused for a broken request, and the pending serial stays", async () => {
    nodes.set(AGENT, node(AGENT, { pendingSerial: "0b" }));
    await expect(
      renewAgent(issuance(), agentCaller(), { csr: brokenSignature(makeCsr()) }),
    ).rejects.toThrowCode("INVALID_CSR");
    expect(nodes.get(AGENT)?.pendingSerial).toBe("0b");
  });

  it("gives nothing to a node that was evicted meanwhile", async () => {
    await expect(renewAgent(issuance(), agentCaller(), { csr: makeCsr() })).rejects.toThrowCode(
      "AGENT_NOT_FOUND",
    );
    expect(bench.audit.records).toMatchObject([{ outcome: "denied", code: "AGENT_NOT_FOUND" }]);
  });

  it("gives nothing when its record cannot be written", async () => {
    nodes.set(AGENT, node(AGENT));
    bench.audit.broken = true;
    await expect(renewAgent(issuance(), agentCaller(), { csr: makeCsr() })).rejects.toThrowCode(
      "AUDIT_UNAVAILABLE",
    );
  });
});

function idOf(token: string): SpiffeId {
  return agentId(trustDomain, "join_token", token);
}

function attest(
  request: { csr?: Uint8Array; type?: string; payload?: string } = {},
  options: AgentIssuanceOptions = issuance(),
) {
  return attestAgent(options, STRANGER, {
    type: request.type ?? "join_token",
    payload: Buffer.from(request.payload ?? "one"),
    csr: request.csr ?? makeCsr(),
    remoteAddress: STRANGER.address,
    challenge: () => Promise.reject(new Error("no challenge was expected")),
    signal: new AbortController().signal,
  });
}

function issuance(policy: Partial<PolicyOptions> = {}): AgentIssuanceOptions {
  return {
    ...bench.options(policy),
    attestors: new Map([
      ["join_token", joinToken],
      ["open", open],
    ]),
    nodes: {
      node: (id) => nodes.get(id),
      async forget(id) {
        nodes.delete(id);
      },
      async attested(record) {
        nodes.set(record.id, { ...record, ordinal: 1, banned: false });
      },
      async renewed(id, serial, expiresAt) {
        const known = nodes.get(id);
        if (known === undefined) throw new AssayError("AGENT_NOT_FOUND", "gone");
        nodes.set(id, { ...known, pendingSerial: serial, pendingExpiresAt: expiresAt });
      },
    },
  };
}

function bannedMeanwhile(): Promise<never> {
  return Promise.reject(new AssayError("AGENT_BANNED", "agent is banned"));
}

function node(id: SpiffeId, change: Partial<NodeRecord> = {}): NodeRecord {
  return {
    id,
    attestationType: "x509pop",
    selectors: [],
    canReattest: false,
    banned: false,
    serial: "0a",
    expiresAt: bench.now + 60,
    pendingSerial: "",
    pendingExpiresAt: 0,
    attestedAt: bench.now,
    agentVersion: "",
    ordinal: 1,
    ...change,
  };
}

/** Takes each token once. */
const joinToken: NodeAttestor = {
  async attest({ payload }) {
    const token = Buffer.from(payload).toString();
    if (!tokens.delete(token)) {
      throw new AssayError("JOIN_TOKEN_INVALID", "join token does not exist or has already been used");
    }
    return { agentId: idOf(token), selectors: [], canReattest: false };
  },
  async [Symbol.asyncDispose]() {},
};

/** Believes everything, as often as it is told. */
const open: NodeAttestor = {
  async attest({ payload }) {
    const name = Buffer.from(payload).toString();
    return {
      agentId: agentId(trustDomain, "open", name),
      selectors: [{ type: "open", value: `name:${name}` }],
      canReattest: true,
    };
  },
  async [Symbol.asyncDispose]() {},
};
