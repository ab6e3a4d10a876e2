import { existsSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FakeAuthority } from "../../../test/fakes/agent-authority.ts";
import { AgentHarness, HEADERS, first, trustDomain, uid, until } from "../../../test/fakes/agent-harness.ts";
import { fakeEntry } from "../../../test/fakes/agent-server.ts";
import { systemClock } from "../../clock.ts";
import { Status } from "../../proto/gen/assay/api/agent/v1/status_pb.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";

const web = parseSpiffeId("spiffe://example.org/web");
const db = parseSpiffeId("spiffe://example.org/db");
let harness: AgentHarness;

beforeEach(async () => {
  harness = await AgentHarness.create();
});

afterEach(() => harness[Symbol.asyncDispose]());

describe("the Workload API's refusals", () => {
  it.each([
    {},
    { "workload.spiffe.io": "True" },
    { "workload.spiffe.io": "true,true" },
    { "workload.spiffe.io": "1" },
  ])("refuses the security header %j before anything else", async (headers) => {
    await harness.startReady();
    const api = harness.workloadApi();
    const refusal = { status: "INVALID_ARGUMENT", detail: "security header missing from request" };
    await expect(first(api.fetchX509SVID({}, { headers }))).rejects.toMatchObject(refusal);
    await expect(api.fetchJWTSVID({ audience: ["a"] }, { headers })).rejects.toMatchObject(refusal);
    await expect(first(api.fetchWITSVID({}, { headers }))).rejects.toMatchObject(refusal);
    expect(harness.audit()).toEqual([]);
  });

  it("has the same words for no identity at all and for one that the caller does not hold", async () => {
    await harness.startReady();
    const api = harness.workloadApi();
    const denial = {
      status: "PERMISSION_DENIED",
      detail: expect.stringMatching(/^no identity issued \(decision [0-9a-f-]{36}\)$/) as string,
    };
    await expect(first(api.fetchX509SVID({}, HEADERS))).rejects.toMatchObject(denial);
    await expect(first(api.fetchX509Bundles({}, HEADERS))).rejects.toMatchObject(denial);
    await expect(first(api.fetchJWTBundles({}, HEADERS))).rejects.toMatchObject(denial);
    harness.server.put(fakeEntry(web, uid, { id: "1" }));
    harness.server.put(fakeEntry(db, uid + 1, { id: "2" }));
    await until(async () => {
      const { entriesCount } = await harness.client("a.sock").service(Status).getInfo({});
      return entriesCount === 2;
    });
    for (const spiffeId of [db, "spiffe://elsewhere.example/x", "spiffe://example.org/never"]) {
      await expect(api.fetchJWTSVID({ audience: ["a"], spiffeId }, HEADERS)).rejects.toMatchObject(denial);
    }
    expect((await api.fetchJWTSVID({ audience: ["a"], spiffeId: web }, HEADERS)).svids.length).toBe(1);
  });

  it("refuses malformed requests as such", async () => {
    harness.server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    await harness.startReady();
    const api = harness.workloadApi();
    const invalid = { status: "INVALID_ARGUMENT" };
    await expect(api.fetchJWTSVID({}, HEADERS)).rejects.toMatchObject({
      ...invalid,
      detail: "audience must be specified",
    });
    await expect(api.fetchJWTSVID({ audience: [""] }, HEADERS)).rejects.toMatchObject(invalid);
    const many = Array.from({ length: 33 }, (_, i) => `a${i}`);
    await expect(api.fetchJWTSVID({ audience: many }, HEADERS)).rejects.toMatchObject(invalid);
    await expect(api.fetchJWTSVID({ audience: ["x".repeat(1025)] }, HEADERS)).rejects.toMatchObject(invalid);
    await expect(api.fetchJWTSVID({ audience: ["a"], spiffeId: "web" }, HEADERS)).rejects.toMatchObject(
      invalid,
    );
    await expect(api.validateJWTSVID({ svid: "a.b.c" }, HEADERS)).rejects.toMatchObject(invalid);
    await expect(api.validateJWTSVID({ audience: "a" }, HEADERS)).rejects.toMatchObject(invalid);
    await expect(api.validateJWTSVID({ audience: "a", svid: "a.b.c" }, HEADERS)).rejects.toMatchObject(
      invalid,
    );
    await expect(api.fetchJWTSVID({ audience: ["x".repeat(2 ** 21)] }, HEADERS)).rejects.toMatchObject({
      status: "RESOURCE_EXHAUSTED",
    });
    await expect(first(api.fetchWITSVID({}, HEADERS))).rejects.toMatchObject({ status: "UNIMPLEMENTED" });
    await expect(first(api.fetchWITBundles({}, HEADERS))).rejects.toMatchObject({ status: "UNIMPLEMENTED" });
  });

  it("validates its own tokens, keeps the order of audiences, and lets nothing else pass", async () => {
    harness.server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    await harness.startReady();
    const api = harness.workloadApi();
    const [svid] = (await api.fetchJWTSVID({ audience: ["z", "a"] }, HEADERS)).svids;
    const { spiffeId, claims } = await api.validateJWTSVID(
      { audience: "a", svid: svid?.svid ?? "" },
      HEADERS,
    );
    expect(spiffeId).toBe(web);
    expect(claims).toMatchObject({ sub: web, aud: ["z", "a"] });
    const invalid = { status: "INVALID_ARGUMENT" };
    await expect(
      api.validateJWTSVID({ audience: "other", svid: svid?.svid ?? "" }, HEADERS),
    ).rejects.toMatchObject(invalid);
    const stranger = await FakeAuthority.create(trustDomain, systemClock);
    const forged = stranger.jwtSvid(web, ["a"], 60).token;
    await expect(api.validateJWTSVID({ audience: "a", svid: forged }, HEADERS)).rejects.toMatchObject(
      invalid,
    );
    const foreign = stranger.jwtSvid(parseSpiffeId("spiffe://elsewhere.example/x"), ["a"], 60).token;
    await expect(api.validateJWTSVID({ audience: "a", svid: foreign }, HEADERS)).rejects.toMatchObject(
      invalid,
    );
  });

  it("gives the own bundles to strangers only where the operator said so", async () => {
    await harness.startReady({ allowUnauthenticatedVerifiers: true });
    const { bundles } = await first(harness.workloadApi().fetchX509Bundles({}, HEADERS));
    expect(Object.keys(bundles)).toEqual(["spiffe://example.org"]);
    await expect(first(harness.workloadApi().fetchX509SVID({}, HEADERS))).rejects.toMatchObject({
      status: "PERMISSION_DENIED",
    });
  });

  it("sheds the load of one caller", async () => {
    harness.server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    await harness.startReady({ rateLimit: { x509Svid: 1, jwtSvid: 1, bundles: 1, validation: 1 } });
    const api = harness.workloadApi();
    const calls = Array.from({ length: 40 }, () => api.fetchJWTSVID({ audience: ["a"] }, HEADERS));
    const outcomes = await Promise.allSettled(calls);
    const shed = outcomes.filter(({ status }) => status === "rejected");
    expect(shed.length).toBeGreaterThanOrEqual(25);
    expect(shed[0]).toMatchObject({ reason: { status: "UNAVAILABLE" } });
  });

  it("ends open streams with Unavailable when it stops", async () => {
    harness.server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    const agent = await harness.startReady();
    const stream = harness.workloadApi().fetchX509SVID({}, HEADERS);
    await stream.next();
    const [outcome] = await Promise.allSettled([stream.next(), agent[Symbol.asyncDispose]()]);
    expect(outcome).toMatchObject({ status: "rejected", reason: { status: "UNAVAILABLE" } });
    expect(await agent.closed).toBeUndefined();
    expect(existsSync(harness.path("w.sock"))).toBe(false);
  });
});
