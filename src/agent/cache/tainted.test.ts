import { beforeEach, describe, expect, it } from "vitest";
import { FakeAuthority } from "../../../test/fakes/agent-authority.ts";
import { makeAgentCache, settle } from "../../../test/fakes/agent-cache.ts";
import { completeUpdate, FakeServerApi } from "../../../test/fakes/agent-server-api.ts";
import { fakeEntry } from "../../../test/fakes/agent-server.ts";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { parseAudiences } from "../../spiffe/audience.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import type { AgentCache } from "./agent-cache.ts";

const trustDomain = parseTrustDomain("example.org");
const web = parseSpiffeId("spiffe://example.org/web");
const db = parseSpiffeId("spiffe://example.org/db");

let clock: FakeClock;
let authority: FakeAuthority;
let server: FakeServerApi;
let cache: AgentCache;

beforeEach(async () => {
  clock = new FakeClock();
  authority = await FakeAuthority.create(trustDomain, clock);
  server = new FakeServerApi(authority, parseSpiffeId("spiffe://example.org/spire/agent/x/1"));
  cache = makeAgentCache({ signer: server, clock });
});

async function have(...entries: ReturnType<typeof fakeEntry>[]): Promise<void> {
  for (const entry of entries) server.entries.set(entry.id, entry);
  cache.apply(completeUpdate(entries, { bundle: authority.bundle() }));
  await settle();
}

const one = fakeEntry(web, 1, { id: "1" });

describe("SVIDs of an authority that is not to sign any more", () => {
  const tainted = () => {
    const bundle = authority.bundle(2n, true);
    const marked = <Key extends { readonly tainted: boolean }>(keys: readonly Key[]) =>
      keys.map((key) => ({ ...key, tainted: true }));
    return {
      ...bundle,
      jwtAuthorities: marked(bundle.jwtAuthorities),
      witAuthorities: marked(bundle.witAuthorities),
    };
  };
  /** The authority that takes over; its bundle names the old one too. */
  const successor = async () => {
    const old = tainted();
    authority = await FakeAuthority.create(trustDomain, clock);
    const own = authority.bundle(3n);
    server.signBy(authority);
    return {
      ...own,
      x509Authorities: [...old.x509Authorities, ...own.x509Authorities],
      jwtAuthorities: [...old.jwtAuthorities, ...own.jwtAuthorities],
      witAuthorities: [...old.witAuthorities, ...own.witAuthorities],
    };
  };
  const hear = (bundle: SpiffeBundle) => cache.apply({ ...completeUpdate([]), complete: false, bundle });
  const many = (count: number, from = 0) =>
    Array.from({ length: count }, (_, i) => fakeEntry(web, 1, { id: `many ${from + i}` }));

  it("are replaced a hundred every five seconds, the first within five seconds, and are served until then", async () => {
    await have(...many(250));
    const before = new Map(many(250).map(({ id }) => [id, cache.x509.get(id)?.serial]));
    const isReplaced = ({ id }: { id: string }) => cache.x509.get(id)?.serial !== before.get(id);
    server.batches.length = 0;
    hear(await successor());
    await settle();
    expect(server.batches).toEqual([]);
    for (const [seconds, replaced] of [
      [2.5, 100],
      [4.9, 100],
      [0.1, 200],
      [5, 250],
      [600, 250],
    ] as const) {
      await clock.advance(seconds * 1000);
      await settle();
      expect(many(250).filter(isReplaced)).toHaveLength(replaced);
      expect(many(250).every(({ id }) => cache.x509.get(id) !== undefined)).toBe(true);
    }
    expect(server.batches.map(({ length }) => length)).toEqual([100, 100, 50]);
  });

  it("are replaced no faster where the bundle changes again and again meanwhile", async () => {
    await have(...many(250));
    server.batches.length = 0;
    const next = await successor();
    for (let turn = 0; turn < 50; turn++) {
      const [first, ...rest] = next.jwtAuthorities;
      hear({ ...next, jwtAuthorities: turn % 2 === 0 || !first ? next.jwtAuthorities : [...rest, first] });
      await clock.advance(90);
      await settle();
    }
    expect(server.batches.flat()).toHaveLength(100);
    await clock.advance(10_000);
    await settle();
    expect(server.batches.map(({ length }) => length)).toEqual([100, 100, 50]);
  });

  it("are all replaced at once where their authority is gone, as nobody believes in them", async () => {
    await have(...many(250));
    server.batches.length = 0;
    const next = await successor();
    hear(next);
    hear(authority.bundle(4n));
    await settle();
    expect(server.batches.flat()).toHaveLength(250);
    await clock.advance(60_000);
    await settle();
    expect(server.batches.flat()).toHaveLength(250);
  });

  it("do not hold up what an entry asks for that is new", async () => {
    await have(...many(250));
    hear(await successor());
    await clock.advance(1000);
    server.batches.length = 0;
    server.entries.set("1", one);
    cache.apply({ ...completeUpdate([one]), complete: false });
    await settle();
    expect(server.batches).toEqual([["1"]]);
  });

  it("are forgotten where nobody would get a new one", async () => {
    const idle = fakeEntry(db, 1, { id: "idle", disableX509SvidPrefetch: true });
    await have(one, idle);
    cache.x509.want("idle")[Symbol.dispose]();
    await settle();
    expect(cache.x509.get("idle")).toBeDefined();
    server.batches.length = 0;
    hear(await successor());
    expect(cache.x509.get("idle")).toBeUndefined();
    await clock.advance(60_000);
    await settle();
    expect(server.batches).toEqual([["1"]]);
  });

  it("are not asked for again and again where the server goes on to sign by it", async () => {
    await have(one);
    hear(tainted());
    await clock.advance(60_000);
    await settle();
    expect(server.batches).toEqual([["1"], ["1"]]);
  });

  it("are replaced where they were still being signed when that was heard", async () => {
    const signX509 = server.signX509.bind(server);
    const gate = Promise.withResolvers<void>();
    server.signX509 = async (requests) => {
      const signed = await signX509(requests);
      await gate.promise;
      return signed;
    };
    await have(one);
    hear(tainted());
    gate.resolve();
    await settle();
    await clock.advance(2500);
    await settle();
    expect(server.batches).toEqual([["1"], ["1"]]);
  });

  it("are not taken over from an earlier run: JWT-SVIDs", async () => {
    await have(one);
    await cache.jwt.fetch(one, parseAudiences(["a"]));
    const kept = cache.jwt.snapshot();
    cache = makeAgentCache({ signer: server, clock });
    await have(one);
    hear(tainted());
    cache.jwt.restore(kept);
    expect(cache.jwt.size).toBe(0);
    hear(authority.bundle(3n));
    cache.jwt.restore(kept);
    expect(cache.jwt.size).toBe(1);
  });

  it("are not kept where they were still being signed when that was heard: JWT-SVIDs", async () => {
    await have(one);
    const signJwt = server.signJwt.bind(server);
    const gate = Promise.withResolvers<void>();
    server.signJwt = async (...order) => {
      const signed = await signJwt(...order);
      await gate.promise;
      return signed;
    };
    const fetched = cache.jwt.fetch(one, parseAudiences(["a"]));
    cache.apply({ ...completeUpdate([]), complete: false, bundle: tainted() });
    gate.resolve();
    expect((await fetched).spiffeId).toBe(web);
    expect(cache.jwt.size).toBe(0);
  });

  it("are replaced where its mark was never heard of, only that it is gone", async () => {
    await have(one);
    const next = await FakeAuthority.create(trustDomain, clock);
    cache.apply({ ...completeUpdate([]), complete: false, bundle: next.bundle(3n) });
    await settle();
    expect(server.batches).toEqual([["1"], ["1"]]);
  });
});
