import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { RevocationWorld, type RevocationServer, WORLD } from "../../../test/fakes/revocation-world.ts";
import { sampleTask } from "../../../test/fakes/task.ts";
import { unixSeconds } from "../../clock.ts";
import { readCertificate } from "../../crypto/certificate-reader.ts";
import { isCrlOf, readCrl } from "../../crypto/crl.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { openTasks } from "../../tasks/open-tasks.ts";
import { openPublisher } from "./publisher.ts";

const MINUTE = 60_000;

let world: RevocationWorld;
let server: RevocationServer;

beforeEach(async () => {
  world = new RevocationWorld();
  server = await world.server();
});

afterEach(() => world[Symbol.asyncDispose]());

async function listOf(authorityId = server.authorityId) {
  const list = (await world.lists()).get(authorityId);
  if (list === undefined) throw new Error(`authority ${authorityId} has no list`);
  return list;
}

/** Lets rounds happen that wait for nothing but their pause. */
function settled(by = server): Promise<void> {
  return world.passing(by.publisher.settle());
}

describe("the publisher of revocation lists", () => {
  it("signs nothing while nothing is revoked", async () => {
    await settled();
    expect(await world.lists()).toEqual(new Map());
    expect(server.events).toEqual([]);
  });

  it("puts what was revoked on a list that the authority in the bundle signed, before it says so", async () => {
    await server.revoke("0a0b");
    await server.publisher.settle();
    const list = await listOf();
    expect([...list.revoked]).toEqual(["0a0b"]);
    const now = unixSeconds(world.clock);
    expect(list).toMatchObject({ number: 1n, thisUpdate: now - 60, nextUpdate: now + 86_400 });
    const [authority] = server.signing.bundle().x509Authorities;
    expect(isCrlOf(list, readCertificate(authority?.certificate ?? new Uint8Array()))).toBe(true);
    await server.registry.catchUp();
    expect(server.registry.crls(WORLD).map((der) => readCrl(der, "INTERNAL").number)).toEqual([1n]);
  });

  it("signs at once the first time, and once for all that come while it pauses", async () => {
    await server.revoke("01");
    await server.publisher.settle();
    for (let n = 0x10; n < 0x40; n++) await server.revoke(n.toString(16));
    const done = server.publisher.settle();
    await world.clock.advance(99);
    expect((await listOf()).number).toBe(1n);
    await world.clock.advance(1);
    await done;
    expect(await listOf()).toMatchObject({ number: 2n, revoked: { size: 49 } });
    await settled();
    expect((await listOf()).number).toBe(2n);
  });

  it("goes on with the numbers after a restart, and with what was revoked meanwhile", async () => {
    await server.revoke("01");
    await server.publisher.settle();
    const { authorityId } = server;
    await server[Symbol.asyncDispose]();
    const first = await world.store.credentials.get("x509", "01");
    const now = unixSeconds(world.clock);
    await world.store.credentials.revoke({ kind: "x509", id: "02" }, "superseded", now, first);
    server = await world.server();
    await server.publisher.settle();
    expect(server.authorityId).toBe(authorityId);
    expect(await listOf()).toMatchObject({ number: 2n, revoked: new Set(["01", "02"]) });
  });

  it("signs anew at half of a list's life, and names an SVID until a list was signed after its end", async () => {
    await server.revoke("01", { expiresAt: unixSeconds(world.clock) + 40 * 60 });
    await server.publisher.settle();
    await world.clock.advance(29 * MINUTE);
    expect((await listOf()).number).toBe(1n);
    await world.clock.advance(2 * MINUTE);
    expect(await listOf()).toMatchObject({ number: 2n, revoked: { size: 1 } });
    // It has expired by now, and this list says so one last time.
    await world.clock.advance(30 * MINUTE);
    expect(await listOf()).toMatchObject({ number: 3n, revoked: { size: 1 } });
    await world.clock.advance(30 * MINUTE);
    expect(await listOf()).toMatchObject({ number: 4n, revoked: { size: 0 } });
    // And there goes on being one: who has seen a list must never see a stale one.
    await world.clock.advance(180 * MINUTE);
    const list = await listOf();
    expect(list.number).toBeGreaterThan(8n);
    expect(list.nextUpdate).toBeGreaterThan(unixSeconds(world.clock) + 25 * 60);
  });

  it("gives the next authority a list before it signs, and forgets the list of one that left the bundle", async () => {
    await server.revoke("01");
    await server.publisher.settle();
    const first = server.authorityId;
    const next = await server.signing.prepareAuthority("x509");
    await settled();
    expect(await listOf(next.id)).toMatchObject({ number: 1n, revoked: { size: 0 } });
    await server.signing.activateAuthority("x509");
    await server.revoke("02", { authorityId: first });
    await settled();
    expect([...(await listOf(first)).revoked]).toEqual(["01", "02"]);
    await server.signing.taintAuthority("x509", first);
    await server.signing.revokeAuthority("x509", first);
    await settled();
    expect([...(await world.lists()).keys()]).toEqual([next.id]);
  });

  it("signs for its own authorities alone where several servers share a store", async () => {
    const other = await world.server("two");
    await other.revoke("02");
    await server.revoke("01");
    await settled();
    await settled(other);
    expect([...(await listOf(server.authorityId)).revoked]).toEqual(["01"]);
    expect([...(await listOf(other.authorityId)).revoked]).toEqual(["02"]);
    // A server with nothing revoked has a list too as soon as the trust domain has any.
    const third = await world.server("three");
    await settled(third);
    expect((await listOf(third.authorityId)).revoked.size).toBe(0);
    expect(
      server.events.every((event) => "authorityId" in event && event.authorityId === server.authorityId),
    ).toBe(true);
    expect((await listOf(server.authorityId)).number).toBe(1n);
  });

  it("says why, in RFC 5280's words", async () => {
    await server.revocation.revoke({ kind: "x509", id: "0c" }, "lease", {
      authorityId: server.authorityId,
      spiffeId: `spiffe://${WORLD}/x` as never,
      entryId: "",
      taskId: "",
      parent: "",
      issuedAt: 1,
      expiresAt: unixSeconds(world.clock) + 60,
    });
    await server.publisher.settle();
    const [stored] = await world.store.crls.list();
    // CRLReason cessationOfOperation (5) in an ENUMERATED.
    expect(Buffer.from(stored?.crl ?? []).includes(Buffer.from("0603551d1504030a0105", "hex"))).toBe(true);
  });

  it("closes tasks when their SVIDs are on the list, and not before", async () => {
    const now = unixSeconds(world.clock);
    await using tasks = await openTasks({ store: world.store, clock: world.clock });
    let onList: boolean | undefined;
    tasks.onEnding(async () => {
      await server.publisher.settle();
      onList = (await listOf()).revoked.has("0d");
    });
    await tasks.open(sampleTask("a", now), { replayKey: "r", until: now + 600 });
    const origin = { spiffeId: `spiffe://${WORLD}/ci` as never, entryId: "e", taskId: "a", parent: "" };
    const { authorityId } = server;
    const svid = { kind: "x509", id: "0d", authorityId, issuedAt: now, expiresAt: now + 60 } as const;
    await world.store.credentials.record([{ ...svid, ...origin }]);
    await tasks.end("a", "job");
    await expect.poll(async () => (await world.store.tasks.get("a"))?.state).toBe("ended");
    expect(onList).toBe(true);
  });

  it("tells whom it may concern of tokens that are new, and then only", async () => {
    const told: string[][] = [];
    server.publisher.onRevokedTokens((fresh) => void told.push(fresh.map(({ id }) => id)));
    const revokeToken = (id: string, seconds: number, kind: "jwt" | "wit" = "jwt") =>
      server.revocation.revoke({ kind, id }, "operator", {
        authorityId: "kid",
        spiffeId: `spiffe://${WORLD}/x` as never,
        entryId: "",
        taskId: "",
        parent: "",
        issuedAt: 1,
        expiresAt: unixSeconds(world.clock) + seconds,
      });
    await server.revoke("01");
    await server.publisher.settle();
    expect(told).toEqual([]);
    await revokeToken("j", 60);
    await settled();
    await revokeToken("k", 7200);
    await revokeToken("l", 7200);
    await settled();
    expect(told).toEqual([["j"], ["k", "l"]]);
    expect(server.publisher.revokedTokens().map(({ id }) => id)).toEqual(["j", "k", "l"]);
    for (let n = 0; n < 20; n++) await world.clock.advance(MINUTE / 2);
    await settled();
    // What was forgotten is no news: everybody forgets by time.
    expect(server.publisher.revokedTokens().map(({ id }) => id)).toEqual(["k", "l"]);
    expect(told).toHaveLength(2);
    // Of the same id, but good for longer.
    await revokeToken("k", 36_000, "wit");
    await settled();
    expect(told.slice(2)).toEqual([["k"]]);
  });

  it("makes known what it can while the key of one authority fails", async () => {
    const first = server.authorityId;
    await server.revoke("01");
    await settled();
    await server.signing.prepareAuthority("x509");
    await server.signing.activateAuthority("x509");
    await settled();
    await server.publisher[Symbol.asyncDispose]();
    const { signing, registry, revocation } = server;
    const { clock } = world;
    let isBroken = true;
    const failing = {
      authorities: () => signing.authorities(),
      bundle: () => signing.bundle(),
      onBundleChange: (listener: Parameters<typeof signing.onBundleChange>[0]) =>
        signing.onBundleChange(listener),
      async signCrl(order: Parameters<typeof signing.signCrl>[0]) {
        if (isBroken && order.authorityId === first) throw new AssayError("KEY_UNAVAILABLE", "key is gone");
        return signing.signCrl(order);
      },
    };
    await using publisher = await openPublisher({
      trustDomain: WORLD,
      revocation,
      crls: world.store.crls,
      registry,
      signing: failing,
      clock,
      report: () => undefined,
    });
    await server.revoke("02", { authorityId: first });
    await server.revoke("03");
    await server.revocation.revoke({ kind: "jwt", id: "j" }, "operator", {
      authorityId: "kid",
      spiffeId: `spiffe://${WORLD}/x` as never,
      entryId: "",
      taskId: "",
      parent: "",
      issuedAt: 1,
      expiresAt: unixSeconds(clock) + 60,
    });
    await world.passing(expect(publisher.settle()).rejects.toThrowCode("KEY_UNAVAILABLE"));
    expect([...(await listOf()).revoked]).toEqual(["03"]);
    expect(publisher.revokedTokens().map(({ id }) => id)).toEqual(["j"]);
    isBroken = false;
    await world.passing(publisher.settle());
    expect([...(await listOf(first)).revoked]).toEqual(["01", "02"]);
  });

  it("leaves nobody out of the list that follows one of the future, when the clock was set right again", async () => {
    world.clock.step(20 * MINUTE);
    await server.revoke("01", { expiresAt: unixSeconds(world.clock) + 3600 });
    await server.publisher.settle();
    await server[Symbol.asyncDispose]();
    world.clock.step(-20 * MINUTE);
    const now = unixSeconds(world.clock);
    const first = await world.store.credentials.get("x509", "01");
    if (first === undefined) throw new Error("nothing was written down");
    const second = { ...first, expiresAt: now + 150 };
    await world.store.credentials.revoke({ kind: "x509", id: "02" }, "lease", now, second);
    server = await world.server();
    await server.publisher.settle();
    expect(await listOf()).toMatchObject({ number: 2n, revoked: new Set(["01", "02"]) });
  });

  it("tells thousands of agents no more often than every two seconds", async () => {
    server.publisher.onRevokedTokens(
      () => undefined,
      () => 5000,
    );
    await server.revoke("01");
    await server.publisher.settle();
    await server.revoke("02");
    const done = server.publisher.settle();
    await world.clock.advance(1999);
    expect((await listOf()).number).toBe(1n);
    await world.clock.advance(1);
    await done;
    expect([...(await listOf()).revoked]).toEqual(["01", "02"]);
  });

  it("rejects while it cannot sign or write, and goes on by itself", async () => {
    const other = await world.server("two");
    await other.publisher[Symbol.asyncDispose]();
    const { signing, registry, revocation } = other;
    const put = world.store.crls.put.bind(world.store.crls);
    let broken = true;
    const events: string[] = [];
    const crls = {
      list: () => world.store.crls.list(),
      delete: () => Promise.resolve(false),
      put: (list: Parameters<typeof put>[0]) =>
        broken ? Promise.reject(new AssayError("STORE_UNAVAILABLE", "disk is full")) : put(list),
    };
    const { clock } = world;
    const report = ({ event }: { readonly event: string }) => void events.push(event);
    const options = { trustDomain: WORLD, revocation, crls, registry, signing, clock, report };
    await using publisher = await openPublisher(options);
    await other.revoke("01");
    await world.passing(expect(publisher.settle()).rejects.toThrowCode("STORE_UNAVAILABLE"));
    broken = false;
    await world.passing(publisher.settle());
    expect(events[0]).toBe("failed");
    expect(events).toContain("published");
    await publisher[Symbol.asyncDispose]();
    await other.revoke("02");
    await expect(publisher.settle()).rejects.toThrowCode("SHUTTING_DOWN");
  });
});
