import { beforeEach, describe, expect, it } from "vitest";
import { FakeAuthority } from "../../../test/fakes/agent-authority.ts";
import { makeAgentCache, settle } from "../../../test/fakes/agent-cache.ts";
import { completeUpdate, FakeServerApi } from "../../../test/fakes/agent-server-api.ts";
import { fakeEntry } from "../../../test/fakes/agent-server.ts";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { parseAudiences } from "../../spiffe/audience.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import type { AgentCache } from "./agent-cache.ts";
import { replaceAt, retryDelay } from "./rotation.ts";

const trustDomain = parseTrustDomain("example.org");
const web = parseSpiffeId("spiffe://example.org/web");
const db = parseSpiffeId("spiffe://example.org/db");
const down = new AssayError("SERVER_UNAVAILABLE", "down");

let clock: FakeClock;
let authority: FakeAuthority;
let server: FakeServerApi;
let cache: AgentCache;
let errors: AssayError[];

beforeEach(async () => {
  clock = new FakeClock();
  authority = await FakeAuthority.create(trustDomain, clock);
  server = new FakeServerApi(authority, parseSpiffeId("spiffe://example.org/spire/agent/x/1"));
  errors = [];
  cache = makeCache();
});

function makeCache(maxJwtSvids = 1000): AgentCache {
  return makeAgentCache({
    signer: server,
    clock,
    maxJwtSvids,
    onError: (error) => errors.push(error),
  });
}

async function have(...entries: ReturnType<typeof fakeEntry>[]): Promise<void> {
  for (const entry of entries) server.entries.set(entry.id, entry);
  cache.apply(completeUpdate(entries, { bundle: authority.bundle() }));
  await settle();
}

const one = fakeEntry(web, 1, { id: "1" });
const two = fakeEntry(db, 2, { id: "2" });

describe("X509-SVIDs", () => {
  it("are signed as soon as entries are known, many in one call and with a key each", async () => {
    await have(one, two);
    expect(server.batches).toEqual([["1", "2"]]);
    expect(cache.x509.get("1")?.spiffeId).toBe(web);
    expect(cache.x509.get("1")?.privateKey).not.toEqual(cache.x509.get("2")?.privateKey);
  });

  it("are signed in batches of 500 at most", async () => {
    await have(...Array.from({ length: 1201 }, (_, i) => fakeEntry(web, 1, { id: `${i}` })));
    await settle();
    expect(server.batches.map(({ length }) => length).toSorted((a, b) => a - b)).toEqual([201, 500, 500]);
  });

  it("are replaced at half of their life, with a new key", async () => {
    await have(one);
    const before = cache.x509.get("1");
    await clock.advance(1_790_000);
    expect(cache.x509.get("1")).toBe(before);
    await clock.advance(20_000);
    await settle();
    expect(cache.x509.get("1")?.serial).not.toBe(before?.serial);
    expect(cache.x509.get("1")?.privateKey).not.toEqual(before?.privateKey);
  });

  it("are gone with their entry in the same moment", async () => {
    await have(one, two);
    cache.apply({ ...completeUpdate([]), complete: false, deleted: ["1"] });
    expect(cache.x509.get("1")).toBeUndefined();
    expect(cache.x509.get("2")).toBeDefined();
  });

  it("are not served under a name that their entry no longer has", async () => {
    await have(one);
    const renamed = { ...one, spiffeId: db, revision: 1 };
    server.entries.set("1", renamed);
    cache.apply({ ...completeUpdate([renamed]), complete: false });
    expect(cache.x509.get("1")).toBeUndefined();
    await settle();
    expect(cache.x509.get("1")?.spiffeId).toBe(db);
  });

  it("are served until they end while the server is away, and not a second longer", async () => {
    await have(one);
    server.failure = down;
    await clock.advance(3_599_000);
    expect(cache.x509.get("1")).toBeDefined();
    expect(errors.length).toBeGreaterThan(3);
    await clock.advance(1000);
    expect(cache.x509.get("1")).toBeUndefined();
    server.failure = undefined;
    cache.x509.resume();
    await settle();
    expect(cache.x509.get("1")).toBeDefined();
  });

  it("of one entry that cannot be signed hold up no other, and are tried again more and more slowly", async () => {
    server.unsignable.add("1");
    await have(one, two);
    expect(cache.x509.get("2")).toBeDefined();
    expect(cache.x509.failure("1")?.detail).toContain("not authorized");
    await clock.advance(600_000);
    const tries = server.batches.filter((batch) => batch.includes("1")).length;
    expect(tries).toBeGreaterThan(5);
    expect(tries).toBeLessThan(40);
    server.unsignable.clear();
    await clock.advance(60_000);
    await settle();
    expect(cache.x509.get("1")?.spiffeId).toBe(web);
  });

  it("that ended before they came are failures: a clock that is ahead asks for no more than others", async () => {
    // Of the server, whose SVIDs are good for an hour.
    authority = await FakeAuthority.create(trustDomain, new FakeClock(clock.now() - 7_200_000));
    server = new FakeServerApi(authority, parseSpiffeId("spiffe://example.org/spire/agent/x/1"));
    cache = makeCache();
    await have(one);
    for (let i = 0; i < 60; i++) {
      await clock.advance(1000);
      await settle();
    }
    expect(server.batches.length).toBeLessThan(12);
    expect(cache.x509.get("1")).toBeUndefined();
    expect(cache.x509.failure("1")?.detail).toMatch(/ended 36\d\d s before it came: this machine's clock/);
  });

  it("of entries without prefetch are signed when somebody wants them", async () => {
    await have({ ...one, disableX509SvidPrefetch: true });
    expect(server.batches).toEqual([]);
    const want = cache.x509.want("1");
    await settle();
    expect(cache.x509.get("1")).toBeDefined();
    want[Symbol.dispose]();
    await clock.advance(3_600_000);
    expect(server.batches.length).toBe(1);
  });

  it("never come from a server that signs another name or another key", async () => {
    const stranger = fakeEntry(db, 1, { id: "1" });
    server.entries.set("1", stranger);
    cache.apply(completeUpdate([one]));
    await settle();
    expect(cache.x509.get("1")).toBeUndefined();
    expect(cache.x509.failure("1")).toMatchObject({ code: "INVALID_CERTIFICATE" });
  });

  it.each(["ec-p384", "rsa-2048"] as const)("have keys of the type asked for: %s", async (keyType) => {
    const other = makeAgentCache({
      signer: server,
      clock,
      keyType,
      maxJwtSvids: 10,
      onError: (error) => errors.push(error),
    });
    server.entries.set("1", one);
    const rung = new Promise<void>((resolve) => {
      other.bell.listen(() => {
        if (other.x509.get("1") !== undefined) resolve();
      });
    });
    other.apply(completeUpdate([one]));
    await rung;
    expect(errors).toEqual([]);
  });
});

describe("JWT-SVIDs", () => {
  const audience = parseAudiences(["a", "b"]);

  it("are kept by entry and audience in the order asked for", async () => {
    await have(one);
    const first = await cache.jwt.fetch(one, audience);
    expect(await cache.jwt.fetch(one, audience)).toBe(first);
    await cache.jwt.fetch(one, parseAudiences(["b", "a"]));
    expect(server.jwtCalls).toEqual(["1 a,b", "1 b,a"]);
  });

  it("are asked for once by many callers at once", async () => {
    await have(one);
    await Promise.all(Array.from({ length: 50 }, () => cache.jwt.fetch(one, audience)));
    expect(server.jwtCalls.length).toBe(1);
  });

  it("are renewed after half of their life, and served while valid where that fails", async () => {
    await have(one);
    const first = await cache.jwt.fetch(one, audience);
    clock.step(151_000);
    server.failure = down;
    expect(await cache.jwt.fetch(one, audience)).toBe(first);
    clock.step(149_000);
    await expect(cache.jwt.fetch(one, audience)).rejects.toThrowCode("SERVER_UNAVAILABLE");
    server.failure = undefined;
    expect(await cache.jwt.fetch(one, audience)).not.toBe(first);
  });

  it("are new each time where the entry wants a jti", async () => {
    const unique = { ...one, jwtSvidIncludeJti: true };
    await have(unique);
    await cache.jwt.fetch(unique, audience);
    await cache.jwt.fetch(unique, audience);
    expect(server.jwtCalls.length).toBe(2);
    expect(cache.jwt.size).toBe(0);
  });

  it("are forgotten with their entry and with their key", async () => {
    await have(one, two);
    await cache.jwt.fetch(one, audience);
    await cache.jwt.fetch(two, audience);
    cache.apply({ ...completeUpdate([]), complete: false, deleted: ["1"] });
    expect(cache.jwt.size).toBe(1);
    const { jwtAuthorities, ...rest } = authority.bundle(2n);
    const tainted = jwtAuthorities.map((key) => ({ ...key, tainted: true }));
    cache.apply({ ...completeUpdate([]), complete: false, bundle: { ...rest, jwtAuthorities: tainted } });
    expect(cache.jwt.size).toBe(0);
  });

  it("stay bounded, those unused for longest going first", async () => {
    cache = makeCache(3);
    await have(one);
    for (const name of ["a", "b", "c"]) await cache.jwt.fetch(one, parseAudiences([name]));
    await cache.jwt.fetch(one, parseAudiences(["a"]));
    await cache.jwt.fetch(one, parseAudiences(["d"]));
    expect(cache.jwt.size).toBe(3);
    const before = server.jwtCalls.length;
    await cache.jwt.fetch(one, parseAudiences(["a"]));
    expect(server.jwtCalls.length).toBe(before);
    await cache.jwt.fetch(one, parseAudiences(["b"]));
    expect(server.jwtCalls.length).toBe(before + 1);
  });
});

describe("entries and bundles", () => {
  it("of a complete state replace all that was known", async () => {
    await have(one, two);
    expect(cache.apply(completeUpdate([two]))).toMatchObject({ changed: [], removed: ["1"] });
    expect([...cache.table.entries.keys()]).toEqual(["2"]);
  });

  it("never take a foreign bundle for our own", () => {
    const foreign = { ...authority.bundle(), trustDomain: parseTrustDomain("evil.example") };
    expect(cache.apply(completeUpdate([], { bundle: foreign })).bundleChanged).toBe(false);
    const own = authority.bundle();
    cache.apply(completeUpdate([], { federatedBundles: [own] }));
    expect(cache.table.federated.size).toBe(0);
  });

  it("ring the bell when an entry expires", async () => {
    await have(fakeEntry(web, 1, { id: "1", expiresAt: clock.now() / 1000 + 10 }));
    let rings = 0;
    cache.bell.listen(() => rings++);
    await clock.advance(10_000);
    await settle();
    expect(rings).toBeGreaterThan(0);
  });
});

describe("when things are renewed", () => {
  it("lies within a tenth of half of what is left", () => {
    expect(replaceAt(0, 1000, () => 0)).toBe(550);
    expect(replaceAt(0, 1000, () => 1)).toBe(450);
    expect(replaceAt(1000, 500, () => 0.5)).toBe(1000);
  });

  it("comes soon where it begins later than in a minute, as the server's clock was ahead", () => {
    const [year, hour] = [31_536_000_000, 3_600_000];
    expect(replaceAt(0, year + hour, () => 0.5, year)).toBe(300_000);
    expect(replaceAt(0, hour, () => 0.5, 60_000)).toBe(hour / 2);
    expect(replaceAt(0, 100_000, () => 0.5, 61_000)).toBe(50_000);
  });

  it("comes soon for SVIDs of a server whose clock was ahead", async () => {
    const year = 31_536_000_000;
    clock.step(year);
    authority = await FakeAuthority.create(trustDomain, clock);
    server.signBy(authority);
    const signX509 = server.signX509.bind(server);
    const signJwt = server.signJwt.bind(server);
    const byClock =
      <Call extends readonly unknown[], Answer>(ahead: number, sign: (...call: Call) => Promise<Answer>) =>
      async (...call: Call) => {
        clock.step(ahead);
        const answer = await sign(...call);
        clock.step(-ahead);
        return answer;
      };
    clock.step(-year);
    server.signX509 = byClock(year, signX509);
    server.signJwt = byClock(year, signJwt);
    await have(one);
    await cache.jwt.fetch(one, parseAudiences(["a"]));
    Object.assign(server, { signX509, signJwt });
    await clock.advance(299_000);
    await settle();
    expect(server.batches).toHaveLength(1);
    await clock.advance(1000);
    await settle();
    expect(server.batches).toHaveLength(2);
    expect(cache.x509.get("1")?.notBefore).toBeLessThan(clock.now() / 1000);
    const { issuedAt } = await cache.jwt.fetch(one, parseAudiences(["a"]));
    expect(issuedAt).toBeLessThanOrEqual(clock.now() / 1000);
  });

  it("grows by half with each failure, to a bound", () => {
    expect(retryDelay(1, 100, 1000, () => 1)).toBe(100);
    expect(retryDelay(2, 100, 1000, () => 1)).toBe(150);
    expect(retryDelay(1000, 100, 1000, () => 0)).toBe(500);
  });
});
