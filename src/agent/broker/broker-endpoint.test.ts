import { type ChildProcess, spawn } from "node:child_process";
import { createPrivateKey, createPublicKey, generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { existsSync, readdirSync, rmSync, statSync } from "node:fs";
import { createConnection, createServer } from "node:net";
import { connect as connectTls } from "node:tls";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FakeAuthority } from "../../../test/fakes/agent-authority.ts";
import { AgentHarness, uid, until } from "../../../test/fakes/agent-harness.ts";
import { fakeEntry } from "../../../test/fakes/agent-server.ts";
import {
  BROKER_CALLS,
  BrokerClient,
  type BrokerIdentity,
  objectReference,
  pidReference,
} from "../../../test/fakes/broker-client.ts";
import { systemClock } from "../../clock.ts";
import { readCertificate } from "../../crypto/certificate-reader.ts";
import { parseX509Svid } from "../../crypto/x509-svid.ts";
import { parseSpiffeId, type SpiffeId } from "../../spiffe/id.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import type { BrokerAllowance, BrokerSettings } from "./broker-settings.ts";

const broker = parseSpiffeId("spiffe://example.org/broker");
const web = parseSpiffeId("spiffe://example.org/web");
const db = parseSpiffeId("spiffe://example.org/db");
const OTHER_UID = uid === 0 ? 54_321 : uid;

const PID_ONLY: BrokerAllowance = {
  id: broker,
  references: [{ type: "workload_pid", allowOverTcp: false }],
};

let harness: AgentHarness;
let child: ChildProcess;
let pid: number;
const clients: BrokerClient[] = [];
beforeEach(async () => {
  harness = await AgentHarness.create();
  harness.server.put(fakeEntry(web, OTHER_UID, { id: "web", createdAt: 2 }));
  child = spawn("sleep", ["60"], uid === 0 ? { uid: OTHER_UID } : {});
  await once(child, "spawn");
  pid = child.pid ?? 0;
});
afterEach(async () => {
  for (const client of clients.splice(0)) client[Symbol.dispose]();
  child.kill("SIGKILL");
  await harness[Symbol.asyncDispose]();
});

function settings(changes: Partial<BrokerSettings> = {}): BrokerSettings {
  return {
    addresses: [{ scheme: "unix", path: harness.path("b.sock") }],
    socketMode: 0o660,
    brokers: [PID_ONLY],
    ...changes,
  };
}

async function start(changes: Partial<BrokerSettings> = {}) {
  return harness.startReady({ features: ["broker"], broker: settings(changes) });
}

function identity(id: SpiffeId, authority = harness.authority, ttl = 3600): BrokerIdentity {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const spki = publicKey.export({ format: "der", type: "spki" });
  return { chain: [authority.issueFor(spki, id, ttl)], key: privateKey };
}

async function client(
  who: BrokerIdentity | undefined = identity(broker),
  target: { path: string } | { port: number } = { path: harness.path("b.sock") },
): Promise<BrokerClient> {
  const made = await BrokerClient.connect(target, who);
  clients.push(made);
  return made;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}

describe("the Broker Endpoint", () => {
  it.each([
    ["the profile is off", { features: [] }],
    ["the profile is another", { features: ["wit-svid"] }],
  ] as const)("is not opened where %s", async (_, changes) => {
    await harness.startReady({ ...changes, broker: settings() });
    expect(existsSync(harness.path("b.sock"))).toBe(false);
  });

  it("gives its sockets the mode that is configured", async () => {
    await start();
    expect(statSync(harness.path("b.sock")).mode & 0o777).toBe(0o660);
  });

  it("says which address cannot be listened on", async () => {
    await using busy = createServer().listen(0, "127.0.0.1");
    await once(busy, "listening");
    const { port } = busy.address() as { port: number };
    const addresses = [{ scheme: "tcp", host: "127.0.0.1", port }] as const;
    await expect(start({ addresses })).rejects.toThrowCode("LISTEN_FAILED", `127.0.0.1:${port}`);
  });

  it("shows the agent's own X509-SVID, the newest one at each handshake", async () => {
    harness.server.agentTtl = 4;
    await start();
    const seen = new Set<string>();
    await until(async () => {
      const one = await client();
      const leaf = readCertificate(one.socket.getPeerCertificate().raw);
      expect(parseX509Svid(leaf).spiffeId).toBe("spiffe://example.org/spire/agent/join_token/t");
      seen.add(Buffer.from(leaf.serial).toString("hex"));
      clients.pop();
      one[Symbol.dispose]();
      return seen.size > 1;
    });
  });

  it.each(["TLSv1.2", "TLSv1.3"] as const)("speaks %s and resumes no session", async (version) => {
    await start();
    const who = identity(broker);
    const options = { minVersion: version, maxVersion: version };
    const one = await BrokerClient.connect({ path: harness.path("b.sock") }, who, options);
    clients.push(one);
    let session = one.socket.getSession();
    one.socket.on("session", (later) => (session = later));
    expect((await one.first("subscribeToX509SVID", { reference: pidReference(pid) })).message).toBeDefined();
    expect(one.socket.getProtocol()).toBe(version);
    if (session === undefined) throw new Error("there is no session to try with");
    const two = await BrokerClient.connect({ path: harness.path("b.sock") }, who, { ...options, session });
    clients.push(two);
    expect(two.socket.isSessionReused()).toBe(false);
  });

  it.each<[string, () => Promise<BrokerIdentity | undefined>]>([
    ["no certificate", async () => undefined],
    [
      "an SVID of another authority",
      async () => identity(broker, await FakeAuthority.create(harness.authority.trustDomain, systemClock)),
    ],
    [
      "an SVID of an unknown trust domain",
      async () =>
        identity(
          parseSpiffeId("spiffe://other.org/b"),
          await FakeAuthority.create(parseTrustDomain("other.org"), systemClock),
        ),
    ],
    ["an SVID that has expired", async () => identity(broker, harness.authority, -5)],
  ])("cuts a client that shows %s", async (_, shown) => {
    await start();
    const asked = (async () => {
      const one = await BrokerClient.connect({ path: harness.path("b.sock") }, await shown());
      clients.push(one);
      return one.open("subscribeToX509SVID", { reference: pidReference(pid) }).status;
    })();
    await expect(asked).rejects.toThrow();
  });

  it("cuts whoever speaks no TLS, and an old one", async () => {
    await start();
    const old = connectTls({
      path: harness.path("b.sock"),
      maxVersion: "TLSv1.1",
      minVersion: "TLSv1.1",
      ciphers: "DEFAULT@SECLEVEL=0",
    });
    await expect(once(old, "secureConnect")).rejects.toThrow();
    const plain = createConnection(harness.path("b.sock"));
    plain.on("error", () => undefined);
    plain.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    plain.resume();
    await once(plain, "close");
  });

  it("takes brokers of a trust domain whose bundle the agent has", async () => {
    const foreign = await FakeAuthority.create(parseTrustDomain("other.org"), systemClock);
    const id = parseSpiffeId("spiffe://other.org/broker");
    harness.server.federated.set(foreign.trustDomain, foreign.bundle());
    await start({ brokers: [{ ...PID_ONLY, id }] });
    const one = await client(identity(id, foreign));
    expect((await one.first("subscribeToX509SVID", { reference: pidReference(pid) })).message).toBeDefined();
    // And no longer than it has it.
    const call = one.open("subscribeToX509SVID", { reference: pidReference(pid) });
    await call.next();
    harness.server.push({ deletedFederatedBundles: ["other.org"] });
    expect(await call.status).toMatchObject({ code: 16 });
    expect(await one.open("subscribeToX509SVID", { reference: pidReference(pid) }).status).toMatchObject({
      code: 16,
    });
  });

  it("ends a connection when the SVID that was shown expires", async () => {
    await start();
    const one = await client(identity(broker, harness.authority, 2));
    const call = one.open("subscribeToX509SVID", { reference: pidReference(pid) });
    expect(await call.next()).toBeDefined();
    await once(one.socket, "close");
    await expect(call.status).rejects.toThrow();
  });

  it.each<[string, Record<string, string | string[]>]>([
    ["none", {}],
    ["another value", { "broker.spiffe.io": "false" }],
    ["another case", { "broker.spiffe.io": "True" }],
    ["no value", { "broker.spiffe.io": "" }],
    ["two values", { "broker.spiffe.io": ["true", "true"] }],
    ["that of the Workload API", { "workload.spiffe.io": "true" }],
  ])("refuses a security header of %s before anything else, even from a stranger", async (_, headers) => {
    await start();
    for (const who of [broker, db]) {
      const one = await client(identity(who));
      for (const rpc of BROKER_CALLS) {
        expect(await one.open(rpc, {}, headers).status).toMatchObject({
          code: 3,
          message: expect.stringMatching(/security header/) as string,
        });
      }
    }
  });

  it("denies whoever is not on the list, and writes that down", async () => {
    await start({ brokers: [PID_ONLY] });
    const one = await client(identity(db));
    expect(await one.open("subscribeToX509SVID", { reference: pidReference(pid) }).status).toMatchObject({
      code: 7,
      info: undefined,
    });
    expect(harness.audit().findLast(({ event }) => event === "api.denied")).toMatchObject({
      outcome: "denied",
      caller_id: db,
      method: "spiffe.broker.API/SubscribeToX509SVID",
    });
  });

  it("keeps few connections of those who are not on the list, and its brokers are served all the same", async () => {
    await start();
    const stranger = identity(db);
    await Promise.all(Array.from({ length: 64 }, () => client(stranger)));
    await expect(
      client(stranger).then(
        (late) => late.open("subscribeToX509SVID", { reference: pidReference(pid) }).status,
      ),
    ).rejects.toThrow();
    const one = await client();
    expect((await one.first("subscribeToX509SVID", { reference: pidReference(pid) })).message).toBeDefined();
  });

  it("denies everybody where nobody is on the list", async () => {
    await start({ brokers: [] });
    const one = await client();
    expect(await one.open("subscribeToX509SVID", { reference: pidReference(pid) }).status).toMatchObject({
      code: 7,
    });
  });

  it("is Unavailable until the agent has heard from its server", async () => {
    const first = await start();
    await first[Symbol.asyncDispose]();
    await harness.server.stop();
    // It has its SVID still; what it was told is taken away from it.
    for (const file of readdirSync(harness.path("data"))) {
      if (file.includes("cache")) rmSync(harness.path(`data/${file}`));
    }
    await harness.start({ features: ["broker"], broker: settings() });
    const one = await client();
    expect(await one.open("subscribeToX509SVID", { reference: pidReference(pid) }).status).toMatchObject({
      code: 14,
    });
  });

  it("tells open streams Unavailable when the agent stops", async () => {
    const agent = await start();
    const one = await client();
    const call = one.open("subscribeToX509SVID", { reference: pidReference(pid) });
    await call.next();
    const status = expect(call.status).resolves.toMatchObject({ code: 14 });
    await agent[Symbol.asyncDispose]();
    await status;
  });
});

describe("over TCP", () => {
  it("a reference of a type may be used only where that is allowed", async () => {
    const port = await freePort();
    const addresses = [
      { scheme: "unix", path: harness.path("b.sock") },
      { scheme: "tcp", host: "127.0.0.1", port },
    ] as const;
    await start({
      addresses,
      brokers: [PID_ONLY, { id: db, references: [{ type: "workload_pid", allowOverTcp: true }] }],
    });
    const request = { reference: pidReference(pid) };
    const local = await client();
    expect((await local.first("subscribeToX509SVID", request)).message).toBeDefined();
    const remote = await client(identity(broker), { port });
    for (const rpc of BROKER_CALLS) {
      expect(await remote.open(rpc, request).status).toMatchObject({
        code: 7,
        message: expect.stringMatching(/over TCP/) as string,
      });
    }
    const allowed = await client(identity(db), { port });
    expect((await allowed.first("subscribeToX509SVID", request)).message).toBeDefined();
    expect(harness.audit().findLast(({ caller_id }) => caller_id === db)).toMatchObject({
      event: "svid.x509.delivered",
      caller_address: "127.0.0.1",
      reference: `pid ${pid}`,
    });
  });
});

describe("a broker", () => {
  it("gets what the workload that it names would get", async () => {
    const foreign = await FakeAuthority.create(parseTrustDomain("other.org"), systemClock);
    harness.server.federated.set(foreign.trustDomain, foreign.bundle());
    harness.server.put(
      fakeEntry(db, OTHER_UID, { id: "db", hint: "h", federatesWith: [foreign.trustDomain], createdAt: 3 }),
    );
    await start();
    const one = await client();
    const request = { reference: pidReference(pid) };
    const { message: x509 } = await one.first("subscribeToX509SVID", request);
    expect(x509?.svids.map(({ spiffeId, hint }) => [spiffeId, hint])).toEqual([
      [web, ""],
      [db, "h"],
    ]);
    expect(Object.keys(x509?.federatedBundles ?? {})).toEqual(["spiffe://other.org"]);
    const [svid] = x509?.svids ?? [];
    const leaf = readCertificate(svid?.x509Svid ?? new Uint8Array());
    const key = createPrivateKey({ key: Buffer.from(svid?.x509SvidKey ?? []), format: "der", type: "pkcs8" });
    expect(createPublicKey(key).export({ format: "der", type: "spki" })).toEqual(Buffer.from(leaf.spki));

    const { message: bundles } = await one.first("subscribeToX509Bundles", request);
    expect(Object.keys(bundles?.bundles ?? {})).toEqual(["spiffe://example.org", "spiffe://other.org"]);
    const { message: jwt } = await one.first("fetchJWTSVID", { ...request, audience: ["a"] });
    expect(jwt?.svids.map(({ spiffeId }) => spiffeId)).toEqual([web, db]);
    const { message: wanted } = await one.first("fetchJWTSVID", {
      ...request,
      audience: ["a"],
      spiffeId: db,
    });
    expect(wanted?.svids.map(({ spiffeId }) => spiffeId)).toEqual([db]);
    const { message: keys } = await one.first("subscribeToJWTBundles", request);
    expect(Object.keys(keys?.bundles ?? {})).toEqual(["spiffe://example.org", "spiffe://other.org"]);
  });

  it("is named beside the workload in each record", async () => {
    await start();
    const one = await client();
    await one.first("fetchJWTSVID", { reference: pidReference(pid), audience: ["a"] });
    expect(harness.audit().findLast(({ event }) => event === "svid.jwt.delivered")).toMatchObject({
      caller_id: broker,
      reference: `pid ${pid}`,
      spiffe_id: web,
      audience: ["a"],
    });
    expect(harness.audit().at(-1)).not.toHaveProperty("caller_pid");
  });

  it("gets nothing that an admin or downstream entry gives, by any method", async () => {
    harness.server.put(fakeEntry(web, OTHER_UID, { id: "web", revision: 1, admin: true, createdAt: 2 }));
    harness.server.put(fakeEntry(db, OTHER_UID, { id: "db", downstream: true, createdAt: 3 }));
    await start();
    const one = await client();
    for (const rpc of BROKER_CALLS) {
      const request = {
        reference: pidReference(pid),
        ...(rpc === "fetchJWTSVID" ? { audience: ["a"] } : {}),
      };
      expect(await one.open(rpc, request).status).toEqual({
        code: 7,
        message: expect.stringMatching(/^no identity issued/) as string,
        info: { reason: "WORKLOAD_NOT_ENTITLED", domain: "spiffe.io" },
      });
    }
    expect(harness.audit().at(-1)).toMatchObject({
      event: "svid.denied",
      code: "NO_IDENTITY_ISSUED",
      caller_id: broker,
      reasons: [expect.stringContaining("flagged admin or downstream")],
    });
  });

  it("hears of each change with the whole state, until the process ends", async () => {
    await start();
    const one = await client();
    const call = one.open("subscribeToX509SVID", { reference: pidReference(pid) });
    const ids = async () => (await call.next())?.svids.map(({ spiffeId }) => spiffeId);
    expect(await ids()).toEqual([web]);
    harness.server.put(fakeEntry(db, OTHER_UID, { id: "db", createdAt: 3 }));
    expect(await ids()).toEqual([web, db]);
    child.kill("SIGKILL");
    expect(await call.status).toEqual({
      code: 5,
      message: `process ${pid} has ended`,
      info: { reason: "WORKLOAD_NOT_FOUND", domain: "spiffe.io" },
    });
  });

  it("loses one workload's stream with its last entry, and no other's", async () => {
    harness.server.put(fakeEntry(db, uid, { id: "db", createdAt: 3 }));
    await start();
    const one = await client();
    const lost = one.open("subscribeToX509SVID", { reference: pidReference(pid) });
    const kept = one.open("subscribeToX509SVID", { reference: pidReference(process.pid) });
    await Promise.all([lost.next(), kept.next()]);
    harness.server.remove("web");
    if (uid === OTHER_UID) return;
    expect(await lost.status).toMatchObject({ code: 7, info: { reason: "WORKLOAD_NOT_ENTITLED" } });
    harness.server.put(fakeEntry(web, uid, { id: "web2", createdAt: 4 }));
    expect((await kept.next())?.svids.map(({ spiffeId }) => spiffeId)).toEqual([db, web]);
  });

  it.each<[string, object | undefined, string, number, string | undefined]>([
    ["no reference", undefined, "WORKLOAD_REFERENCE_INVALID", 3, undefined],
    ["an empty one", { reference: undefined }, "WORKLOAD_REFERENCE_INVALID", 3, undefined],
    [
      "a foreign type",
      { reference: { typeUrl: "type.googleapis.com/a.B", value: new Uint8Array() } },
      "WORKLOAD_REFERENCE_INVALID",
      3,
      "known type",
    ],
    ["a pid of 0", pidReference(0), "WORKLOAD_REFERENCE_INVALID", 3, "positive"],
    ["a negative pid", pidReference(-1), "WORKLOAD_REFERENCE_INVALID", 3, "positive"],
    ["a pid that nobody has", pidReference(2 ** 31 - 1), "WORKLOAD_NOT_FOUND", 5, "no process"],
  ])(
    "is told what is wrong with %s, before the audience is looked at",
    async (_, reference, reason, code, text) => {
      await start();
      const one = await client();
      const before = harness.audit().length;
      for (const rpc of BROKER_CALLS) {
        const status = await one.open(rpc, reference === undefined ? {} : { reference }).status;
        expect(status).toMatchObject({ code, info: { reason, domain: "spiffe.io" } });
        if (text !== undefined) expect(status.message).toContain(text);
      }
      const records = harness.audit().slice(before);
      expect(records.map(({ code: written }) => written)).toEqual(code === 5 ? Array(4).fill(reason) : []);
    },
  );

  it("may use only the ways of naming that it is allowed", async () => {
    await start();
    const one = await client();
    const request = { reference: objectReference({ type: { plural: "pods", group: "core" }, uid: "u" }) };
    expect(await one.open("subscribeToX509SVID", request).status).toMatchObject({
      code: 7,
      message: expect.stringMatching(/kubernetes_object/) as string,
    });
  });

  it("is told that an object cannot be looked up where no attestor can", async () => {
    await start({
      brokers: [{ id: broker, references: [{ type: "kubernetes_object", allowOverTcp: false }] }],
    });
    const one = await client();
    const request = { reference: objectReference({ type: { plural: "pods", group: "core" }, uid: "u" }) };
    expect(await one.open("subscribeToX509SVID", request).status).toMatchObject({
      code: 3,
      message: expect.stringMatching(/no attestor/) as string,
      info: { reason: "WORKLOAD_REFERENCE_INVALID" },
    });
  });

  it("must name an audience", async () => {
    await start();
    const one = await client();
    expect(await one.open("fetchJWTSVID", { reference: pidReference(pid) }).status).toMatchObject({
      code: 3,
      info: undefined,
    });
  });
});
