import { afterEach, describe, expect, it } from "vitest";
import { AssayError } from "../../src/errors/assay-error.ts";
import type {
  NodeAttestor,
  NodeAttestorHost,
  NodeAttestorPlugin,
  NodeEvidence,
} from "../../src/plugin/node-attestor.ts";
import { pathOf } from "../../src/spiffe/id.ts";
import { isAgentId } from "../../src/spiffe/reserved.ts";
import { selectorOf } from "../../src/spiffe/selector.ts";

/** What the suite needs to put the server's half of a node attestor through its contract. */
export interface NodeAttestorSuite<Config> {
  readonly plugin: NodeAttestorPlugin<Config>;
  /** A host for one attestor. */
  readonly host: () => NodeAttestorHost;
  /** A configuration as an operator writes it; called when the test runs. */
  readonly config: () => Readonly<Record<string, unknown>>;
  /** Fresh evidence that must be accepted, with an agent that answers challenges rightly. */
  readonly evidence: () => Promise<NodeEvidence>;
  /** Whether the attestor sends challenges. */
  readonly challenges: boolean;
}

/** The contract of `NodeAttestorPlugin`: every node attestor must pass it. */
export function nodeAttestorSuite<Config>(suite: NodeAttestorSuite<Config>): void {
  const { plugin } = suite;
  const made: NodeAttestor[] = [];

  async function create(host: NodeAttestorHost = suite.host()): Promise<NodeAttestor> {
    const result = await plugin.config["~standard"].validate(suite.config());
    if (result.issues !== undefined) throw new Error(result.issues.map(({ message }) => message).join("; "));
    const attestor = await plugin.create(result.value, host);
    made.push(attestor);
    return attestor;
  }

  afterEach(async () => {
    for (const attestor of made.splice(0)) await attestor[Symbol.asyncDispose]();
  });

  describe(`node attestor ${plugin.name}: contract`, () => {
    it("says what it is", () => {
      expect(plugin).toMatchObject({ kind: "nodeAttestor", apiVersion: 1 });
      expect(plugin.name).toMatch(/^[a-z][a-z0-9_-]{0,63}$/);
    });

    it("rejects unknown configuration keys", async () => {
      const result = await plugin.config["~standard"].validate({ ...suite.config(), surelyUnknown: 1 });
      expect(result.issues?.map(({ message }) => message).join()).toContain("surelyUnknown");
    });

    it("names the agent inside its own part of the trust domain, with selectors of its own type only", async () => {
      const host = suite.host();
      const attestor = await create(host);
      const attestation = await attestor.attest(await suite.evidence(), new AbortController().signal);
      expect(isAgentId(attestation.agentId, host.trustDomain)).toBe(true);
      expect(pathOf(attestation.agentId).startsWith(`/spire/agent/${plugin.name}/`)).toBe(true);
      for (const { type, value } of attestation.selectors) {
        expect(type).toBe(plugin.name);
        expect(selectorOf(type, value)).toEqual({ type, value });
      }
    });

    it("honours a signal that is aborted already, before it uses anything up", async () => {
      const attestor = await create();
      const reason = new AssayError("ATTESTATION_FAILED", "too late");
      const evidence = await suite.evidence();
      await expect(attestor.attest(evidence, AbortSignal.abort(reason))).rejects.toBe(reason);
      await attestor.attest(evidence, new AbortController().signal);
    });

    if (suite.challenges)
      it("passes on why a challenge could not be asked", async () => {
        const attestor = await create();
        const reason = new AssayError("ATTESTATION_FAILED", "the agent went away");
        const evidence = { ...(await suite.evidence()), challenge: () => Promise.reject(reason) };
        await expect(attestor.attest(evidence, new AbortController().signal)).rejects.toBe(reason);
      });

    it.each([
      ["nothing", Buffer.alloc(0)],
      ["zeros", Buffer.alloc(65_536)],
      ["all byte values", Buffer.from(Array.from({ length: 256 }, (_, i) => i))],
      ["deep nesting", Buffer.alloc(65_536, "[")],
      ["a number beyond all bounds", Buffer.from("1e999999")],
      ["null", Buffer.from("null")],
      ["an empty object", Buffer.from("{}")],
      ["a path", Buffer.from("../../server")],
      ["the ID of another agent", Buffer.from("spiffe://example.org/spire/agent/x")],
    ])("refuses %s as payload, quickly and with a code for the caller", async (_, payload) => {
      const attestor = await create();
      const evidence = { ...(await suite.evidence()), payload };
      const begun = performance.now();
      const thrown = await attestor
        .attest(evidence, new AbortController().signal)
        .catch((error: unknown) => error);
      expect(performance.now() - begun).toBeLessThan(1000);
      expect(thrown).toBeInstanceOf(AssayError);
      expect(["ATTESTATION_FAILED", "JOIN_TOKEN_INVALID"]).toContain((thrown as AssayError).code);
    });

    it("can be disposed twice", async () => {
      const attestor = await create();
      await attestor[Symbol.asyncDispose]();
      await attestor[Symbol.asyncDispose]();
    });
  });
}
