import { createPrivateKey, createPublicKey } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { AgentHarness, HEADERS, first, uid, until } from "../../test/fakes/agent-harness.ts";
import { fakeEntry } from "../../test/fakes/agent-server.ts";
import { checkWitProof } from "../crypto/jose/wit-proof.ts";
import { verifyWitSvid } from "../crypto/jose/wit-svid-verify.ts";
import { parseSpiffeId } from "../spiffe/id.ts";

const web = parseSpiffeId("spiffe://example.org/web");
const db = parseSpiffeId("spiffe://example.org/db");
const WIT = { features: ["wit-svid"] } as const;
const NO_KEY = { keyId: "", publicKey: new Uint8Array() };
let harness: AgentHarness;

beforeEach(async () => {
  harness = await AgentHarness.create();
  harness.server.entries.set("1", fakeEntry(web, uid, { id: "1", createdAt: 1, hint: "first" }));
  harness.server.entries.set("2", fakeEntry(db, uid, { id: "2", createdAt: 2 }));
});

afterEach(() => harness[Symbol.asyncDispose]());

const fetchWit = (spiffeId = "") => harness.workloadApi().fetchWITSVID({ spiffeId }, HEADERS);

describe("an agent with the WIT-SVID profile switched on (Workload API §7)", () => {
  it("serves a WIT-SVID for each identity, bound to a key that comes with it and that the agent proved to have", async () => {
    const agent = await harness.startReady(WIT);
    const { svids } = await first(fetchWit());
    expect(svids.map(({ spiffeId, hint }) => [spiffeId, hint])).toEqual([
      [web, "first"],
      [db, ""],
    ]);
    const [{ keyId, publicKey } = NO_KEY] = harness.server.bundle.witAuthorities;
    const authority = createPublicKey({ key: Buffer.from(publicKey), format: "der", type: "spki" });
    for (const { witSvid, witSvidKey, spiffeId } of svids) {
      const now = Math.floor(Date.now() / 1000);
      const facts = await verifyWitSvid(witSvid, new Map([[keyId, { publicKey: authority }]]), { now });
      expect(facts.spiffeId).toBe(spiffeId);
      const held = createPrivateKey({
        key: JSON.parse(witSvidKey) as Record<string, string>,
        format: "jwk",
      });
      expect(createPublicKey(held).equals(facts.confirmationKey)).toBe(true);
    }
    const proofs = harness.server.witProofs.join().split(",");
    expect(proofs).toHaveLength(2);
    const bound = createPublicKey({
      key: JSON.parse(svids[0]?.witSvidKey ?? "{}") as Record<string, string>,
      format: "jwk",
    });
    checkWitProof(
      {
        trustDomain: "example.org",
        caller: agent.agentId ?? "",
        subject: "1",
        publicKey: bound.export({ format: "der", type: "spki" }),
        algorithm: "ES256",
      },
      proofs[0] ?? "",
      Math.floor(Date.now() / 1000),
    );
  });

  it("gives the one identity that is asked for, and nothing for one that the caller has not", async () => {
    await harness.startReady(WIT);
    expect((await first(fetchWit(db))).svids.map(({ spiffeId }) => spiffeId)).toEqual([db]);
    await expect(first(fetchWit("spiffe://example.org/other"))).rejects.toMatchObject({
      status: "PERMISSION_DENIED",
    });
    await expect(first(fetchWit("nonsense"))).rejects.toMatchObject({ status: "INVALID_ARGUMENT" });
  });

  it("tells an open stream of entries that come and go, and ends it when the last one goes", async () => {
    await harness.startReady(WIT);
    const stream = fetchWit();
    expect((await stream.next()).value?.svids).toHaveLength(2);
    harness.server.remove("2");
    expect((await stream.next()).value?.svids.map(({ spiffeId }) => spiffeId)).toEqual([web]);
    harness.server.remove("1");
    await expect(stream.next()).rejects.toMatchObject({ status: "PERMISSION_DENIED" });
  });

  it("replaces WIT-SVIDs while somebody holds a stream open", async () => {
    harness.server.svidTtl = 2;
    await harness.startReady(WIT);
    const stream = fetchWit(web);
    const before = (await stream.next()).value?.svids[0];
    const after = (await stream.next()).value?.svids[0];
    expect(after?.witSvid).not.toBe(before?.witSvid);
    expect(after?.witSvidKey).not.toBe(before?.witSvidKey);
  });

  it("signs none before somebody asks", async () => {
    await harness.startReady(WIT);
    await first(harness.workloadApi().fetchX509SVID({}, HEADERS));
    expect(harness.server.count("BatchNewWITSVID")).toBe(0);
  });

  it("serves what it has after a restart without its server", async () => {
    const agent = await harness.startReady(WIT);
    const before = await first(fetchWit());
    await agent[Symbol.asyncDispose]();
    await harness.server.stop();
    await harness.startReady(WIT);
    expect(await first(fetchWit())).toEqual(before);
  });

  it("serves the WIT keys of trust domains apart from their JWT keys", async () => {
    await harness.startReady(WIT);
    const { bundles } = await first(harness.workloadApi().fetchWITBundles({}, HEADERS));
    const { keys } = JSON.parse(bundles["spiffe://example.org"] ?? "{}") as { keys: { kid: string }[] };
    expect(keys.map(({ kid }) => kid)).toEqual([harness.authority.witKeyId]);
    const jwt = await first(harness.workloadApi().fetchJWTBundles({}, HEADERS));
    expect(Buffer.from(jwt.bundles["spiffe://example.org"] ?? []).toString()).not.toContain(
      harness.authority.witKeyId,
    );
  });

  it("says Unimplemented where its server issues none", async () => {
    harness.server.hasWit = false;
    await harness.startReady(WIT);
    await expect(first(fetchWit())).rejects.toMatchObject({ status: "UNIMPLEMENTED" });
  });
});

describe("an agent without the WIT-SVID profile", () => {
  it("says Unimplemented to both calls, after it has asked for the security header", async () => {
    await harness.startReady();
    const api = harness.workloadApi();
    await expect(first(api.fetchWITSVID({}, HEADERS))).rejects.toMatchObject({ status: "UNIMPLEMENTED" });
    await expect(first(api.fetchWITBundles({}, HEADERS))).rejects.toMatchObject({ status: "UNIMPLEMENTED" });
    await expect(first(api.fetchWITSVID({}))).rejects.toMatchObject({ status: "INVALID_ARGUMENT" });
    await until(() => harness.server.watches === 1);
    expect(harness.server.count("BatchNewWITSVID")).toBe(0);
  });
});
