import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Agent } from "../../../src/proto/gen/spire/api/server/agent/v1/agent_pb.ts";
import { makeKey } from "../../fakes/certificates.ts";
import { makeCsr } from "../../fakes/issuance-csr.ts";
import { attestOnce, joinTokenParams, TestAgent } from "../../fakes/server-agent.ts";
import { ServerBench } from "../../fakes/server-bench.ts";

let bench: ServerBench;

beforeAll(async () => {
  bench = await ServerBench.start();
});

afterAll(() => bench?.[Symbol.asyncDispose]());

describe("class 6: renewal", () => {
  it("is refused without the SVID that is renewed, whatever the request says", async () => {
    const agent = await TestAgent.attest(bench);
    const anonymous = await bench.tls();
    const csr = makeCsr({ uris: [agent.id] }, makeKey());
    await expect(anonymous.service(Agent).renewAgent({ params: { csr } })).rejects.toMatchObject({
      status: expect.stringMatching(/UNAUTHENTICATED|PERMISSION_DENIED/) as string,
    });
    await expect(bench.agents.renewAgent({ params: { csr } })).rejects.toMatchObject({
      status: "PERMISSION_DENIED",
    });
  });

  it("renews the caller, not the agent that the request names", async () => {
    const caller = await TestAgent.attest(bench);
    const victim = await TestAgent.attest(bench);
    const { svid } = await caller.agent.renewAgent({
      params: { csr: makeCsr({ uris: [victim.id] }, makeKey()) },
    });
    expect(svid?.id).toMatchObject(caller.wireId);
    await expect(victim.entries.getAuthorizedEntries({})).resolves.toBeDefined();
  });

  it("shows that an agent's state was copied: the first copy to use a renewed SVID shuts the other one out", async () => {
    const original = await TestAgent.attest(bench);
    // The thief has the same key and SVID, and for as long as nobody renews both work: that much is open.
    const copy = await bench.tls({ certificates: original.chain, privateKey: original.privateKey });
    await expect(copy.service(Agent).postStatus({})).resolves.toBeDefined();

    const thief = await (async () => {
      const key = makeKey();
      const { svid } = await copy.service(Agent).renewAgent({ params: { csr: makeCsr({}, key) } });
      return bench.tls({ certificates: svid?.certChain ?? [], privateKey: key.privateKey });
    })();
    await expect(thief.service(Agent).postStatus({})).resolves.toBeDefined();

    await expect(original.agent.postStatus({})).rejects.toMatchObject({
      status: "PERMISSION_DENIED",
      reason: "AGENT_NOT_ACTIVE",
    });
    await expect(original.renew()).rejects.toMatchObject({ reason: "AGENT_NOT_ACTIVE" });
    // It cannot come back by the token it once had; the operator hears of an agent that asks for a new one.
    const token = original.wireId.path.split("/").at(-1) ?? "";
    await expect(
      attestOnce(await bench.tls(), joinTokenParams(token, makeCsr({}, makeKey()))),
    ).rejects.toMatchObject({ status: "INVALID_ARGUMENT" });

    // Banned by its ID, the thief is out as well.
    await bench.agents.banAgent({ id: original.wireId });
    await expect(thief.service(Agent).postStatus({})).rejects.toMatchObject({ reason: "AGENT_BANNED" });
  });

  it("leaves the true agent in where it renews first", async () => {
    const original = await TestAgent.attest(bench);
    const copy = await bench.tls({ certificates: original.chain, privateKey: original.privateKey });
    const renewed = await original.renew();
    await expect(renewed.agent.postStatus({})).resolves.toBeDefined();
    await expect(copy.service(Agent).postStatus({})).rejects.toMatchObject({ reason: "AGENT_NOT_ACTIVE" });
    const csr = makeCsr({}, makeKey());
    await expect(copy.service(Agent).renewAgent({ params: { csr } })).rejects.toMatchObject({
      reason: "AGENT_NOT_ACTIVE",
    });
  });
});
