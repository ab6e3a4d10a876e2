import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FakeAuthority } from "../../../test/fakes/agent-authority.ts";
import { makeAgentCache } from "../../../test/fakes/agent-cache.ts";
import { completeUpdate, FakeServerApi } from "../../../test/fakes/agent-server-api.ts";
import { fakeEntry } from "../../../test/fakes/agent-server.ts";
import { ENTRY_DEFAULTS } from "../../../test/fakes/entry-defaults.ts";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { unixSeconds } from "../../clock.ts";
import { silentLog } from "../../observe/log.ts";
import type { Audience } from "../../spiffe/audience.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import { CacheKeeper } from "./cache-file.ts";

const trustDomain = parseTrustDomain("example.org");
const agentId = parseSpiffeId("spiffe://example.org/spire/agent/x/1");

let dataDir: string;
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), "assay-cache-"));
});
afterEach(() => rmSync(dataDir, { recursive: true }));

describe("a file of a version that knew no types of keys", () => {
  it("has its entries read anew, and its SVIDs served meanwhile, over a restart too", async () => {
    const clock = new FakeClock();
    const authority = await FakeAuthority.create(trustDomain, clock);
    const path = join(dataDir, "workload-cache.json");
    const begin = (server: FakeServerApi) => {
      const cache = makeAgentCache({
        signer: server,
        clock,
        agentId: () => agentId,
        maxJwtSvids: 10,
      });
      const keeper = new CacheKeeper({ dataDir, clock, log: silentLog });
      return { cache, keeper, server };
    };
    const fields = { id: "eager", revision: 3 };
    // An agent is not told what only tasks need.
    const {
      idTemplate: _1,
      maxTaskDuration: _2,
      exchangeAudiences: _3,
      ...eager
    } = { ...ENTRY_DEFAULTS, ...fakeEntry(parseSpiffeId("spiffe://example.org/eager"), 1, fields) };
    const idle = { ...eager, id: "idle", disableX509SvidPrefetch: true };
    {
      const server = new FakeServerApi(authority, agentId);
      for (const one of [eager, idle]) server.entries.set(one.id, one);
      const { cache, keeper } = begin(server);
      keeper.follow(cache, () => agentId);
      cache.apply(completeUpdate([eager, idle], { bundle: authority.bundle() }));
      using _wanted = cache.x509.want("idle");
      await expect.poll(() => cache.x509.size).toBe(2);
      await cache.jwt.fetch(eager, ["a" as Audience]);
      await new Promise((resolve) => setImmediate(resolve));
      await keeper[Symbol.asyncDispose]();
      cache[Symbol.dispose]();
    }
    const file = JSON.parse(readFileSync(path, "utf8")) as { entries: { svidKeyType?: string }[] };
    for (const one of file.entries) delete one.svidKeyType;
    writeFileSync(path, JSON.stringify(file));

    // The server is away for two starts.
    for (let start = 0; start < 2; start++) {
      const { cache, keeper, server } = begin(new FakeServerApi(authority, agentId));
      expect(await keeper.restore(cache, agentId)).toBe(true);
      keeper.follow(cache, () => agentId);
      expect([cache.x509.get("eager"), cache.x509.get("idle")]).not.toContain(undefined);
      const known = cache.table.entries.get("eager") ?? eager;
      await cache.jwt.fetch(known, ["a" as Audience]);
      expect([server.batches, server.jwtCalls]).toEqual([[], []]);
      cache.bell.ring();
      await new Promise((resolve) => setImmediate(resolve));
      await keeper[Symbol.asyncDispose]();
      cache[Symbol.dispose]();
    }
    const { cache, keeper, server } = begin(new FakeServerApi(authority, agentId));
    await keeper.restore(cache, agentId);
    const told = { ...eager, svidKeyType: "rsa-2048" as const };
    server.entries.set("eager", told);
    cache.apply(completeUpdate([told, idle]));
    expect(cache.table.entries.get("eager")).toMatchObject({ svidKeyType: "rsa-2048", revision: 3 });
    await expect.poll(() => server.batches).toEqual([["eager"]]);
    cache[Symbol.dispose]();
  });
});

describe("revoked tokens on disk", () => {
  it("are all those told of by and by, and are forgotten by their end after a restart too", async () => {
    const clock = new FakeClock();
    const authority = await FakeAuthority.create(trustDomain, clock);
    const bundle = authority.bundle();
    const makeCache = () =>
      makeAgentCache({
        signer: new FakeServerApi(authority, agentId),
        clock,
        agentId: () => agentId,
        maxJwtSvids: 10,
      });
    const change = { ...completeUpdate([]), complete: false };
    const ends = (id: string, seconds: number) => new Map([[id, unixSeconds(clock) + seconds]]);
    {
      using cache = makeCache();
      await using keeper = new CacheKeeper({ dataDir, clock, log: silentLog });
      keeper.follow(cache, () => agentId);
      cache.apply(completeUpdate([], { bundle, revokedTokens: { complete: true, ends: ends("a", 60) } }));
      cache.apply({ ...change, revokedTokens: { complete: false, ends: ends("b", 7200) } });
      // The bell rings once for many changes, a moment later.
      await new Promise((resolve) => setImmediate(resolve));
    }
    using cache = makeCache();
    await using keeper = new CacheKeeper({ dataDir, clock, log: silentLog });
    expect(await keeper.restore(cache, agentId)).toBe(true);
    const known = () => [...cache.table.revokedTokens.all.keys()];
    expect(known()).toEqual(["a", "b"]);
    for (let n = 0; n < 14; n++) await clock.advance(30_000);
    expect(known()).toEqual(["b"]);
  });
});
