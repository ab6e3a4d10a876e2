import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeCsr, brokenSignature } from "../../../test/fakes/issuance-csr.ts";
import { attestOnce, idText, joinTokenParams, TestAgent, wireId } from "../../../test/fakes/server-agent.ts";
import { ServerBench } from "../../../test/fakes/server-bench.ts";
import { wireEntry } from "../../../test/fakes/server-wire.ts";
import { readCertificate } from "../../crypto/certificate-reader.ts";
import { Agent } from "../../proto/gen/spire/api/server/agent/v1/agent_pb.ts";
import type { RpcClient } from "../../rpc/client.ts";

let bench: ServerBench;
let anonymous: RpcClient;
beforeAll(async () => {
  bench = await ServerBench.start();
  anonymous = await bench.tls();
});
afterAll(() => bench[Symbol.asyncDispose]());

describe("AttestAgent with a join token", () => {
  it("answers with the agent's SVID, its ID made of the token, then OK without waiting for the client", async () => {
    const { value: token } = await bench.agents.createJoinToken({ ttl: 60 });
    const call = anonymous.service(Agent).attestAgent();
    await call.send({ step: { case: "params", value: joinTokenParams(token, makeCsr()) } });
    const steps = [];
    for await (const { step } of call) steps.push(step);
    expect(steps).toMatchObject([
      {
        case: "result",
        value: {
          reattestable: false,
          svid: { id: { trustDomain: "example.org", path: `/spire/agent/join_token/${token}` } },
        },
      },
    ]);
    const [step] = steps;
    const svid = step?.case === "result" ? step.value.svid : undefined;
    expect(svid?.certChain).toHaveLength(1);
    const leaf = readCertificate(svid?.certChain[0] ?? new Uint8Array());
    expect(svid?.expiresAt).toBe(BigInt(leaf.notAfter));
  });

  it.each([
    [
      "reused",
      async () => {
        const { value } = await bench.agents.createJoinToken({ ttl: 60 });
        await attestOnce(anonymous, joinTokenParams(value, makeCsr()));
        return value;
      },
    ],
    [
      "expired",
      async () => {
        const { value, expiresAt } = await bench.agents.createJoinToken({ ttl: 1 });
        while (Date.now() < Number(expiresAt) * 1000) await new Promise((resolve) => setTimeout(resolve, 20));
        return value;
      },
    ],
    ["unknown", async () => "never-made"],
    ["no path segment at all", async () => "../../server"],
  ])("refuses a token that is %s, all in the same words", async (_, make) => {
    await expect(attestOnce(anonymous, joinTokenParams(await make(), makeCsr()))).rejects.toMatchObject({
      status: "INVALID_ARGUMENT",
      detail: "failed to attest: join token does not exist or has already been used",
    });
  });

  it("lets exactly one of 100 parallel joins with one token in", async () => {
    const { value } = await bench.agents.createJoinToken({ ttl: 60 });
    const csr = makeCsr();
    const outcomes = await Promise.allSettled(
      Array.from({ length: 100 }, () => attestOnce(anonymous, joinTokenParams(value, csr))),
    );
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  });

  it("does not use up the token of a request that cannot be answered", async () => {
    const { value } = await bench.agents.createJoinToken({ ttl: 60 });
    await expect(
      attestOnce(anonymous, joinTokenParams(value, brokenSignature(makeCsr()))),
    ).rejects.toMatchObject({ status: "INVALID_ARGUMENT" });
    await expect(attestOnce(anonymous, joinTokenParams(value, makeCsr()))).resolves.toBeDefined();
  });

  it("makes the alias that was asked for with the token an entry, and takes it away with the agent", async () => {
    const { value } = await bench.agents.createJoinToken({
      ttl: 60,
      agentId: wireId("spiffe://example.org/rack-1"),
    });
    const filter = { bySpiffeId: wireId("spiffe://example.org/rack-1") };
    expect((await bench.entries.countEntries({ filter })).count).toBe(0);
    const agent = await TestAgent.attest(bench, value);
    const { entries } = await bench.entries.listEntries({ filter });
    expect(entries).toMatchObject([
      {
        parentId: { trustDomain: "example.org", path: "/spire/server" },
        selectors: [{ type: "spiffe_id", value: agent.id }],
      },
    ]);
    await bench.agents.deleteAgent({ id: agent.wireId });
    expect((await bench.entries.countEntries({ filter })).count).toBe(0);
  });

  const good = () => joinTokenParams("t", makeCsr());
  it.each<[string, object, string, string]>([
    [
      "no data",
      { params: { csr: makeCsr() } },
      "INVALID_ARGUMENT",
      "malformed param: missing attestation data",
    ],
    [
      "no type",
      { ...good(), data: { payload: Buffer.from("t") } },
      "INVALID_ARGUMENT",
      "missing attestation data type",
    ],
    [
      "no payload",
      { ...good(), data: { type: "join_token" } },
      "INVALID_ARGUMENT",
      "missing attestation data payload",
    ],
    [
      "no parameters",
      { data: good().data },
      "INVALID_ARGUMENT",
      "malformed param: missing X509-SVID parameters",
    ],
    ["no CSR", { ...good(), params: {} }, "INVALID_ARGUMENT", "malformed param: missing CSR"],
    [
      "an unknown type",
      { ...good(), data: { type: "tpm", payload: Buffer.from("t") } },
      "FAILED_PRECONDITION",
      "tpm",
    ],
    [
      "a huge payload",
      { ...good(), data: { type: "join_token", payload: Buffer.alloc(70_000) } },
      "INVALID_ARGUMENT",
      "larger than",
    ],
  ])("refuses a first message with %s", async (_, params, status, detail) => {
    await expect(attestOnce(anonymous, params)).rejects.toMatchObject({
      status,
      detail: expect.stringContaining(detail) as string,
    });
  });

  it("refuses a conversation that begins with an answer, or does not begin", async () => {
    for (const begin of [
      (call: ReturnType<ReturnType<typeof service>["attestAgent"]>) =>
        call.send({ step: { case: "challengeResponse", value: Buffer.from("x") } }),
      (call: ReturnType<ReturnType<typeof service>["attestAgent"]>) => call.send({}),
      async (call: ReturnType<ReturnType<typeof service>["attestAgent"]>) => call.end(),
    ]) {
      const call = service().attestAgent();
      await begin(call);
      await expect(call[Symbol.asyncIterator]().next()).rejects.toMatchObject({
        status: "INVALID_ARGUMENT",
        detail: "malformed param: missing params",
      });
    }
  });
});

describe("CreateJoinToken", () => {
  it.each<[string, object, string]>([
    ["no ttl", {}, "ttl is required, you must provide one"],
    ["a negative ttl", { ttl: -1 }, "ttl is required, you must provide one"],
    ["a token with a slash", { ttl: 60, token: "a/b" }, "token: expected"],
    ["a token that is a dot segment", { ttl: 60, token: ".." }, "token: expected"],
    ["a token too long for an ID", { ttl: 60, token: "a".repeat(2100) }, "token: "],
    [
      "an alias in a foreign trust domain",
      { ttl: 60, agentId: wireId("spiffe://other.org/a") },
      "trust domain",
    ],
    ["a reserved alias", { ttl: 60, agentId: wireId("spiffe://example.org/spire/x") }, "reserved"],
  ])("refuses %s", async (_, request, detail) => {
    await expect(bench.agents.createJoinToken(request)).rejects.toMatchObject({
      status: "INVALID_ARGUMENT",
      detail: expect.stringContaining(detail) as string,
    });
  });

  it("takes a token the operator chose, once", async () => {
    const made = await bench.agents.createJoinToken({ ttl: 60, token: "chosen" });
    expect(made.value).toBe("chosen");
    expect(Number(made.expiresAt) - Date.now() / 1000).toBeGreaterThan(55);
    await expect(bench.agents.createJoinToken({ ttl: 60, token: "chosen" })).rejects.toMatchObject({
      status: "ALREADY_EXISTS",
    });
  });

  it("leaves no token in the log or the audit log before it is used", async () => {
    const { value } = await bench.agents.createJoinToken({ ttl: 60 });
    expect(bench.lines.join("")).not.toContain(value);
    expect(JSON.stringify(bench.audit())).not.toContain(value);
    await attestOnce(anonymous, joinTokenParams(value, makeCsr()));
    await expect(attestOnce(anonymous, joinTokenParams(value, makeCsr()))).rejects.toBeDefined();
    // The agent's ID has SPIRE's form, and so holds the token, which is worthless by then.
    const inIds = `/spire/agent/join_token/${value}`;
    expect(JSON.stringify(bench.audit()).replaceAll(inIds, "")).not.toContain(value);
    expect(bench.lines.join("").replaceAll(inIds, "")).not.toContain(value);
  });
});

describe("an agent that is gone", () => {
  it("is told AGENT_NOT_ATTESTED after it was evicted, and its stream ends with that", async () => {
    const agent = await TestAgent.attest(bench);
    const watch = agent.watch();
    await watch.whole();
    const ended = watch.next();
    const [milliseconds] = await Promise.all([
      elapsed(() =>
        expect(ended).rejects.toMatchObject({ reason: "AGENT_NOT_ATTESTED", status: "PERMISSION_DENIED" }),
      ),
      bench.agents.deleteAgent({ id: agent.wireId }),
    ]);
    expect(milliseconds).toBeLessThan(1000);
    await expect(agent.entries.getAuthorizedEntries({})).rejects.toMatchObject({
      reason: "AGENT_NOT_ATTESTED",
      detail: "authorization denied for method /spire.api.server.entry.v1.Entry/GetAuthorizedEntries",
    });
    await expect(bench.agents.deleteAgent({ id: agent.wireId })).rejects.toMatchObject({
      status: "NOT_FOUND",
    });
  });

  it("is told AGENT_BANNED after it was banned, at once and on every stream it has, until it is evicted", async () => {
    const agent = await TestAgent.attest(bench);
    const watches = [agent.watch(), agent.watch()];
    for (const watch of watches) await watch.whole();
    const ended = watches.map((watch) => watch.next());
    const [milliseconds] = await Promise.all([
      elapsed(async () => {
        for (const end of ended) await expect(end).rejects.toMatchObject({ reason: "AGENT_BANNED" });
      }),
      bench.agents.banAgent({ id: agent.wireId }),
    ]);
    expect(milliseconds).toBeLessThan(1000);
    await expect(
      agent.svids.batchNewX509SVID({ params: [{ entryId: "x", csr: makeCsr() }] }),
    ).rejects.toMatchObject({ reason: "AGENT_BANNED" });
    expect(await bench.agents.getAgent({ id: agent.wireId })).toMatchObject({ banned: true });
    await bench.agents.deleteAgent({ id: agent.wireId });
    await expect(agent.agent.postStatus({ agentVersion: "1" })).rejects.toMatchObject({
      reason: "AGENT_NOT_ATTESTED",
    });
  });

  it("gives nothing to a banned agent's workloads, whatever entries there are", async () => {
    const agent = await TestAgent.attest(bench);
    const { results } = await bench.entries.batchCreateEntry({ entries: [wireEntry("banned", agent.id)] });
    const entryId = results[0]?.entry?.id ?? "";
    expect((await agent.entries.getAuthorizedEntries({})).entries).toHaveLength(1);
    await bench.agents.banAgent({ id: agent.wireId });
    await expect(agent.svids.newJWTSVID({ entryId, audience: ["a"] })).rejects.toMatchObject({
      reason: "AGENT_BANNED",
    });
  });
});

describe("RenewAgent", () => {
  it("leaves the old SVID good until the new one is used", async () => {
    const old = await TestAgent.attest(bench);
    const renewed = await old.renew();
    await expect(old.entries.getAuthorizedEntries({})).resolves.toBeDefined();
    await expect(renewed.entries.getAuthorizedEntries({})).resolves.toBeDefined();
    await expect(old.entries.getAuthorizedEntries({})).rejects.toMatchObject({ reason: "AGENT_NOT_ACTIVE" });
    expect((await bench.agents.getAgent({ id: old.wireId })).x509svidSerialNumber).toBe(
      BigInt(
        `0x${Buffer.from(readCertificate(renewed.chain[0] ?? new Uint8Array()).serial).toString("hex")}`,
      ).toString(),
    );
  });

  it("ends the stream that the old SVID opened when the new one is used", async () => {
    const old = await TestAgent.attest(bench);
    const watch = old.watch();
    await watch.whole();
    const renewed = await old.renew();
    const ended = watch.next();
    await renewed.agent.postStatus({ agentVersion: "" });
    await expect(ended).rejects.toMatchObject({ reason: "AGENT_NOT_ACTIVE" });
  });

  it("forgets a renewal that was not used when there is another one", async () => {
    const agent = await TestAgent.attest(bench);
    const lost = await agent.renew();
    const renewed = await agent.renew();
    await expect(lost.agent.postStatus({})).rejects.toMatchObject({ reason: "AGENT_NOT_ACTIVE" });
    await expect(renewed.agent.postStatus({})).resolves.toBeDefined();
  });

  it.each<[string, object, string]>([
    ["no parameters", {}, "params cannot be nil"],
    ["no CSR", { params: {} }, "missing CSR"],
    ["a broken CSR", { params: { csr: Buffer.from("x") } }, "CSR"],
  ])("refuses %s", async (_, request, detail) => {
    const agent = await TestAgent.attest(bench);
    await expect(agent.agent.renewAgent(request)).rejects.toMatchObject({
      status: "INVALID_ARGUMENT",
      detail: expect.stringContaining(detail) as string,
    });
  });
});

describe("PostStatus", () => {
  it("writes the version down and refuses one that is too long", async () => {
    const agent = await TestAgent.attest(bench);
    await agent.agent.postStatus({ agentVersion: "1.2.3" });
    await agent.agent.postStatus({});
    expect((await bench.agents.getAgent({ id: agent.wireId })).agentVersion).toBe("1.2.3");
    await expect(agent.agent.postStatus({ agentVersion: "v".repeat(256) })).rejects.toMatchObject({
      status: "INVALID_ARGUMENT",
    });
  });
});

describe("reading agents", () => {
  it("filters by everything it knows, and counts the same", async () => {
    const [good, banned] = [await TestAgent.attest(bench), await TestAgent.attest(bench)];
    await bench.agents.banAgent({ id: banned.wireId });
    const of = async (filter: object) => {
      const { agents } = await bench.agents.listAgents({ filter });
      expect((await bench.agents.countAgents({ filter })).count).toBe(agents.length);
      const ids = agents.map(({ id }) => idText(id));
      return [ids.includes(good.id), ids.includes(banned.id)];
    };
    expect(await of({})).toEqual([true, true]);
    expect(await of({ byBanned: false })).toEqual([true, false]);
    expect(await of({ byBanned: true })).toEqual([false, true]);
    expect(await of({ byCanReattest: false })).toEqual([true, true]);
    expect(await of({ byCanReattest: true })).toEqual([false, false]);
    expect(await of({ byAttestationType: "join_token" })).toEqual([true, true]);
    expect(await of({ byAttestationType: "x509pop" })).toEqual([false, false]);
    for (const soon of [
      "2000-01-01T00:00:00Z",
      "2000-01-01 00:00:00 +0000 UTC",
      "2000-01-01 00:00:00 +0000 +00",
    ]) {
      expect(await of({ byExpiresBefore: soon })).toEqual([false, false]);
    }
    for (const late of ["2100-01-01T00:00:00+02:00", "2100-01-01 00:00:00 -0700 -07"]) {
      expect(await of({ byExpiresBefore: late })).toEqual([true, true]);
    }
  });

  it.each(["tomorrow", "2030-01-01", "2030-13-01T00:00:00Z", "1893456000", "2030-01-01 00:00:00"])(
    "refuses %j as a time",
    async (byExpiresBefore) => {
      await expect(bench.agents.listAgents({ filter: { byExpiresBefore } })).rejects.toMatchObject({
        status: "INVALID_ARGUMENT",
        detail: expect.stringContaining("by_expires_before") as string,
      });
    },
  );

  it("refuses an ID outside the agents' namespace", async () => {
    await expect(
      bench.agents.getAgent({ id: wireId("spiffe://example.org/workload") }),
    ).rejects.toMatchObject({
      status: "INVALID_ARGUMENT",
    });
    await expect(
      bench.agents.getAgent({ id: wireId("spiffe://other.org/spire/agent/join_token/x") }),
    ).rejects.toMatchObject({ status: "INVALID_ARGUMENT" });
    await expect(
      bench.agents.getAgent({ id: wireId("spiffe://example.org/spire/agent/join_token/none") }),
    ).rejects.toMatchObject({ status: "NOT_FOUND", detail: "agent not found" });
  });

  it("masks what is not asked for, the id never", async () => {
    const agent = await TestAgent.attest(bench);
    const whole = await bench.agents.getAgent({ id: agent.wireId });
    expect(whole).toMatchObject({
      attestationType: "join_token",
      x509svidSerialNumber: expect.stringMatching(/^\d+$/) as string,
    });
    expect(await bench.agents.getAgent({ id: agent.wireId, outputMask: {} })).toMatchObject({
      id: agent.wireId,
      attestationType: "",
      x509svidSerialNumber: "",
      x509svidExpiresAt: 0n,
    });
  });

  it("goes page by page", async () => {
    const { agents: all } = await bench.agents.listAgents({});
    const seen = [];
    let pageToken = "";
    do {
      const page = await bench.agents.listAgents({ pageSize: 3, pageToken });
      seen.push(...page.agents);
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    expect(seen.map(({ id }) => id?.path)).toEqual(all.map(({ id }) => id?.path));
    await expect(bench.agents.listAgents({ pageToken: "x" })).rejects.toMatchObject({
      status: "INVALID_ARGUMENT",
    });
  });
});

function service() {
  return anonymous.service(Agent);
}

async function elapsed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}
