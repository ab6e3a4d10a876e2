import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FakeClock } from "../../test/fakes/clock.ts";
import { makeCsr } from "../../test/fakes/issuance-csr.ts";
import { attestOnce, joinTokenParams, TestAgent } from "../../test/fakes/server-agent.ts";
import { ServerBench } from "../../test/fakes/server-bench.ts";
import { parseSpiffeId } from "../spiffe/id.ts";
import { createServerLimits, takeFrom } from "./limits.ts";

const RATES = { attestation: 2, signing: 3, bundle: 100, token: 5, task: 4 };
let bench: ServerBench;
let one: TestAgent;
let two: TestAgent;
beforeAll(async () => {
  bench = await ServerBench.start({ rateLimit: RATES });
  [one, two] = [await TestAgent.attest(bench), await TestAgent.attest(bench)];
});
afterAll(() => bench[Symbol.asyncDispose]());

describe("the limits of a server", () => {
  it("shed JWT-SVIDs over an agent's limit, and count another agent for itself", async () => {
    const ask = (agent: TestAgent) => outcome(agent.svids.newJWTSVID({ entryId: "none", audience: ["a"] }));
    const asked = [];
    for (let n = 0; n < 20; n++) asked.push(await ask(one));
    expect(asked[0]).toBe("NOT_FOUND");
    expect(asked.at(-1)).toBe("RESOURCE_EXHAUSTED");
    expect(await ask(two)).toBe("NOT_FOUND");
  });

  it("count each X509-SVID of a batch, and a batch that is refused takes nothing", async () => {
    const batch = (agent: TestAgent, count: number) => {
      const params = Array.from({ length: count }, () => ({ entryId: "none", csr: new Uint8Array() }));
      return outcome(agent.svids.batchNewX509SVID({ params }));
    };
    expect(await batch(one, 501)).toBe("RESOURCE_EXHAUSTED");
    expect(await batch(one, 500)).toBe("OK");
    expect(await batch(one, 100)).toBe("RESOURCE_EXHAUSTED");
    expect(await batch(two, 100)).toBe("OK");
  });

  it("shed attestations over the limit of an address, whatever connection they come on", async () => {
    const outcomes = [];
    for (let n = 0; n < 8; n++) {
      const client = await bench.tls();
      outcomes.push(await outcome(attestOnce(client, joinTokenParams("none", makeCsr()))));
      client[Symbol.dispose]();
    }
    expect(outcomes.at(-1)).toBe("RESOURCE_EXHAUSTED");
    // An attempt that was shed uses up no token.
    const { value } = await bench.agents.createJoinToken({ ttl: 60 });
    const client = await bench.tls();
    while ((await outcome(attestOnce(client, joinTokenParams("none", makeCsr())))) !== "RESOURCE_EXHAUSTED");
    expect(await outcome(attestOnce(client, joinTokenParams(value, makeCsr())))).toBe("RESOURCE_EXHAUSTED");
    await new Promise((resolve) => setTimeout(resolve, 600));
    expect(await outcome(attestOnce(client, joinTokenParams(value, makeCsr())))).toBe("OK");
  });

  it("shed status reports of one agent", async () => {
    const asked = [];
    for (let n = 0; n < 15; n++) asked.push(await outcome(one.agent.postStatus({})));
    expect(asked[0]).toBe("OK");
    expect(asked.at(-1)).toBe("RESOURCE_EXHAUSTED");
    expect(await outcome(two.agent.postStatus({}))).toBe("OK");
  });

  it("are none where they are off, but that of refusals that are recorded", () => {
    const limits = createServerLimits("off", new FakeClock());
    for (let n = 0; n < 10_000; n++) limits.attestation.take("a");
    expect(() => {
      for (let n = 0; n < 100; n++) limits.refusals.take("a");
    }).toThrowCode("RATE_LIMITED");
  });

  it("count by SPIFFE ID where there is one, else by address, and local callers not at all", () => {
    const spiffeId = parseSpiffeId("spiffe://example.org/a");
    const taken: [string, number][] = [];
    const allowance = { take: (key: string, amount = 1) => void taken.push([key, amount]) };
    takeFrom(allowance, { address: "192.0.2.1", svid: { spiffeId, serial: "1", notAfter: 1 } }, 3);
    takeFrom(allowance, { address: "192.0.2.1" });
    takeFrom(allowance, { address: "", process: { pid: 1, uid: 0, gid: 0 } });
    expect(taken).toEqual([
      [spiffeId, 3],
      ["192.0.2.1", 1],
    ]);
  });
});

async function outcome(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return "OK";
  } catch (error) {
    return (error as { status: string }).status;
  }
}
