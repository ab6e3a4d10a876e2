import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeKey } from "../../../test/fakes/certificates.ts";
import { brokenSignature, makeCsr, makeGreedyCsr, trailingOctet } from "../../../test/fakes/issuance-csr.ts";
import { TestAgent, wireId } from "../../../test/fakes/server-agent.ts";
import { ServerBench } from "../../../test/fakes/server-bench.ts";
import { statuses, wireEntry } from "../../../test/fakes/server-wire.ts";
import { readCertificate } from "../../crypto/certificate-reader.ts";
import { validateX509Svid } from "../../crypto/x509-svid.ts";
import { SVID } from "../../proto/gen/spire/api/server/svid/v1/svid_pb.ts";

let bench: ServerBench;
let agent: TestAgent;
let other: TestAgent;
let entryId: string;
let foreignId: string;
beforeAll(async () => {
  bench = await ServerBench.start();
  agent = await TestAgent.attest(bench);
  other = await TestAgent.attest(bench);
  const { results } = await bench.entries.batchCreateEntry({
    entries: [wireEntry("mine", agent.id), wireEntry("theirs", other.id)],
  });
  [entryId = "", foreignId = ""] = results.map(({ entry }) => entry?.id);
});
afterAll(() => bench[Symbol.asyncDispose]());

describe("BatchNewX509SVID", () => {
  it("answers each item in order, the same entry twice too", async () => {
    const { results } = await agent.svids.batchNewX509SVID({
      params: [
        { entryId, csr: makeGreedyCsr(["spiffe://example.org/spire/server"], makeKey()) },
        { entryId: foreignId, csr: makeCsr() },
        { entryId: "none", csr: makeCsr() },
        { entryId: "", csr: makeCsr() },
        { entryId, csr: brokenSignature(makeCsr()) },
        { entryId, csr: trailingOctet(makeCsr()) },
        { entryId, csr: new Uint8Array() },
        { entryId, csr: makeCsr() },
      ],
    });
    expect(results.map(({ status }) => status?.code)).toEqual([0, 5, 5, 5, 3, 3, 3, 0]);
    expect(statuses(results).slice(0, 3)).toEqual([
      "0 OK",
      "5 entry not found or not authorized",
      "5 entry not found or not authorized",
    ]);
    for (const { svid } of [results[0], results[7]].flatMap((result) => result ?? [])) {
      const chain = (svid?.certChain ?? []).map((certificate) => readCertificate(certificate));
      const roots = (await bench.authorities()).map((certificate) => readCertificate(certificate));
      const facts = validateX509Svid(chain, roots, Date.now() / 1000);
      expect(facts.spiffeId).toBe("spiffe://example.org/mine");
      expect(svid).toMatchObject({
        id: wireId("spiffe://example.org/mine"),
        expiresAt: BigInt(facts.notAfter),
      });
    }
    expect(results.slice(1, 7).every(({ svid }) => svid === undefined)).toBe(true);
  });

  it("refuses an empty batch", async () => {
    await expect(agent.svids.batchNewX509SVID({})).rejects.toMatchObject({
      status: "INVALID_ARGUMENT",
      detail: "missing parameters",
    });
  });

  it("stops at once for an entry that was deleted or given to another agent", async () => {
    const { results } = await bench.entries.batchCreateEntry({ entries: [wireEntry("moving", agent.id)] });
    const id = results[0]?.entry?.id ?? "";
    const ask = async (who: TestAgent) =>
      (await who.svids.batchNewX509SVID({ params: [{ entryId: id, csr: makeCsr() }] })).results[0]?.status
        ?.code;
    expect([await ask(agent), await ask(other)]).toEqual([0, 5]);
    await bench.entries.batchUpdateEntry({
      entries: [{ id, parentId: other.wireId }],
      inputMask: { parentId: true },
    });
    expect([await ask(agent), await ask(other)]).toEqual([5, 0]);
    await bench.entries.batchDeleteEntry({ ids: [id] });
    expect([await ask(agent), await ask(other)]).toEqual([5, 5]);
  });

  it("serves entries below an alias and below another entry of the agent", async () => {
    const { value } = await bench.agents.createJoinToken({
      ttl: 60,
      agentId: wireId("spiffe://example.org/rack"),
    });
    const aliased = await TestAgent.attest(bench, value);
    const { results } = await bench.entries.batchCreateEntry({
      entries: [
        wireEntry("on-rack", "spiffe://example.org/rack"),
        wireEntry("nested", "spiffe://example.org/on-rack"),
      ],
    });
    const params = results.map(({ entry }) => ({ entryId: entry?.id ?? "", csr: makeCsr() }));
    expect(statuses((await aliased.svids.batchNewX509SVID({ params })).results)).toEqual(["0 OK", "0 OK"]);
    expect(
      (await agent.svids.batchNewX509SVID({ params })).results.map(({ status }) => status?.code),
    ).toEqual([5, 5]);
  });
});

describe("NewJWTSVID", () => {
  it("gives a token with what the wire says beside it", async () => {
    const { svid } = await agent.svids.newJWTSVID({ entryId, audience: ["db"] });
    const claims = JSON.parse(Buffer.from(svid?.token.split(".")[1] ?? "", "base64url").toString()) as object;
    expect(claims).toEqual({
      sub: "spiffe://example.org/mine",
      aud: ["db"],
      iat: Number(svid?.issuedAt),
      exp: Number(svid?.expiresAt),
    });
  });

  it.each([
    [
      "another agent's entry",
      () => ({ entryId: foreignId, audience: ["a"] }),
      "NOT_FOUND",
      "entry not found or not authorized",
    ],
    [
      "an unknown entry",
      () => ({ entryId: "none", audience: ["a"] }),
      "NOT_FOUND",
      "entry not found or not authorized",
    ],
    ["no entry", () => ({ audience: ["a"] }), "INVALID_ARGUMENT", "missing entry ID"],
    ["no audience", () => ({ entryId }), "INVALID_ARGUMENT", "audience"],
    ["an empty audience", () => ({ entryId, audience: [""] }), "INVALID_ARGUMENT", "audience"],
  ])("refuses %s as a whole", async (_, request, status, detail) => {
    await expect(agent.svids.newJWTSVID(request())).rejects.toMatchObject({
      status,
      detail: expect.stringContaining(detail) as string,
    });
  });
});

describe("minting", () => {
  const mint = () => bench.admin.service(SVID);

  it("signs the ID of the request for an administrator", async () => {
    const { svid } = await mint().mintX509SVID({
      csr: makeCsr({ uris: ["spiffe://example.org/minted"], dnsNames: ["m.example.org"] }),
      ttl: 60,
    });
    const leaf = readCertificate(svid?.certChain[0] ?? new Uint8Array());
    expect(leaf.subjectAltName).toMatchObject({
      uris: ["spiffe://example.org/minted"],
      dnsNames: ["m.example.org"],
    });
    expect(leaf.notAfter - Date.now() / 1000).toBeLessThanOrEqual(60);
  });

  it.each<[string, () => Promise<unknown>, string, string]>([
    ["no CSR", () => mint().mintX509SVID({}), "INVALID_ARGUMENT", "missing CSR"],
    [
      "a CSR without URI",
      () => mint().mintX509SVID({ csr: makeCsr() }),
      "INVALID_ARGUMENT",
      "URI SAN is required",
    ],
    ["a negative ttl", () => mint().mintX509SVID({ csr: makeCsr(), ttl: -1 }), "INVALID_ARGUMENT", "ttl"],
    [
      "a foreign ID",
      () => mint().mintX509SVID({ csr: makeCsr({ uris: ["spiffe://other.org/a"] }) }),
      "PERMISSION_DENIED",
      "other.org",
    ],
    [
      "the server's ID",
      () => mint().mintX509SVID({ csr: makeCsr({ uris: ["spiffe://example.org/spire/server"] }) }),
      "PERMISSION_DENIED",
      "own use",
    ],
    ["a JWT without ID", () => mint().mintJWTSVID({ audience: ["a"] }), "INVALID_ARGUMENT", "SPIFFE ID"],
    [
      "a JWT without audience",
      () => mint().mintJWTSVID({ id: wireId("spiffe://example.org/a") }),
      "INVALID_ARGUMENT",
      "audience",
    ],
    [
      "a JWT with a negative ttl",
      () => mint().mintJWTSVID({ id: wireId("spiffe://example.org/a"), audience: ["a"], ttl: -1 }),
      "INVALID_ARGUMENT",
      "ttl",
    ],
    [
      "a JWT for an agent",
      () => mint().mintJWTSVID({ id: agent.wireId, audience: ["a"] }),
      "PERMISSION_DENIED",
      "own use",
    ],
  ])("refuses %s", async (_, call, status, detail) => {
    await expect(call()).rejects.toMatchObject({ status, detail: expect.stringContaining(detail) as string });
  });
});

describe("the audit log of a server", () => {
  it("has a record for each SVID, found by its decision, and no token in it", async () => {
    const { svid } = await agent.svids.newJWTSVID({ entryId, audience: ["audited"] });
    const record = bench.audit().findLast(({ event }) => event === "svid.jwt.issued");
    expect(record).toMatchObject({
      outcome: "issued",
      caller_id: agent.id,
      caller_address: "127.0.0.1",
      agent_id: agent.id,
      entry_id: entryId,
      audience: ["audited"],
      decision_id: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
    });
    for (const part of svid?.token.split(".") ?? []) {
      expect(JSON.stringify(bench.audit())).not.toContain(part);
      expect(bench.lines.join("")).not.toContain(part);
    }
  });
});
