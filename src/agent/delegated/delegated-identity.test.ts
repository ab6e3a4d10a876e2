import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { statSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { AgentHarness, first, uid, until } from "../../../test/fakes/agent-harness.ts";
import { FakeAuthority } from "../../../test/fakes/agent-authority.ts";
import { fakeEntry } from "../../../test/fakes/agent-server.ts";
import { systemClock } from "../../clock.ts";
import { readCertificate } from "../../crypto/certificate-reader.ts";
import { parseX509Svid } from "../../crypto/x509-svid.ts";
import { DelegatedIdentity } from "../../proto/gen/spire/api/agent/delegatedidentity/v1/delegatedidentity_pb.ts";
import type { SubscribeToX509SVIDsResponse } from "../../proto/gen/spire/api/agent/delegatedidentity/v1/delegatedidentity_pb.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import { spiffeIdText } from "../../wire/spiffe-id.ts";

const delegate = parseSpiffeId("spiffe://example.org/delegate");
const web = parseSpiffeId("spiffe://example.org/web");
const db = parseSpiffeId("spiffe://example.org/db");
const selectors = [{ type: "k8s", value: "sa:web" }];
/** Which user a child may be run as only root decides. */
const OTHER_UID = uid === 0 ? 54_321 : uid;

let harness: AgentHarness;
let child: ChildProcess | undefined;
beforeEach(async () => {
  harness = await AgentHarness.create();
  harness.server.put(fakeEntry(delegate, uid, { id: "delegate", createdAt: 1 }));
});
afterEach(async () => {
  child?.kill("SIGKILL");
  child = undefined;
  await harness[Symbol.asyncDispose]();
});

async function start(authorizedDelegates = [delegate]) {
  await harness.startReady({ authorizedDelegates });
  return harness.client("a.sock").service(DelegatedIdentity);
}

async function otherProcess(): Promise<number> {
  child = spawn("sleep", ["60"], uid === 0 ? { uid: OTHER_UID } : {});
  await once(child, "spawn");
  return child.pid ?? 0;
}

function idsOf({ x509Svids }: SubscribeToX509SVIDsResponse): readonly string[] {
  return x509Svids.map(({ x509Svid }) => spiffeIdText(x509Svid?.id, "id"));
}

describe("a delegate", () => {
  it("gets the X509-SVIDs of the workload that it describes, with keys, hints and federated trust domains", async () => {
    const foreign = await FakeAuthority.create(parseTrustDomain("other.org"), systemClock);
    harness.server.federated.set(foreign.trustDomain, foreign.bundle());
    harness.server.put(
      fakeEntry(web, 0, { selectors, hint: "web", federatesWith: [foreign.trustDomain], createdAt: 2 }),
    );
    const api = await start();
    const message = await first(api.subscribeToX509SVIDs({ selectors }));
    expect(message.federatesWith).toEqual(["spiffe://other.org"]);
    const [svid] = message.x509Svids;
    expect(svid?.x509Svid).toMatchObject({ hint: "web", id: { trustDomain: "example.org", path: "/web" } });
    const [leaf] = svid?.x509Svid?.certChain ?? [];
    const facts = parseX509Svid(readCertificate(leaf ?? new Uint8Array()));
    expect(facts.spiffeId).toBe(web);
    expect(svid?.x509Svid?.expiresAt).toBe(BigInt(facts.notAfter));
    expect(svid?.x509SvidKey.length).toBeGreaterThan(50);
  });

  it("gets those of the process that it names, as attested by the agent", async () => {
    harness.server.put(fakeEntry(web, OTHER_UID, { id: "web", createdAt: 2 }));
    const api = await start();
    expect(idsOf(await first(api.subscribeToX509SVIDs({ pid: await otherProcess() })))).toContain(web);
  });

  it("is told the whole state again after each change, and of nobody before there is an entry", async () => {
    const api = await start();
    const seen: (readonly string[])[] = [];
    const stop = new AbortController();
    const reading = (async () => {
      for await (const message of api.subscribeToX509SVIDs({ selectors }, { signal: stop.signal })) {
        seen.push(idsOf(message));
      }
    })();
    await until(() => seen.length === 1);
    harness.server.put(fakeEntry(web, 0, { id: "web", selectors, createdAt: 2 }));
    await until(() => seen.at(-1)?.length === 1);
    harness.server.put(fakeEntry(db, 0, { id: "db", selectors, createdAt: 3 }));
    await until(() => seen.at(-1)?.length === 2);
    harness.server.remove("web");
    await until(() => seen.at(-1)?.[0] === db);
    expect(seen).toEqual([[], [web], [web, db], [db]]);
    stop.abort();
    await expect(reading).rejects.toThrowCode("CANCELLED");
  });

  it("gets nothing that an admin or downstream entry gives, as X509-SVID or JWT-SVID", async () => {
    harness.server.put(fakeEntry(web, 0, { id: "a", selectors, admin: true, hint: "x", createdAt: 2 }));
    harness.server.put(fakeEntry(web, 0, { id: "d", selectors, downstream: true, createdAt: 3 }));
    const api = await start();
    expect(idsOf(await first(api.subscribeToX509SVIDs({ selectors })))).toEqual([]);
    await expect(api.fetchJWTSVIDs({ audience: ["a"], selectors })).rejects.toThrowCode(
      "NO_IDENTITY_ISSUED",
      /^no identity issued/,
    );
    // Nor does it hide a hint from the entry that may leave.
    harness.server.put(fakeEntry(db, 0, { id: "n", selectors, hint: "x", createdAt: 4 }));
    await until(async () => idsOf(await first(api.subscribeToX509SVIDs({ selectors }))).length > 0);
    expect(idsOf(await first(api.subscribeToX509SVIDs({ selectors })))).toEqual([db]);
    const { svids } = await api.fetchJWTSVIDs({ audience: ["a"], selectors });
    expect(svids.map(({ id, hint }) => [id?.path, hint])).toEqual([["/db", "x"]]);
  });

  it("sees each hint once, that of the oldest entry", async () => {
    harness.server.put(fakeEntry(web, 0, { id: "1", selectors, hint: "x", createdAt: 9 }));
    harness.server.put(fakeEntry(db, 0, { id: "2", selectors, hint: "x", createdAt: 5 }));
    const api = await start();
    expect(idsOf(await first(api.subscribeToX509SVIDs({ selectors })))).toEqual([db]);
    expect((await api.fetchJWTSVIDs({ audience: ["a"], selectors })).svids).toHaveLength(1);
  });

  it("gets JWT-SVIDs with their times", async () => {
    harness.server.put(fakeEntry(web, 0, { selectors, createdAt: 2 }));
    const api = await start();
    const { svids } = await api.fetchJWTSVIDs({ audience: ["one", "two"], selectors });
    expect(svids).toHaveLength(1);
    const [, payload = ""] = svids[0]?.token.split(".") ?? [];
    const claims = JSON.parse(Buffer.from(payload, "base64url").toString()) as Record<string, unknown>;
    expect(claims).toMatchObject({ sub: web, aud: ["one", "two"], exp: Number(svids[0]?.expiresAt) });
    await expect(api.fetchJWTSVIDs({ selectors })).rejects.toThrowCode(
      "INVALID_REQUEST",
      "audience must be specified",
    );
  });

  it("gets the bundles of every trust domain that the agent knows, and hears of another", async () => {
    const other = await FakeAuthority.create(parseTrustDomain("other.org"), systemClock);
    const third = await FakeAuthority.create(parseTrustDomain("third.org"), systemClock);
    harness.server.federated.set(other.trustDomain, other.bundle());
    const api = await start();
    const { bundles } = await first(api.subscribeToJWTBundles({}));
    expect(Object.keys(bundles)).toEqual(["spiffe://example.org", "spiffe://other.org"]);
    const keys = JSON.parse(Buffer.from(bundles["spiffe://other.org"] ?? []).toString()) as object;
    expect(keys).toMatchObject({ keys: [{ kid: other.keyId, kty: "EC" }] });
    const seen: string[][] = [];
    const stop = new AbortController();
    const reading = (async () => {
      for await (const message of api.subscribeToX509Bundles({}, { signal: stop.signal })) {
        seen.push(Object.keys(message.caCertificates));
        expect(
          readCertificate(message.caCertificates["spiffe://example.org"] ?? new Uint8Array()),
        ).toBeDefined();
      }
    })();
    await until(() => seen.length === 1);
    const { x509Authorities } = third.bundle();
    harness.server.push({
      federatedBundles: [
        {
          trustDomain: "third.org",
          x509Authorities: x509Authorities.map(({ certificate }) => ({ asn1: certificate })),
        },
      ],
    });
    await until(() => seen.length === 2);
    expect(seen).toEqual([
      ["spiffe://example.org", "spiffe://other.org"],
      ["spiffe://example.org", "spiffe://other.org", "spiffe://third.org"],
    ]);
    stop.abort();
    await expect(reading).rejects.toThrowCode("CANCELLED");
  });

  it.each<[string, object, string, RegExp]>([
    ["neither selectors nor a pid", {}, "INVALID_REQUEST", /either selectors or a pid/],
    ["both", { selectors, pid: 1 }, "INVALID_REQUEST", /either selectors or a pid/],
    ["a selector without type", { selectors: [{ type: "", value: "a" }] }, "INVALID_REQUEST", /selector/],
    ["a selector without value", { selectors: [{ type: "a", value: "" }] }, "INVALID_REQUEST", /selector/],
    ["a colon in a type", { selectors: [{ type: "a:b", value: "c" }] }, "INVALID_REQUEST", /selector/],
    ["a negative pid", { pid: -1 }, "WORKLOAD_REFERENCE_INVALID", /positive/],
    ["a pid that no process has", { pid: 2 ** 31 - 1 }, "WORKLOAD_NOT_FOUND", /no process/],
  ])("may not ask with %s", async (_, request, code, detail) => {
    const api = await start();
    await expect(first(api.subscribeToX509SVIDs(request))).rejects.toThrowCode(code as never, detail);
    await expect(api.fetchJWTSVIDs({ audience: ["a"], ...request })).rejects.toThrowCode(
      code as never,
      detail,
    );
  });

  it("is told when the process that it named has ended", async () => {
    harness.server.put(fakeEntry(web, OTHER_UID, { id: "web", createdAt: 2 }));
    const api = await start();
    const stream = api.subscribeToX509SVIDs({ pid: await otherProcess() });
    expect((await stream.next()).done).toBe(false);
    const next = expect(stream.next()).rejects.toThrowCode("WORKLOAD_NOT_FOUND", /has ended/);
    child?.kill("SIGKILL");
    await next;
  });

  it("loses its streams with its own identity", async () => {
    harness.server.put(fakeEntry(web, 0, { id: "web", selectors, createdAt: 2 }));
    const api = await start();
    const svids = api.subscribeToX509SVIDs({ selectors });
    const bundles = api.subscribeToX509Bundles({});
    await Promise.all([svids.next(), bundles.next()]);
    const both = Promise.all([
      expect(svids.next()).rejects.toThrowCode("NO_IDENTITY_ISSUED"),
      expect(bundles.next()).rejects.toThrowCode("NO_IDENTITY_ISSUED"),
    ]);
    harness.server.remove("delegate");
    await both;
  });

  it("is named beside the workload in the record of each SVID handed over", async () => {
    harness.server.put(fakeEntry(web, 0, { id: "web", selectors, createdAt: 2 }));
    const api = await start();
    await first(api.subscribeToX509SVIDs({ selectors }));
    await api.fetchJWTSVIDs({ audience: ["a"], selectors });
    const delivered = harness.audit().filter(({ event }) => /^svid\..*\.delivered$/.test(String(event)));
    expect(delivered).toHaveLength(2);
    for (const record of delivered) {
      expect(record).toMatchObject({
        caller_id: delegate,
        caller_uid: uid,
        caller_pid: process.pid,
        spiffe_id: web,
        selectors: ["k8s:sa:web"],
        reference: "selectors k8s:sa:web",
      });
    }
  });
});

describe("whoever is no delegate", () => {
  it.each([
    ["where none is configured", []],
    ["where another is", [web]],
  ])("is denied everything %s", async (_, authorized) => {
    const api = await start(authorized);
    const denied = /^caller not configured as an authorized delegate/;
    const asked: readonly Promise<unknown>[] = [
      first(api.subscribeToX509SVIDs({ selectors })),
      first(api.subscribeToX509Bundles({})),
      api.fetchJWTSVIDs({ audience: ["a"], selectors }),
      first(api.subscribeToJWTBundles({})),
      // Nor is it told whether a process exists.
      first(api.subscribeToX509SVIDs({ pid: 2 ** 31 - 1 })),
    ];
    await Promise.all(
      asked.map((answer) => expect(answer).rejects.toThrowCode("AUTHORIZATION_DENIED", denied)),
    );
  });

  it("is denied without an identity of its own", async () => {
    harness.server.remove("delegate");
    const api = await start();
    await expect(first(api.subscribeToX509SVIDs({ selectors }))).rejects.toThrowCode("NO_IDENTITY_ISSUED");
  });

  it("is told Unavailable until the agent has heard from its server", async () => {
    await harness.server.stop();
    await harness.start({ authorizedDelegates: [delegate] });
    const api = harness.client("a.sock").service(DelegatedIdentity);
    await expect(first(api.subscribeToX509SVIDs({ selectors }))).rejects.toMatchObject({
      status: "UNAVAILABLE",
    });
  });
});

describe("the admin socket", () => {
  it("is open to its own user only, unless told", async () => {
    await start();
    expect(statSync(harness.path("a.sock")).mode & 0o777).toBe(0o600);
  });

  it("takes no request of more than a MiB, before it is known whose it is", async () => {
    const api = await start([]);
    const large = [{ type: "a", value: "b".repeat(1024 * 1024) }];
    await expect(api.fetchJWTSVIDs({ audience: ["a"], selectors: large })).rejects.toMatchObject({
      status: "RESOURCE_EXHAUSTED",
    });
  });

  it("is opened as far as it is told to be", async () => {
    await harness.startReady({ adminSocketMode: 0o666 });
    expect(statSync(harness.path("a.sock")).mode & 0o777).toBe(0o666);
  });
});
