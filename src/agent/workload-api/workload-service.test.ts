import { beforeEach, describe, expect, it } from "vitest";
import { FakeAuthority } from "../../../test/fakes/agent-authority.ts";
import { makeAgentCache, settle } from "../../../test/fakes/agent-cache.ts";
import { completeUpdate, FakeServerApi } from "../../../test/fakes/agent-server-api.ts";
import { fakeEntry } from "../../../test/fakes/agent-server.ts";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { WorkloadRecorder } from "../../issuance/workload/issuance-record.ts";
import type { AuditRecord } from "../../observe/audit-record.ts";
import type { Selector } from "../../spiffe/selector.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import type { AgentCache } from "../cache/agent-cache.ts";
import type { WorkloadCall } from "./workload-call.ts";
import { WorkloadService } from "./workload-service.ts";

const web = parseSpiffeId("spiffe://example.org/web");
const db = parseSpiffeId("spiffe://example.org/db");
const one = fakeEntry(web, 1, { id: "1", createdAt: 1 });
const two = fakeEntry(db, 1, { id: "2", createdAt: 2 });

let clock: FakeClock;
let authority: FakeAuthority;
let server: FakeServerApi;
let cache: AgentCache;
let service: WorkloadService;
let records: AuditRecord[];
let alive: boolean;
let attest: () => Promise<readonly Selector[]>;
let stop: AbortController;

beforeEach(async () => {
  clock = new FakeClock();
  authority = await FakeAuthority.create(parseTrustDomain("example.org"), clock);
  server = new FakeServerApi(authority, parseSpiffeId("spiffe://example.org/spire/agent/x/1"));
  records = [];
  alive = true;
  stop = new AbortController();
  attest = async () => [{ type: "unix", value: "uid:1" }];
  cache = makeAgentCache({
    signer: server,
    clock,
    agentId: () => server.agentId,
    maxJwtSvids: 10,
  });
  let ids = 0;
  service = new WorkloadService({
    cache,
    recorder: new WorkloadRecorder({
      append: (added) => records.push(...added),
      newId: () => `id-${ids++}`,
      onDecision: () => undefined,
    }),
    clock,
    attestors: [
      { name: "unix", instance: { attest: () => attest(), [Symbol.asyncDispose]: async () => undefined } },
    ],
    attestationTimeout: 1000,
    agentId: () => undefined,
    newId: () => "request",
    allowUnauthenticatedVerifiers: false,
    allowedForeignJwtClaims: [],
    signingPatience: 5000,
  });
});

function call(): WorkloadCall {
  return {
    caller: { pid: 2 ** 30, uid: 1, gid: 1, isAlive: () => alive },
    method: "test",
    signal: stop.signal,
  };
}

/** Lets time pass until the promise is settled. */
async function inTime<Value>(promise: Promise<Value>): Promise<Value> {
  let settled = false;
  void promise.then(
    () => (settled = true),
    () => (settled = true),
  );
  while (!settled) {
    await settle();
    await clock.advance(500);
  }
  return promise;
}

async function have(...entries: ReturnType<typeof fakeEntry>[]): Promise<void> {
  for (const entry of entries) server.entries.set(entry.id, entry);
  cache.apply(completeUpdate(entries, { bundle: authority.bundle() }));
  await settle();
}

async function idsOf(next: ReturnType<ReturnType<WorkloadService["watchX509Svids"]>["next"]>) {
  const { value } = await next;
  return value.identities.map(({ svid }) => svid.spiffeId);
}

describe("a caller", () => {
  it("that has ended gets nothing, whoever holds its socket", async () => {
    await have(one);
    alive = false;
    await expect(service.watchX509Svids(call()).next()).rejects.toThrowCode("CALLER_NOT_IDENTIFIED");
    await expect(service.fetchJwtSvids(call(), ["a"], "")).rejects.toThrowCode("CALLER_NOT_IDENTIFIED");
    expect(server.jwtCalls).toEqual([]);
    expect(records).toEqual([]);
  });

  it("that ends while it is looked at gets nothing", async () => {
    await have(one);
    attest = async () => {
      alive = false;
      return [{ type: "unix", value: "uid:1" }];
    };
    await expect(service.watchX509Svids(call()).next()).rejects.toThrowCode("CALLER_NOT_IDENTIFIED");
  });

  it("that ends while its stream is open gets nothing more", async () => {
    await have(one);
    const stream = service.watchX509Svids(call());
    expect(await idsOf(stream.next())).toEqual([web]);
    alive = false;
    const next = stream.next();
    next.catch(() => undefined);
    await have(one, two);
    await expect(next).rejects.toThrowCode("CALLER_NOT_IDENTIFIED");
  });

  it("whose attestors all fail hears of trouble, in constant words, and not that it has no identity", async () => {
    await have(one);
    attest = async () => {
      throw new AssayError("FILE_UNAVAILABLE", "secret detail");
    };
    await expect(service.watchX509Svids(call()).next()).rejects.toThrowCode("WORKLOAD_ATTESTATION_FAILED");
    expect(records).toMatchObject([{ event: "svid.denied", outcome: "failed" }]);
  });

  it("hears that the agent is not ready before anything is known", async () => {
    await expect(service.watchX509Svids(call()).next()).rejects.toThrowCode("NOT_READY");
    await expect(service.fetchJwtSvids(call(), ["a"], "")).rejects.toThrowCode("NOT_READY");
    await expect(service.validateJwtSvid(call(), "a", "x")).rejects.toThrowCode("NOT_READY");
  });
});

describe("the stream of X509-SVIDs", () => {
  it("waits with its first message until every SVID is there", async () => {
    server.unsignable.add("2");
    await have(one, two);
    const first = service.watchX509Svids(call()).next();
    await settle();
    server.unsignable.clear();
    expect(await idsOf(inTime(first))).toEqual([web, db]);
  });

  it("does without an SVID that cannot be signed after a while, but not without the default one", async () => {
    server.unsignable.add("2");
    await have(one, two);
    const first = service.watchX509Svids(call()).next();
    expect(await idsOf(inTime(first))).toEqual([web]);

    server.unsignable.clear();
    server.unsignable.add("1");
    const changed = { ...one, revision: 1, spiffeId: parseSpiffeId("spiffe://example.org/web2") };
    await have(changed, two);
    const next = inTime(service.watchX509Svids(call()).next());
    await expect(next).rejects.toThrowCode("SERVER_UNAVAILABLE");
  });

  it("says nothing twice", async () => {
    await have(one);
    const stream = service.watchX509Svids(call());
    await stream.next();
    let more = false;
    void stream.next().then(
      () => (more = true),
      () => undefined,
    );
    cache.bell.ring();
    await have(one, fakeEntry(db, 99, { id: "other" }));
    expect(more).toBe(false);
    stop.abort(new AssayError("CANCELLED", "gone"));
  });

  it("records what is new in each message and nothing else", async () => {
    await have(one);
    const stream = service.watchX509Svids(call());
    await stream.next();
    await have(one, two);
    await stream.next();
    expect(records.map(({ entry_id }) => entry_id)).toEqual(["1", "2"]);
    expect(new Set(records.map(({ decision_id }) => decision_id)).size).toBe(2);
  });

  it("takes an identity away at once, without waiting for others that are still being signed", async () => {
    await have(one, two);
    const stream = service.watchX509Svids(call());
    await stream.next();
    server.unsignable.add("3");
    const three = fakeEntry(parseSpiffeId("spiffe://example.org/three"), 1, { id: "3", createdAt: 3 });
    server.entries.set("3", three);
    cache.apply({ ...completeUpdate([three]), complete: false, deleted: ["1"] });
    expect(await idsOf(stream.next())).toEqual([db]);
  });

  it("ends when the caller's last entry expires", async () => {
    await have({ ...one, expiresAt: clock.now() / 1000 + 60 });
    const stream = service.watchX509Svids(call());
    await stream.next();
    const next = stream.next();
    next.catch(() => undefined);
    await clock.advance(60_000);
    await settle();
    await expect(next).rejects.toThrowCode("NO_IDENTITY_ISSUED");
  });

  it("ends for the reason that its call ends for", async () => {
    await have(one);
    const stream = service.watchX509Svids(call());
    await stream.next();
    const next = stream.next();
    next.catch(() => undefined);
    stop.abort(new AssayError("SHUTTING_DOWN", "shutting down"));
    await expect(next).rejects.toThrowCode("SHUTTING_DOWN");
  });

  it("signs on demand for entries without prefetch", async () => {
    await have({ ...one, disableX509SvidPrefetch: true });
    expect(server.batches).toEqual([]);
    expect(await idsOf(service.watchX509Svids(call()).next())).toEqual([web]);
  });
});

describe("JWT-SVIDs", () => {
  it.each<[string, object]>([
    ["its selectors", { selectors: [{ type: "unix", value: "uid:2" }] }],
    ["its end", { expiresAt: 1 }],
  ])("are not handed over where the entry has changed %s while they were signed", async (_, change) => {
    await have(one, two);
    const signJwt = server.signJwt.bind(server);
    const gate = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    server.signJwt = async (...order) => {
      asked.resolve();
      await gate.promise;
      return signJwt(...order);
    };
    const fetched = service.fetchJwtSvids(call(), ["a"], "");
    await asked.promise;
    cache.apply({ ...completeUpdate([{ ...one, revision: one.revision + 1, ...change }]), complete: false });
    gate.resolve();
    await expect(fetched).rejects.toThrowCode("NOT_READY");
    expect(records).toEqual([]);
    const [identity, ...others] = await service.fetchJwtSvids(call(), ["a"], "");
    expect([identity?.svid.spiffeId, others]).toEqual([db, []]);
  });
});

describe("the stream of WIT-SVIDs", () => {
  it("has the identity asked for, though an older one of the caller's has its hint", async () => {
    await have({ ...one, hint: "h" }, { ...two, hint: "h" });
    const { value } = await inTime(service.watchWitSvids(call(), db).next());
    expect(value.identities.map(({ svid }) => svid.spiffeId)).toEqual([db]);
  });
});
