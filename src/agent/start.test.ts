import { existsSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { AgentHarness } from "../../test/fakes/agent-harness.ts";
import { toPem } from "../crypto/pem.ts";
import { parseTrustDomain } from "../spiffe/trust-domain.ts";
import { startAgent } from "./agent.ts";

let harness: AgentHarness;

beforeEach(async () => {
  harness = await AgentHarness.create();
});

afterEach(() => harness[Symbol.asyncDispose]());

describe("what keeps an agent from starting", () => {
  it("refuses a data folder that another agent uses", async () => {
    await harness.startReady();
    await expect(
      harness.start({ socketPath: harness.path("w2"), adminSocketPath: harness.path("a2") }),
    ).rejects.toThrowCode("STORE_IN_USE", /data folder .*data is used by another agent/);
  });

  it("refuses a socket on which another process listens, and attests nothing", async () => {
    await harness.startReady();
    await expect(harness.start({ dataDir: harness.path("other") })).rejects.toThrowCode(
      "LISTEN_FAILED",
      "w.sock",
    );
    expect(harness.server.count("AttestAgent")).toBe(1);
  });

  it("refuses to believe a first server by nothing", async () => {
    const { trustBundle: _, ...rest } = harness.options();
    const deps = harness.deps({ openAudit: () => expect.unreachable() });
    await expect(startAgent(rest, deps)).rejects.toThrowCode("CONFIG_INVALID", "trust_bundle");
  });

  it.each([
    ["nothing like a bundle", /holds no certificate/],
    ["", /holds no certificate/],
    ['{"keys":[]}', /no X.509 authority/],
    ['{"keys":', /trust_bundle/],
  ])("refuses a trust bundle of %j", async (text, detail) => {
    const path = harness.path("bundle");
    writeFileSync(path, text);
    await expect(harness.start({ trustBundle: { kind: "file", path } })).rejects.toThrowCode(
      "CONFIG_INVALID",
      detail,
    );
    expect(existsSync(harness.path("w.sock"))).toBe(false);
  });

  it("refuses a trust bundle that is not there, and an attestor that is not known", async () => {
    await expect(
      harness.start({ trustBundle: { kind: "file", path: harness.path("absent") } }),
    ).rejects.toThrowCode("CONFIG_INVALID", "absent");
    await expect(harness.start({ nodeAttestor: { name: "nothing" } })).rejects.toThrowCode(
      "CONFIG_INVALID",
      "nothing",
    );
  });

  it("takes a trust bundle as PEM", async () => {
    const path = harness.path("bundle.pem");
    writeFileSync(path, toPem("CERTIFICATE", harness.authority.certificate));
    await harness.startReady({ trustBundle: { kind: "file", path } });
  });

  it("ends where its join token is refused", async () => {
    const agent = await harness.start({ nodeAttestor: { name: "join_token", config: { token: "wrong" } } });
    await expect(agent.ready).rejects.toThrow(/join token does not exist/);
    expect(await agent.closed).toMatchObject({ detail: expect.stringContaining("join token") as string });
  });

  it("refuses a data folder of another trust domain", async () => {
    const agent = await harness.startReady();
    await agent[Symbol.asyncDispose]();
    await expect(harness.start({ trustDomain: parseTrustDomain("other.example") })).rejects.toThrowCode(
      "CONFIG_INVALID",
      "example.org",
    );
  });
});
