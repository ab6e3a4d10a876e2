import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { openWitBundleSource, openX509BundleSource } from "../../../src/workload/bundle-sources.ts";
import type { Updates } from "../../../src/workload/bundles.ts";
import { openJwtSource } from "../../../src/workload/jwt-source.ts";
import { validateX509Svid } from "../../../src/workload/validate.ts";
import { openWitSource } from "../../../src/workload/wit-source.ts";
import { openX509Source } from "../../../src/workload/x509-source.ts";
import { parseTrustDomain } from "../../../src/spiffe/trust-domain.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { makeAuthority, makeFactoryKey, makeLeaf } from "../../fakes/svid-factory.ts";
import { FakeWorkloadEndpoint, REFUSALS } from "../../fakes/workload-endpoint.ts";
import {
  jwkSetBytes,
  jwkSetText,
  jwtSvidMessage,
  witSvidMessage,
  x509SvidMessage,
} from "../../fakes/workload-messages.ts";

const TD = "spiffe://factory.test";
const ID = `${TD}/workload`;
const OTHER = `${TD}/other`;
const FOREIGN = "spiffe://foreign.test";
const own = parseTrustDomain("factory.test");
const foreign = parseTrustDomain("foreign.test");
const authority = makeAuthority("factory.test");
const foreignAuthority = makeAuthority("foreign.test");
const key = makeFactoryKey();

let endpoint: FakeWorkloadEndpoint;
let problems: string[];
const open: AsyncDisposable[] = [];

beforeEach(async () => {
  endpoint = await FakeWorkloadEndpoint.open();
  problems = [];
});
afterEach(async () => {
  for (const source of open.splice(0)) await source[Symbol.asyncDispose]();
  await endpoint[Symbol.asyncDispose]();
});

const options = () => ({
  address: endpoint.address,
  random: () => 0,
  onProblem: ({ message }: Error) => problems.push(message),
});

async function kept<Source extends AsyncDisposable>(opening: Promise<Source>): Promise<Source> {
  const source = await opening;
  open.push(source);
  return source;
}

/** The next change of a source, after `act`. */
async function changeOf(source: Updates, act: () => void): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  using _update = source.onUpdate(resolve);
  act();
  await promise;
}

async function x509(svids = [x509SvidMessage(ID, authority)], federatedBundles = {}) {
  endpoint.send("fetchX509SVID", { svids, federatedBundles });
  return kept(openX509Source(options()));
}

describe("streams of the client", () => {
  it("WA-07 holds one stream open and hears of everything on it", async () => {
    const source = await x509();
    for (let round = 0; round < 5; round++) {
      const message = x509SvidMessage(ID, authority);
      await changeOf(source, () => endpoint.send("fetchX509SVID", { svids: [message] }));
    }
    expect(endpoint.count("fetchX509SVID")).toBe(1);
    expect(endpoint.streams("fetchX509SVID")).toBe(1);
  });

  it("WA-07 leaves the stream when it is disposed of, and forgets the material", async () => {
    const source = await x509();
    await source[Symbol.asyncDispose]();
    await vi.waitFor(() => expect(endpoint.streams("fetchX509SVID")).toBe(0));
    expect(() => source.x509Svid()).toThrowCode("CANCELLED", "closed");
    expect(source.x509Bundles().size).toBe(0);
  });

  it.each([
    ["ended with OK, which it never should be", undefined],
    ["ended with Unavailable", REFUSALS.UNAVAILABLE],
  ])("WA-08 opens a stream again at once that had lived and was %s", async (_, error) => {
    endpoint.send("fetchX509SVID", { svids: [x509SvidMessage(ID, authority)] });
    const clock = new FakeClock(Date.now());
    const source = await kept(openX509Source({ ...options(), clock }));
    clock.step(60_000);
    await changeOf(source, () => endpoint.end("fetchX509SVID", error));
    expect(endpoint.count("fetchX509SVID")).toBe(2);
    expect(source.x509Svid().spiffeId).toBe(ID);
  });

  it("WA-08 does not hammer an endpoint that answers and hangs up", async () => {
    endpoint.send("fetchX509SVID", { svids: [x509SvidMessage(ID, authority)] });
    const clock = new FakeClock(Date.now());
    const source = await kept(openX509Source({ ...options(), clock }));
    endpoint.end("fetchX509SVID");
    await vi.waitFor(() => expect(clock.pending).toBe(1));
    expect(endpoint.count("fetchX509SVID")).toBe(1);
    await changeOf(source, () => void clock.advance(200));
    expect(endpoint.count("fetchX509SVID")).toBe(2);
  });

  it("WA-08 keeps what it has while the endpoint is away, and has fresh state when it is back", async () => {
    const source = await x509();
    const before = source.x509Svid().serial;
    await endpoint.stop();
    await vi.waitFor(() => expect(problems.length).toBeGreaterThan(1));
    expect(source.x509Svid().serial).toBe(before);
    endpoint.send("fetchX509SVID", { svids: [x509SvidMessage(OTHER, authority)] });
    const { promise, resolve } = Promise.withResolvers<void>();
    using _update = source.onUpdate(resolve);
    await endpoint.start();
    await promise;
    expect(source.x509Svid().spiffeId).toBe(OTHER);
  });

  it.each(["WA-14", "WA-15"])("%s lets an empty field take the place of a full one", async () => {
    const source = await x509(undefined, { [FOREIGN]: foreignAuthority.der });
    expect([...source.x509Bundles().keys()]).toEqual([own, foreign]);
    await changeOf(source, () => endpoint.send("fetchX509SVID", { svids: [x509SvidMessage(ID, authority)] }));
    expect([...source.x509Bundles().keys()]).toEqual([own]);
  });

  it.each(["WA-16", "WA-32"])("%s stops using an SVID that a later message leaves out", async () => {
    const both = [x509SvidMessage(ID, authority), x509SvidMessage(OTHER, authority, { hint: "other" })];
    const source = await x509(both);
    expect(source.x509Svid({ hint: "other" }).spiffeId).toBe(OTHER);
    await changeOf(source, () => endpoint.send("fetchX509SVID", { svids: both.slice(0, 1) }));
    expect(() => source.x509Svid({ hint: "other" })).toThrowCode("NO_IDENTITY_ISSUED", '"other"');
    expect(source.x509Svids()).toHaveLength(1);
  });

  it("WA-17 refuses peers of a trust domain whose bundle a later message leaves out", async () => {
    const source = await x509(undefined, { [FOREIGN]: foreignAuthority.der });
    const peer = [makeLeaf(`${FOREIGN}/peer`, foreignAuthority).der];
    expect(validateX509Svid(peer, source).spiffeId).toBe(`${FOREIGN}/peer`);
    await changeOf(source, () => endpoint.send("fetchX509SVID", { svids: [x509SvidMessage(ID, authority)] }));
    expect(() => validateX509Svid(peer, source)).toThrowCode("BUNDLE_NOT_FOUND", "foreign.test");
  });

  const good = x509SvidMessage(ID, authority);
  const otherKey = x509SvidMessage(ID, authority).x509SvidKey;
  it.each<[string, object, RegExp]>([
    ["no SVIDs", { svids: [] }, /svids must not be empty/],
    ["no SPIFFE ID", { svids: [{ ...good, spiffeId: "" }] }, /SPIFFE ID is empty/],
    ["no chain", { svids: [{ ...good, x509Svid: Buffer.alloc(0) }] }, /x509_svid must not be empty/],
    ["no key", { svids: [{ ...good, x509SvidKey: Buffer.alloc(0) }] }, /x509_svid_key/],
    ["no bundle", { svids: [{ ...good, bundle: Buffer.alloc(0) }] }, /bundle must not be empty/],
    ["another key", { svids: [{ ...good, x509SvidKey: otherKey }] }, /is not the key of the leaf/],
    ["another ID", { svids: [{ ...good, spiffeId: OTHER }] }, /leaf is not that of/],
    ["a chain in PEM", { svids: [{ ...good, x509Svid: Buffer.from("-----BEGIN") }] }, /certificate/],
    [
      "bytes after the bundle",
      { svids: [{ ...good, bundle: Buffer.concat([good.bundle, Buffer.of(0)]) }] },
      /certificate/,
    ],
    [
      "an ID for a trust domain",
      { svids: [good], federatedBundles: { [`${FOREIGN}/`]: foreignAuthority.der } },
      /trust domain/,
    ],
    [
      "a bare trust domain",
      { svids: [good], federatedBundles: { "foreign.test": foreignAuthority.der } },
      /spiffe:/,
    ],
    ["a second SVID that is bad", { svids: [good, { ...good, x509SvidKey: otherKey }] }, /svids\[1\]/],
    [
      "a leaf after the leaf",
      { svids: [{ ...good, x509Svid: Buffer.concat([good.x509Svid, good.x509Svid]) }] },
      /only authorities may follow/,
    ],
  ])(
    "WA-19 reports and discards a message with %s, and keeps the state and the stream",
    async (_, bad, detail) => {
      const source = await x509();
      const { serial } = source.x509Svid();
      endpoint.send("fetchX509SVID", bad);
      await vi.waitFor(() => expect(problems).toHaveLength(1));
      expect(problems[0]).toMatch(detail);
      expect(problems[0]).toContain("message of X509-SVIDs discarded");
      expect(source.x509Svid().serial).toBe(serial);
      const next = x509SvidMessage(ID, authority);
      await changeOf(source, () => endpoint.send("fetchX509SVID", { svids: [next] }));
      expect(source.x509Svid().serial).not.toBe(serial);
      expect(endpoint.count("fetchX509SVID")).toBe(1);
    },
  );

  it("WA-19 discards bundles that are none, of every kind", async () => {
    endpoint.send("fetchX509Bundles", { bundles: { [TD]: authority.der } });
    endpoint.send("fetchJWTBundles", { bundles: { [TD]: jwkSetBytes({ a: key }) } });
    endpoint.send("fetchWITBundles", { bundles: { [TD]: jwkSetText({ a: key }) } });
    const sources = [
      await kept(openX509BundleSource(options())),
      await kept(openJwtSource(options())),
      await kept(openWitBundleSource(options())),
    ] as const;
    endpoint.send("fetchX509Bundles", {});
    endpoint.send("fetchJWTBundles", { bundles: { [TD]: Buffer.from("{}") } });
    endpoint.send("fetchWITBundles", { bundles: { [TD]: "[]" } });
    await vi.waitFor(() => expect(problems).toHaveLength(3));
    expect(sources[0].x509Bundles().size).toBe(1);
    expect(sources[1].jwtBundles().get(own)?.keys.size).toBe(1);
    expect(sources[2].witBundles().get(own)?.keys.size).toBe(1);
  });

  it("WA-19 discards an answer of FetchJWTSVID that is not what was asked for", async () => {
    endpoint.send("fetchJWTBundles", { bundles: { [TD]: jwkSetBytes({ factory: key }) } });
    const source = await kept(openJwtSource(options()));
    const now = Math.floor(Date.now() / 1000);
    for (const [svids, detail] of [
      [[], /svids must not be empty/],
      [[{ ...jwtSvidMessage(ID, key), svid: "" }], /JWS/],
      [[{ ...jwtSvidMessage(ID, key), spiffeId: OTHER }], /is not that of/],
      [[jwtSvidMessage(ID, key, { claims: { aud: ["else"] } })], /another audience/],
      [[jwtSvidMessage(ID, key, { claims: { exp: now - 10 } })], /has expired/],
    ] as const) {
      endpoint.send("fetchJWTSVID", { svids: [...svids] });
      await expect(source.jwtSvid({ audience: "audience" })).rejects.toThrow(detail);
    }
  });

  it("WA-29 takes the first of two X509-SVIDs with the same hint", async () => {
    const source = await x509([
      x509SvidMessage(ID, authority, { hint: "a" }),
      x509SvidMessage(OTHER, authority, { hint: "a" }),
      x509SvidMessage(`${TD}/third`, authority),
      x509SvidMessage(`${TD}/fourth`, authority),
    ]);
    expect(source.x509Svid({ hint: "a" }).spiffeId).toBe(ID);
    expect(source.x509Svids().map(({ spiffeId }) => spiffeId)).toEqual([ID, `${TD}/third`, `${TD}/fourth`]);
  });

  it("WA-44 takes the first of two JWT-SVIDs with the same hint", async () => {
    endpoint.send("fetchJWTBundles", { bundles: { [TD]: jwkSetBytes({ factory: key }) } });
    endpoint.send("fetchJWTSVID", {
      svids: [jwtSvidMessage(ID, key, { hint: "a" }), jwtSvidMessage(OTHER, key, { hint: "a" })],
    });
    const source = await kept(openJwtSource(options()));
    expect((await source.jwtSvid({ audience: "audience", hint: "a" })).spiffeId).toBe(ID);
    expect(await source.jwtSvids("audience")).toHaveLength(1);
  });

  it("WA-68 takes the first of two WIT-SVIDs with the same hint", async () => {
    endpoint.send("fetchWITSVID", {
      svids: [witSvidMessage(ID, key, { hint: "a" }), witSvidMessage(OTHER, key, { hint: "a" })],
    });
    const source = await kept(openWitSource(options()));
    expect(source.witSvid({ hint: "a" }).spiffeId).toBe(ID);
    expect(source.witSvids()).toHaveLength(1);
  });

  it("WA-60 takes the first identity for the default, and the one that is picked otherwise", async () => {
    endpoint.send("fetchX509SVID", {
      svids: [x509SvidMessage(ID, authority), x509SvidMessage(OTHER, authority, { hint: "b" })],
    });
    const first = await kept(openX509Source(options()));
    const picked = await kept(openX509Source({ ...options(), hint: "b" }));
    expect([first.x509Svid().spiffeId, picked.x509Svid().spiffeId]).toEqual([ID, OTHER]);
    expect(first.x509Svid({ spiffeId: OTHER }).hint).toBe("b");
    expect(() => first.x509Svid({ spiffeId: "x" })).toThrowCode("INVALID_SPIFFE_ID");
  });

  it.each([
    ["WA-31", "fetchX509SVID", openX509Source, () => ({ svids: [x509SvidMessage(ID, authority)] })],
    ["WA-36", "fetchX509Bundles", openX509BundleSource, () => ({ bundles: { [TD]: authority.der } })],
    ["WA-51", "fetchJWTBundles", openJwtSource, () => ({ bundles: { [TD]: jwkSetBytes({ a: key }) } })],
    ["WA-70", "fetchWITSVID", openWitSource, () => ({ svids: [witSvidMessage(ID, key)] })],
    ["WA-76", "fetchWITBundles", openWitBundleSource, () => ({ bundles: { [TD]: jwkSetText({ a: key }) } })],
  ] as const)("%s asks %s again, after a while, where it was denied", async (_, method, begin, message) => {
    endpoint.fail(method, REFUSALS.PERMISSION_DENIED);
    const clock = new FakeClock(Date.now());
    const opening = begin({ ...options(), clock, timeout: Number.POSITIVE_INFINITY });
    await vi.waitFor(() => expect(clock.pending).toBe(1));
    endpoint.send(method, message());
    await clock.advance(999);
    expect(endpoint.count(method)).toBe(1);
    await clock.advance(1);
    await kept<AsyncDisposable>(opening);
    expect(endpoint.count(method)).toBe(2);
  });

  it.each(["WA-32", "WA-37"])("%s stops using SVIDs and bundles at PermissionDenied", async () => {
    const source = await x509();
    await changeOf(source, () => endpoint.fail("fetchX509SVID", REFUSALS.PERMISSION_DENIED));
    expect(() => source.x509Svid()).toThrowCode("NO_IDENTITY_ISSUED");
    expect([source.x509Svids().length, source.x509Bundles().size]).toEqual([0, 0]);
    const again = { svids: [x509SvidMessage(OTHER, authority)] };
    await changeOf(source, () => endpoint.send("fetchX509SVID", again));
    expect(source.x509Svid().spiffeId).toBe(OTHER);
  });

  it("WA-37 stops using X.509 bundles that a later message leaves out", async () => {
    endpoint.send("fetchX509Bundles", { bundles: { [TD]: authority.der, [FOREIGN]: foreignAuthority.der } });
    const source = await kept(openX509BundleSource(options()));
    expect(source.x509Bundles().size).toBe(2);
    await changeOf(source, () => endpoint.send("fetchX509Bundles", { bundles: { [TD]: authority.der } }));
    expect([...source.x509Bundles().keys()]).toEqual([own]);
    await changeOf(source, () => endpoint.fail("fetchX509Bundles", REFUSALS.PERMISSION_DENIED));
    expect(source.x509Bundles().size).toBe(0);
  });

  it("WA-52 stops using JWT bundles that a later message leaves out, or that are denied", async () => {
    const set = jwkSetBytes({ factory: key });
    endpoint.send("fetchJWTBundles", { bundles: { [TD]: set, [FOREIGN]: set } });
    const source = await kept(openJwtSource(options()));
    const foreignToken = jwtSvidMessage(`${FOREIGN}/x`, key).svid;
    await source.validate(foreignToken, { audience: "audience" });
    await changeOf(source, () => endpoint.send("fetchJWTBundles", { bundles: { [TD]: set } }));
    await expect(source.validate(foreignToken, { audience: "audience" })).rejects.toThrowCode(
      "INVALID_JWT_SVID",
      "foreign.test",
    );
    await changeOf(source, () => endpoint.fail("fetchJWTBundles", REFUSALS.PERMISSION_DENIED));
    expect(source.jwtBundles().size).toBe(0);
  });

  it("WA-71 stops using WIT-SVIDs that a later message leaves out, or that are denied", async () => {
    const both = [witSvidMessage(ID, key), witSvidMessage(OTHER, key, { hint: "b" })];
    endpoint.send("fetchWITSVID", { svids: both });
    const source = await kept(openWitSource(options()));
    await changeOf(source, () => endpoint.send("fetchWITSVID", { svids: both.slice(0, 1) }));
    expect(() => source.present({ url: "https://x/", hint: "b" })).toThrowCode("NO_IDENTITY_ISSUED");
    await changeOf(source, () => endpoint.fail("fetchWITSVID", REFUSALS.PERMISSION_DENIED));
    expect(() => source.present({ url: "https://x/" })).toThrowCode("NO_IDENTITY_ISSUED");
  });

  it("WA-77 stops using WIT bundles that a later message leaves out, or that are denied", async () => {
    const set = jwkSetText({ wit: key });
    endpoint.send("fetchWITBundles", { bundles: { [TD]: set, [FOREIGN]: set } });
    const source = await kept(openWitBundleSource(options()));
    await changeOf(source, () => endpoint.send("fetchWITBundles", { bundles: { [TD]: set } }));
    expect([...source.witBundles().keys()]).toEqual([own]);
    await changeOf(source, () => endpoint.fail("fetchWITBundles", REFUSALS.PERMISSION_DENIED));
    expect(source.witBundles().size).toBe(0);
  });

  it.each([
    ["fetchWITSVID", openWitSource],
    ["fetchWITBundles", openWitBundleSource],
  ] as const)("WA-63 asks %s once where it is Unimplemented", async (method, begin) => {
    endpoint.fail(method, REFUSALS.UNIMPLEMENTED);
    const clock = new FakeClock();
    await expect(begin({ ...options(), clock })).rejects.toThrowCode("UNIMPLEMENTED");
    await clock.advance(3_600_000);
    expect(endpoint.count(method)).toBe(1);
  });

  it("WA-57 lets the endpoint validate where it is asked to, and believes its no", async () => {
    endpoint.send("fetchJWTBundles", { bundles: { [TD]: jwkSetBytes({ factory: key }) } });
    const source = await kept(openJwtSource(options()));
    endpoint.send("validateJWTSVID", { spiffeId: ID, claims: { sub: ID } });
    expect(await source.validateRemotely("token", "audience")).toBe(ID);
    expect(endpoint.calls.at(-1)?.request).toMatchObject({ audience: "audience", svid: "token" });
    endpoint.fail("validateJWTSVID", REFUSALS.INVALID_ARGUMENT);
    await expect(source.validateRemotely("token", "audience")).rejects.toThrowCode("INVALID_JWT_SVID");
    endpoint.fail("validateJWTSVID", REFUSALS.UNAVAILABLE);
    await expect(source.validateRemotely("token", "audience")).rejects.toThrowCode("SERVER_UNAVAILABLE");
  });

  it("WA-56 takes an answer of ValidateJWTSVID without ID or claims for none", async () => {
    endpoint.send("fetchJWTBundles", { bundles: { [TD]: jwkSetBytes({ factory: key }) } });
    const source = await kept(openJwtSource(options()));
    endpoint.send("validateJWTSVID", { spiffeId: "", claims: { sub: ID } });
    await expect(source.validateRemotely("token", "audience")).rejects.toThrowCode("INVALID_SPIFFE_ID");
    endpoint.send("validateJWTSVID", { spiffeId: ID });
    await expect(source.validateRemotely("token", "audience")).rejects.toThrowCode(
      "INVALID_REQUEST",
      "claims",
    );
  });

  it("WA-38 asks for the audiences that it was given, and JS-12's one by default", async () => {
    endpoint.send("fetchJWTBundles", { bundles: { [TD]: jwkSetBytes({ factory: key }) } });
    endpoint.send("fetchJWTSVID", { svids: [jwtSvidMessage(ID, key, { claims: { aud: ["b", "a"] } })] });
    const source = await kept(openJwtSource(options()));
    await source.jwtSvid({ audience: ["b", "a"], spiffeId: ID });
    expect(endpoint.calls.at(-1)?.request).toMatchObject({ audience: ["b", "a"], spiffeId: ID });
    await source.jwtSvid({ audience: "a" });
    expect(endpoint.calls.at(-1)?.request).toMatchObject({ audience: ["a"], spiffeId: "" });
    await expect(source.jwtSvid({ audience: [] })).rejects.toThrowCode("INVALID_AUDIENCE");
  });
});
