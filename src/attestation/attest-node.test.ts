import { describe, expect, it } from "vitest";
import { AssayError } from "../errors/assay-error.ts";
import type { NodeAttestation, NodeAttestor, NodeEvidence } from "../plugin/node-attestor.ts";
import { agentId, serverId } from "../spiffe/reserved.ts";
import { spiffeIdOf } from "../spiffe/id.ts";
import { parseTrustDomain } from "../spiffe/trust-domain.ts";
import { attestNode, type NodeAttestationRequest } from "./attest-node.ts";

const trustDomain = parseTrustDomain("example.org");
const good: NodeAttestation = {
  agentId: agentId(trustDomain, "test", "a"),
  selectors: [],
  canReattest: true,
};

type Attest = (evidence: NodeEvidence, signal: AbortSignal) => Promise<NodeAttestation>;

function attest(run: Attest, overrides: Partial<NodeAttestationRequest> = {}): Promise<NodeAttestation> {
  const attestor: NodeAttestor = { attest: run, async [Symbol.asyncDispose]() {} };
  return attestNode({
    trustDomain,
    attestors: new Map([["test", attestor]]),
    type: "test",
    payload: Buffer.from("payload"),
    remoteAddress: "192.0.2.1",
    challenge: async () => Buffer.from("answer"),
    signal: new AbortController().signal,
    ...overrides,
  });
}

function rejected(reason: unknown): Promise<never> {
  // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- a plugin may reject with anything
  return Promise.reject(reason);
}

describe("attestNode", () => {
  it("hands the evidence on and gives canonical selectors", async () => {
    const attestation = await attest(async ({ payload, remoteAddress, challenge }) => {
      expect(Buffer.from(payload).toString()).toBe("payload");
      expect(remoteAddress).toBe("192.0.2.1");
      expect(Buffer.from(await challenge(Buffer.from("?"))).toString()).toBe("answer");
      return { ...good, selectors: ["b", "a", "b"].map((value) => ({ type: "test", value })) };
    });
    expect(attestation).toEqual({ ...good, selectors: ["a", "b"].map((value) => ({ type: "test", value })) });
  });

  it("keeps nothing that an attestor adds to what the contract has", async () => {
    const extra = { ...good, selectors: [{ type: "test", value: "a", extra: 1 }], admin: true };
    expect(await attest(async () => extra)).toEqual({ ...good, selectors: [{ type: "test", value: "a" }] });
  });

  it("refuses a type that is not configured, quoting no more than a little of it", async () => {
    const type = `\u0000${"x".repeat(10_000)}`;
    const error = await attest(async () => good, { type }).catch((e: unknown) => e as AssayError);
    expect(error).toMatchObject({ code: "ATTESTOR_UNKNOWN" });
    expect((error as AssayError).detail.length).toBeLessThan(160);
    expect((error as AssayError).detail).not.toContain("\u0000");
    for (const name of ["", "__proto__", "constructor", "toString"]) {
      await expect(attest(async () => good, { type: name })).rejects.toThrowCode("ATTESTOR_UNKNOWN");
    }
  });

  it.each([
    ["another attestor's agents", agentId(trustDomain, "other", "a")],
    ["an attestor whose name begins alike", agentId(trustDomain, "test2", "a")],
    ["the server", serverId(trustDomain)],
    ["a workload", spiffeIdOf(trustDomain, "/workload")],
    ["another trust domain", agentId(parseTrustDomain("other.org"), "test", "a")],
    ["the attestor's folder itself", spiffeIdOf(trustDomain, "/spire/agent/test")],
  ])("refuses an ID of %s", async (_, id) => {
    await expect(attest(async () => ({ ...good, agentId: id }))).rejects.toThrowCode(
      "INTERNAL",
      "is not inside",
    );
  });

  it.each([
    ["dot segments", "spiffe://example.org/spire/agent/test/../../workload"],
    ["an escape", "spiffe://example.org/spire/agent/test/%61"],
    ["no ID at all", undefined],
  ])("refuses an ID with %s, whatever the attestor's types say", async (_, id) => {
    const attestation = { ...good, agentId: id } as NodeAttestation;
    await expect(attest(async () => attestation)).rejects.toThrowCode("INTERNAL", "is not inside");
    await expect(attest(async () => undefined as unknown as NodeAttestation)).rejects.toThrowCode("INTERNAL");
  });

  it("takes only a plain true for leave to attest again", async () => {
    const attestation = { ...good, canReattest: "no" } as unknown as NodeAttestation;
    expect((await attest(async () => attestation)).canReattest).toBe(false);
  });

  it.each([
    ["of nothing", [null]],
    ["of numbers", [{ type: "test", value: 1 }]],
    ["of another type", [{ type: "other", value: "a" }]],
    ["without a value", [{ type: "test", value: "" }]],
    ["with a huge value", [{ type: "test", value: "x".repeat(5000) }]],
    ["that are too many", Array.from({ length: 1001 }, (_, i) => ({ type: "test", value: String(i) }))],
    [
      "that are too large together",
      Array.from({ length: 100 }, (_, i) => ({ type: "test", value: `${i}`.padEnd(700) })),
    ],
    ["that are no list", "test:a"],
  ])("refuses selectors %s", async (_, selectors) => {
    const attestation = { ...good, selectors } as unknown as NodeAttestation;
    await expect(attest(async () => attestation)).rejects.toThrowCode("INTERNAL", /^attestor test gave/);
  });

  it("tells the caller what the attestor said on purpose", async () => {
    const refused = attest(() =>
      Promise.reject(new AssayError("ATTESTATION_FAILED", "leaf certificate has expired")),
    );
    await expect(refused).rejects.toThrowCode(
      "ATTESTATION_FAILED",
      /^failed to attest: leaf certificate has expired$/,
    );
    const banned = attest(() => Promise.reject(new AssayError("STORE_UNAVAILABLE", "disk full")));
    await expect(banned).rejects.toThrowCode("STORE_UNAVAILABLE", /^disk full$/);
  });

  it.each([
    ["an error", () => Promise.reject(new TypeError("secret"))],
    ["a bare string", () => rejected("secret")],
    ["nothing", () => rejected(undefined)],
    [
      "a synchronous error",
      () => {
        throw new Error("secret");
      },
    ],
  ])("tells the caller nothing of %s", async (_, run) => {
    await expect(attest(run as Attest)).rejects.toThrowCode(
      "ATTESTATION_FAILED",
      /^failed to attest: the evidence could not be verified$/,
    );
  });

  it("bounds the payload, each answer and the number of challenges", async () => {
    const never: Attest = () => expect.unreachable();
    await expect(attest(never, { payload: Buffer.alloc(65_537) })).rejects.toThrowCode(
      "ATTESTATION_FAILED",
      "payload",
    );
    await attest(async () => good, { payload: Buffer.alloc(65_536) });
    const asking: Attest = async ({ challenge }) => {
      await challenge(Buffer.alloc(1));
      return good;
    };
    const large = attest(asking, { challenge: async () => Buffer.alloc(65_537) });
    await expect(large).rejects.toThrowCode("ATTESTATION_FAILED", "answer to a challenge is larger");
    let asked = 0;
    const endless: Attest = async ({ challenge }) => {
      for (;;) await challenge(Buffer.alloc(1));
    };
    const counted = attest(endless, { challenge: async () => Buffer.alloc(asked++ % 7) });
    await expect(counted).rejects.toThrowCode("ATTESTATION_FAILED", "too many challenges");
    expect(asked).toBe(16);
  });

  it("ends when the signal says so, even where the attestor or the agent never answers", async () => {
    const controller = new AbortController();
    const hanging = attest(() => new Promise(() => undefined), { signal: controller.signal });
    const asking = attest(async ({ challenge }) => (await challenge(Buffer.alloc(1)), good), {
      signal: controller.signal,
      challenge: () => new Promise(() => undefined),
    });
    controller.abort(new AssayError("DEADLINE_EXCEEDED", "attestation took longer than 10 s"));
    await expect(hanging).rejects.toThrowCode("DEADLINE_EXCEEDED");
    await expect(asking).rejects.toThrowCode("DEADLINE_EXCEEDED");
  });

  it("does not begin after the signal", async () => {
    const signal = AbortSignal.abort();
    await expect(attest(() => expect.unreachable(), { signal })).rejects.toThrowCode("ATTESTATION_FAILED");
  });
});
