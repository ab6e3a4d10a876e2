import { createPrivateKey, createPublicKey } from "node:crypto";
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readCertificate } from "../../../src/crypto/certificate-reader.ts";
import { API } from "../../../src/proto/gen/spiffe/broker/api_pb.ts";
import { type BrokerClient, objectReference, pidReference } from "../../fakes/broker-client.ts";
import { fakePod } from "../../fakes/kubernetes-api.ts";
import { eventually, firstOf, SECURED } from "../world.ts";
import { type BrokerWorld, makeBrokerWorld, RPCS, type Rpc } from "./broker-world.ts";

const WORKLOAD = "spiffe://example.org/workload";
const POD = { plural: "pods", group: "core" };
const KEY = { namespace: "shop", name: "web-1" };

let world: BrokerWorld;
let pid: number;
let one: BrokerClient;
beforeAll(async () => {
  world = await makeBrokerWorld();
  ({ pid } = await world.startWorkload());
  one = await world.client();
  world.cluster.put("pods.core", fakePod({ name: "web-1", uid: "pod-1" }));
  await world.world.createEntry({ path: "/pod", selectors: ["k8s:ns:shop", "k8s:sa:web"] });
  await eventually(
    () => one.first("subscribeToX509SVID", about("subscribeToX509SVID", { type: POD, key: KEY })),
    ({ message }) => message !== undefined,
  );
});
afterAll(() => world?.[Symbol.asyncDispose]());

/** A complete request about an object. */
function about(rpc: Rpc, init: Parameters<typeof objectReference>[0]) {
  return {
    reference: objectReference(init),
    ...(rpc === "fetchJWTSVID" ? { audience: ["somebody"] } : {}),
  };
}

/** What each method answers about a request, as number of the status and reason. */
async function refusals(request: (rpc: Rpc) => object, client = one) {
  const seen = await Promise.all(
    RPCS.map(async (rpc) => {
      const { code, info } = await client.open(rpc, request(rpc)).status;
      return `${code} ${info?.reason ?? ""}`.trim();
    }),
  );
  return [...new Set(seen)].join(", ");
}

const idsOf = (message: { readonly svids: readonly { readonly spiffeId: string }[] } | undefined) =>
  message?.svids.map(({ spiffeId }) => spiffeId);

describe("the API", () => {
  it("BA-01 has the X.509 profile and the JWT profile", async () => {
    for (const rpc of RPCS) {
      expect((await one.first(rpc, world.about(rpc, pid))).message, rpc).toBeDefined();
    }
  });

  it("BA-03 has the calls of the standard, and no other", async () => {
    expect(API.methods.map(({ name, methodKind }) => `${name} ${methodKind}`)).toEqual([
      "SubscribeToX509SVID server_streaming",
      "SubscribeToX509Bundles server_streaming",
      "FetchJWTSVID unary",
      "SubscribeToJWTBundles server_streaming",
    ]);
    for (const name of ["FetchX509SVID", "ValidateJWTSVID", "FetchWITSVID", "SubscribeToWITSVID"]) {
      const call = one.openAny(`/spiffe.broker.API/${name}`, new Uint8Array(), Buffer.from);
      expect(await call.status).toMatchObject({ code: 12 });
    }
  });

  it("BA-05 shares its endpoint with reflection only, a service of its own", async () => {
    const call = one.openAny(
      "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
      Uint8Array.of(0x3a, 0),
      (bytes) => Buffer.from(bytes).toString("latin1"),
    );
    const services = ((await call.next()) ?? "").match(/[a-zA-Z0-9.]+\.[A-Z][A-Za-z]+/g) ?? [];
    expect(new Set(services)).toEqual(
      new Set([
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "spiffe.broker.API",
      ]),
    );
  });
});

describe("references", () => {
  it.each(["BA-06", "BA-07"])(
    "%s: a process is meant for its life, and not whoever has its number next",
    async () => {
      const child = await world.startWorkload();
      const call = one.open("subscribeToX509SVID", world.about("subscribeToX509SVID", child.pid));
      expect(idsOf(await call.next())).toEqual([WORKLOAD]);
      child.kill("SIGKILL");
      await once(child, "exit");
      expect(await call.status).toMatchObject({ code: 5 });
    },
  );

  it.each(["BA-10", "BA-14"])("%s: what exists and what does not are told apart", async () => {
    const child = await world.startWorkload();
    expect((await one.first("fetchJWTSVID", world.about("fetchJWTSVID", child.pid))).message).toBeDefined();
    child.kill("SIGKILL");
    await once(child, "exit");
    expect(await refusals((rpc) => world.about(rpc, child.pid))).toBe("5 WORKLOAD_NOT_FOUND");
    expect(await refusals((rpc) => about(rpc, { type: POD, key: { ...KEY, name: "gone" } }))).toBe(
      "5 WORKLOAD_NOT_FOUND",
    );
  });

  it.each(["BA-12", "BA-29"])("%s: none, and one of an unknown type, are InvalidArgument", async () => {
    const foreign = {
      reference: { typeUrl: "type.googleapis.com/spiffe.broker.Surely_Not", value: Uint8Array.of(8, 1) },
    };
    for (const reference of [undefined, {}, { reference: {} }, foreign]) {
      expect(await refusals(() => ({ reference: reference as never }))).toBe("3 WORKLOAD_REFERENCE_INVALID");
    }
  });

  it.each(["BA-13", "BA-15", "BA-16"])(
    "%s: what a process is, is found out here, as when it asks itself",
    async () => {
      const own = await firstOf(world.world.api.fetchX509SVID({}, SECURED));
      const { message } = await one.first(
        "subscribeToX509SVID",
        world.about("subscribeToX509SVID", process.pid),
      );
      expect(idsOf(message)).toEqual(own.svids.map(({ spiffeId }) => spiffeId));
      // A process without an entry has no identity, whatever a broker would like.
      expect(await refusals((rpc) => world.about(rpc, 1))).toMatch(
        /^(7 WORKLOAD_NOT_ENTITLED|5 WORKLOAD_NOT_FOUND)$/,
      );
      // A reference has no room for claims: fields that it does not have are not read.
      const claim = Buffer.from("\x08" + String.fromCharCode(1) + "\x12\x0funix:uid:000000", "latin1");
      expect(
        await refusals(() => ({
          reference: {
            reference: { typeUrl: "type.googleapis.com/spiffe.broker.WorkloadPIDReference", value: claim },
          },
          audience: ["somebody"],
        })),
      ).toMatch(/^(7 WORKLOAD_NOT_ENTITLED|5 WORKLOAD_NOT_FOUND)$/);
    },
  );

  it("BA-18 keeps references to processes off TCP unless the operator says otherwise", async () => {
    const remote = await world.remote();
    expect(await refusals((rpc) => world.about(rpc, pid), remote)).toBe("7");
    const request = about("subscribeToX509SVID", { type: POD, key: KEY });
    expect(idsOf((await remote.first("subscribeToX509SVID", request)).message)).toEqual([
      "spiffe://example.org/pod",
    ]);
  });

  it("BA-19 refuses a pid that is not positive", async () => {
    for (const bad of [0, -1, -(2 ** 31)]) {
      expect(await refusals((rpc) => ({ ...world.about(rpc, pid), reference: pidReference(bad) }))).toBe(
        "3 WORKLOAD_REFERENCE_INVALID",
      );
    }
  });

  it("BA-21 refuses a type without plural or without group", async () => {
    for (const type of [undefined, { plural: "pods", group: "" }, { plural: "", group: "core" }]) {
      expect(await refusals((rpc) => about(rpc, { ...(type === undefined ? {} : { type }), key: KEY }))).toBe(
        "3 WORKLOAD_REFERENCE_INVALID",
      );
    }
  });

  it("BA-22 wants the core group written as core", async () => {
    expect(await refusals((rpc) => about(rpc, { type: { plural: "pods", group: "" }, key: KEY }))).toBe(
      "3 WORKLOAD_REFERENCE_INVALID",
    );
    expect(
      (await one.first("subscribeToX509SVID", about("subscribeToX509SVID", { type: POD, key: KEY }))).message,
    ).toBeDefined();
  });

  it("BA-23 refuses an object of a namespaced kind without namespace", async () => {
    expect(await refusals((rpc) => about(rpc, { type: POD, key: { namespace: "", name: "web-1" } }))).toBe(
      "3 WORKLOAD_REFERENCE_INVALID",
    );
  });

  it("BA-24 refuses an object of a cluster-wide kind with namespace", async () => {
    world.cluster.put("nodes.core", { metadata: { name: "node-1", uid: "n-1" } });
    const type = { plural: "nodes", group: "core" };
    expect(await refusals((rpc) => about(rpc, { type, key: { namespace: "shop", name: "node-1" } }))).toBe(
      "3 WORKLOAD_REFERENCE_INVALID",
    );
    // Without it the object is found, and has no identity.
    expect(await refusals((rpc) => about(rpc, { type, key: { namespace: "", name: "node-1" } }))).toBe(
      "7 WORKLOAD_NOT_ENTITLED",
    );
  });

  it("BA-25 wants a key with a name, a uid, or both", async () => {
    for (const init of [{ type: POD }, { type: POD, key: { namespace: "shop" } }, { type: POD, key: {} }]) {
      expect(await refusals((rpc) => about(rpc, init))).toBe("3 WORKLOAD_REFERENCE_INVALID");
    }
    for (const init of [
      { type: POD, key: KEY },
      { type: POD, uid: "pod-1" },
      { type: POD, key: KEY, uid: "pod-1" },
    ]) {
      const { message } = await one.first("subscribeToX509SVID", about("subscribeToX509SVID", init));
      expect(idsOf(message)).toEqual(["spiffe://example.org/pod"]);
    }
  });

  it.each(["BA-26", "BA-27"])(
    "%s: key and uid must mean the same object, or there is an error and no SVID",
    async () => {
      world.cluster.put("pods.core", fakePod({ name: "web-2", uid: "pod-2" }));
      for (const uid of ["pod-2", "nobody"]) {
        for (const rpc of RPCS) {
          const call = one.open(rpc, about(rpc, { type: POD, key: KEY, uid }));
          expect(await call.next()).toBeUndefined();
          expect(await call.status).toMatchObject({ code: 5, info: { reason: "WORKLOAD_NOT_FOUND" } });
        }
      }
    },
  );
});

describe("who may ask", () => {
  it("BA-30 is said by a strict list", async () => {
    const stranger = await world.client(world.stranger);
    expect(await refusals((rpc) => world.about(rpc, pid), stranger)).toBe("7");
  });

  it("BA-31 may be said more finely: by type of reference, and by transport", async () => {
    const remote = await world.remote();
    const call = remote.open("subscribeToX509SVID", world.about("subscribeToX509SVID", pid));
    expect((await call.status).message).toContain("over TCP");
  });
});

describe("streams", () => {
  it.each(["BA-36", "BA-37"])(
    "%s: each message is all there is about one workload, and there is one for each change",
    async () => {
      const call = one.open("subscribeToX509SVID", world.about("subscribeToX509SVID", pid));
      const other = one.open("subscribeToX509SVID", about("subscribeToX509SVID", { type: POD, key: KEY }));
      expect(idsOf(await call.next())).toEqual([WORKLOAD]);
      expect(idsOf(await other.next())).toEqual(["spiffe://example.org/pod"]);
      const id = await world.world.createEntry({ path: "/second", selectors: world.world.otherSelectors });
      expect(idsOf(await call.next())).toEqual([WORKLOAD, "spiffe://example.org/second"]);
      await world.world.deleteEntry(id);
      expect(idsOf(await call.next())).toEqual([WORKLOAD]);
      // Nothing was said about the other one, of which nothing has changed.
      const last = await world.world.createEntry({ path: "/pod2", selectors: ["k8s:ns:shop"] });
      expect(idsOf(await other.next())).toEqual(["spiffe://example.org/pod", "spiffe://example.org/pod2"]);
      await world.world.deleteEntry(last);
      expect(idsOf(await other.next())).toEqual(["spiffe://example.org/pod"]);
      call.leave();
      other.leave();
    },
  );

  it.each(["BA-38", "BA-39"])("%s: each stream gets its first message, at once", async () => {
    const started = performance.now();
    for (let i = 0; i < 10; i++) {
      for (const rpc of RPCS) expect((await one.first(rpc, world.about(rpc, pid))).message).toBeDefined();
    }
    expect(performance.now() - started).toBeLessThan(10_000);
  });

  it.each(["BA-51", "BA-52"])("%s: there is nothing for a workload that has ended", async () => {
    const child = await world.startWorkload();
    const calls = (["subscribeToX509SVID", "subscribeToX509Bundles", "subscribeToJWTBundles"] as const).map(
      (rpc) => one.open(rpc, world.about(rpc, child.pid)),
    );
    for (const call of calls) expect(await call.next()).toBeDefined();
    child.kill("SIGKILL");
    for (const call of calls) {
      expect(await call.next()).toBeUndefined();
      expect(await call.status).toMatchObject({ code: 5, info: { reason: "WORKLOAD_NOT_FOUND" } });
    }
    expect(await refusals((rpc) => world.about(rpc, child.pid))).toBe("5 WORKLOAD_NOT_FOUND");
  });
});

describe("requests and errors", () => {
  it.each(["BA-41", "BA-42"])("%s: a field that must be there and is empty is InvalidArgument", async () => {
    const request = { reference: pidReference(pid) };
    expect(await one.open("fetchJWTSVID", request).status).toMatchObject({ code: 3 });
    expect(await one.open("fetchJWTSVID", { ...request, audience: [""] }).status).toMatchObject({ code: 3 });
    for (const rpc of RPCS) expect(await one.open(rpc, {}).status).toMatchObject({ code: 3 });
    // One that may be empty means what it always means.
    const { message } = await one.first("fetchJWTSVID", { ...request, audience: ["a"], spiffeId: "" });
    expect(idsOf(message)).toEqual([WORKLOAD]);
  });

  it("BA-46 looks at the reference before anything else", async () => {
    const before = world.cluster.seen.length;
    // Neither an audience nor a good reference: it is the reference that is complained about, and nobody was asked.
    for (const reference of [pidReference(0), objectReference({ type: POD })]) {
      expect(await one.open("fetchJWTSVID", { reference }).status).toMatchObject({
        info: { reason: "WORKLOAD_REFERENCE_INVALID" },
      });
    }
    expect(world.cluster.seen.length).toBe(before);
  });

  it.each(["BA-47", "BA-61", "BA-68", "BA-79", "BA-86"])(
    "%s: malformed, missing and not entitled have their codes",
    async () => {
      const cases = [
        [() => ({}), "3 WORKLOAD_REFERENCE_INVALID"],
        [(rpc: Rpc) => world.about(rpc, 2 ** 31 - 1), "5 WORKLOAD_NOT_FOUND"],
        [
          (rpc: Rpc) => about(rpc, { type: POD, key: { namespace: "bank", name: "web" } }),
          "7 WORKLOAD_NOT_ENTITLED",
        ],
      ] as const;
      world.cluster.put("pods.core", fakePod({ name: "web", uid: "b-1", namespace: "bank" }));
      for (const [request, expected] of cases) expect(await refusals(request)).toBe(expected);
    },
  );

  it("BA-48 gives the reason as ErrorInfo of spiffe.io", async () => {
    expect((await one.open("subscribeToX509SVID", {}).status).info).toEqual({
      reason: "WORKLOAD_REFERENCE_INVALID",
      domain: "spiffe.io",
    });
  });
});

describe("answers", () => {
  it("BA-56 have one X509-SVID or more, with all their fields", async () => {
    const { message } = await one.first("subscribeToX509SVID", world.about("subscribeToX509SVID", pid));
    expect(message?.svids.length).toBeGreaterThan(0);
    for (const svid of message?.svids ?? []) {
      expect(svid.spiffeId).toBe(WORKLOAD);
      for (const bytes of [svid.x509Svid, svid.x509SvidKey, svid.bundle]) {
        expect(bytes.length).toBeGreaterThan(0);
      }
    }
  });

  it("BA-57 have certificates in DER, the leaf first", async () => {
    const { message } = await one.first("subscribeToX509SVID", world.about("subscribeToX509SVID", pid));
    const [svid] = message?.svids ?? [];
    const leaf = readCertificate(firstDer(svid?.x509Svid ?? new Uint8Array()));
    expect(leaf.subjectAltName?.uris).toEqual([WORKLOAD]);
  });

  it("BA-58 have the leaf's key as unencrypted PKCS#8", async () => {
    const { message } = await one.first("subscribeToX509SVID", world.about("subscribeToX509SVID", pid));
    const [svid] = message?.svids ?? [];
    const key = createPrivateKey({ key: Buffer.from(svid?.x509SvidKey ?? []), format: "der", type: "pkcs8" });
    const leaf = readCertificate(firstDer(svid?.x509Svid ?? new Uint8Array()));
    expect(createPublicKey(key).export({ format: "der", type: "spki" })).toEqual(Buffer.from(leaf.spki));
  });

  it.each(["BA-59", "BA-75", "BA-76", "BA-77"])(
    "%s: several identities are all there, each hint once, that of the oldest entry",
    async () => {
      const selectors = world.world.otherSelectors;
      const ids = [await world.world.createEntry({ path: "/h1", selectors, hint: "h" })];
      // Entries are as old as the second in which they were made.
      await new Promise((resolve) => setTimeout(resolve, 1100));
      ids.push(await world.world.createEntry({ path: "/h2", selectors, hint: "h" }));
      ids.push(await world.world.createEntry({ path: "/h3", selectors, hint: "other" }));
      const hints = (message: { svids: readonly { spiffeId: string; hint: string }[] } | undefined) =>
        message?.svids.map(
          ({ spiffeId, hint }) => `${spiffeId.slice("spiffe://example.org".length)} ${hint}`,
        );
      const expected = ["/workload ", "/h1 h", "/h3 other"];
      await eventually(
        () => one.first("subscribeToX509SVID", world.about("subscribeToX509SVID", pid)),
        ({ message }) => JSON.stringify(hints(message)?.toSorted()) === JSON.stringify(expected.toSorted()),
      );
      const { message: jwt } = await one.first("fetchJWTSVID", world.about("fetchJWTSVID", pid));
      expect(hints(jwt)?.toSorted()).toEqual(expected.toSorted());
      await world.world.deleteEntry(...ids);
      await eventually(
        () => one.first("subscribeToX509SVID", world.about("subscribeToX509SVID", pid)),
        ({ message }) => message?.svids.length === 1,
      );
    },
  );

  it.each(["BA-67", "BA-84"])("%s: bundles have the own trust domain's among them", async () => {
    const { message: x509 } = await one.first(
      "subscribeToX509Bundles",
      world.about("subscribeToX509Bundles", pid),
    );
    expect(Object.keys(x509?.bundles ?? {})).toContain("spiffe://example.org");
    const { message: jwt } = await one.first(
      "subscribeToJWTBundles",
      world.about("subscribeToJWTBundles", pid),
    );
    expect(Object.keys(jwt?.bundles ?? {})).toContain("spiffe://example.org");
  });

  it("BA-85 have keys for JWT-SVIDs only in a JWT bundle", async () => {
    const { message } = await one.first("subscribeToJWTBundles", world.about("subscribeToJWTBundles", pid));
    const bundle = message?.bundles["spiffe://example.org"] ?? new Uint8Array();
    const { keys } = JSON.parse(Buffer.from(bundle).toString()) as { keys: Record<string, unknown>[] };
    expect(keys.length).toBeGreaterThan(0);
    for (const key of keys) {
      expect(key).toHaveProperty("kid");
      expect([undefined, "jwt-svid"]).toContain(key["use"]);
      expect(key).not.toHaveProperty("x5c");
    }
  });
});

/** The first of some DER values that follow each other. */
function firstDer(bytes: Uint8Array): Uint8Array {
  const length = bytes[1] ?? 0;
  if (length < 0x80) return bytes.subarray(0, 2 + length);
  const octets = length & 0x7f;
  let size = 0;
  for (let i = 0; i < octets; i++) size = size * 256 + (bytes[2 + i] ?? 0);
  return bytes.subarray(0, 2 + octets + size);
}
