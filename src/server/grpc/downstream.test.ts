import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { makeCertificate, makeKey, type TestKey } from "../../../test/fakes/certificates.ts";
import { makeCsr } from "../../../test/fakes/issuance-csr.ts";
import { TestAgent } from "../../../test/fakes/server-agent.ts";
import { ServerBench } from "../../../test/fakes/server-bench.ts";
import { wireEntry } from "../../../test/fakes/server-wire.ts";
import { createCaRequest } from "../../crypto/ca-request.ts";
import { type Certificate, readCertificate } from "../../crypto/certificate-reader.ts";
import { verifyChain } from "../../crypto/chain.ts";
import { OIDS } from "../../crypto/der/oid.ts";
import { nameAttribute, readName } from "../../crypto/x501-name.ts";
import { validateX509Svid } from "../../crypto/x509-svid.ts";
import { Bundle } from "../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import { SVID } from "../../proto/gen/spire/api/server/svid/v1/svid_pb.ts";
import type { RpcClient } from "../../rpc/client.ts";
import type { ServerOptions } from "../options.ts";

const DAY = 86_400;
const now = () => Math.floor(Date.now() / 1000);

describe("a server below", () => {
  let bench: ServerBench;
  let below: RpcClient;
  beforeAll(async () => {
    bench = await ServerBench.start({ features: ["wit-svid"] });
    below = await downstreamClient(bench);
  });
  afterAll(() => bench[Symbol.asyncDispose]());
  const mint = (csr: Uint8Array, preferredTtl = 0) =>
    below.service(SVID).newDownstreamX509CA({ csr, preferredTtl });

  it("gets an X.509 authority that chains to the bundle, and SVIDs of it are good", async () => {
    const key = makeKey();
    const { caCertChain, x509Authorities } = await mint(await request(key), 600);
    expect(x509Authorities).toEqual(await bench.authorities());
    const [ca, ...others] = caCertChain.map((der) => readCertificate(der)) as [Certificate, ...Certificate[]];
    expect(others).toEqual([]);
    expect(ca.spki).toEqual(key.spki);
    expect(ca.subjectAltName?.uris).toEqual(["spiffe://example.org"]);
    expect(ca.basicConstraints).toEqual({ ca: true });
    expect(ca.notAfter - now()).toBeGreaterThan(590);
    expect(ca.notAfter - now()).toBeLessThanOrEqual(600);
    const subject = readName(ca.subject, "INTERNAL");
    expect(nameAttribute(subject, OIDS.organizationalUnit)).toBe("DOWNSTREAM-1");
    expect(nameAttribute(subject, OIDS.organization)).toBe("SPIFFE");
    const leaf = makeCertificate({
      subject: "leaf",
      key: makeKey(),
      issuer: { certificate: ca, key },
      uris: ["spiffe://example.org/far"],
      notBefore: now() - 5,
      notAfter: now() + 60,
    });
    const roots = (await bench.authorities()).map((der) => readCertificate(der));
    expect(validateX509Svid([leaf, ca], roots, now()).spiffeId).toBe("spiffe://example.org/far");
  });

  it("gets what the server's own authorities live without asking, and never more than the one that signs", async () => {
    const ends = [];
    for (const ttl of [0, 10_000_000]) {
      const { caCertChain } = await mint(await request(makeKey()), ttl);
      ends.push(readCertificate(caCertChain[0] ?? new Uint8Array()).notAfter);
    }
    const [authority] = (await bench.authorities()).map((der) => readCertificate(der));
    expect(ends[0]).toBeLessThanOrEqual(authority?.notAfter ?? 0);
    expect(ends[1]).toBe(authority?.notAfter);
  });

  it("has whatever else its request says ignored", async () => {
    const key = makeKey();
    const { caCertChain } = await mint(makeCsr({ uris: ["spiffe://other.org/x"], dnsNames: ["a.org"] }, key));
    const ca = readCertificate(caCertChain[0] ?? new Uint8Array());
    expect(ca.subjectAltName).toEqual({ uris: ["spiffe://example.org"], dnsNames: [], others: 0 });
  });

  it.each([
    ["no request", async () => new Uint8Array(), 0, /missing CSR/],
    ["bytes that are none", async () => Uint8Array.of(1, 2, 3), 0, /CSR/],
    [
      "one that was signed with another key",
      async () => request({ ...makeKey(), sign: makeKey().sign }),
      0,
      /signature does not verify/,
    ],
    ["a negative lifetime", async () => request(makeKey()), -1, /preferred_ttl/],
  ])("is refused with %s", async (_, csr, ttl, detail) => {
    await expect(mint(await csr(), ttl)).rejects.toMatchObject({
      status: "INVALID_ARGUMENT",
      detail: expect.stringMatching(detail) as string,
    });
  });

  it("is in the audit log with its entry, and what it got can be revoked by its serial number", async () => {
    await mint(await request(makeKey()), 60);
    expect(bench.audit().findLast(({ event }) => event === "authority.downstream.issued")).toMatchObject({
      outcome: "issued",
      spiffe_id: "spiffe://example.org",
      caller_id: "spiffe://example.org/below",
      entry_id: expect.any(String) as string,
      serial: expect.any(String) as string,
      authority_id: expect.any(String) as string,
      expires_at: expect.any(Number) as number,
    });
    await expect(mint(Uint8Array.of(1))).rejects.toThrow();
    expect(bench.audit().at(-1)).toMatchObject({ event: "authority.downstream.denied", outcome: "denied" });
  });

  it("publishes its JWT authorities, and hears of all there are", async () => {
    const key = jwtKey("below-1");
    const { jwtAuthorities } = await below.service(Bundle).publishJWTAuthority({ jwtAuthority: key });
    expect(jwtAuthorities.map(({ keyId }) => keyId)).toContain("below-1");
    const published = (await bench.bundles.getBundle({})).jwtAuthorities;
    expect(published).toHaveLength(2);
    expect(published.find(({ keyId }) => keyId === "below-1")).toMatchObject({
      expiresAt: key.expiresAt,
      tainted: false,
    });
    // Again, as after a lost answer: nothing changes.
    await below.service(Bundle).publishJWTAuthority({ jwtAuthority: key });
    expect((await bench.bundles.getBundle({})).jwtAuthorities).toHaveLength(2);
  });

  it.each([
    ["none", undefined, /missing JWT authority/],
    ["one without an id", { ...jwtKey("") }, /missing key ID/],
    ["one that has ended", { ...jwtKey("ended"), expiresAt: BigInt(now() - 1) }, /must lie in the future/],
    ["one without an end", { ...jwtKey("endless"), expiresAt: 0n }, /must lie in the future/],
    ["one with an id without end", jwtKey("x".repeat(1025)), /key ID: expected at most 1024 characters/],
    [
      "one that ends too late",
      { ...jwtKey("late"), expiresAt: BigInt(now() + 3700 * DAY) },
      /at most 3650 d/,
    ],
    ["one whose end no number holds", { ...jwtKey("later"), expiresAt: 2n ** 62n }, /expires_at/],
    ["one that ended before time", { ...jwtKey("early"), expiresAt: -1n }, /expires_at/],
    ["no key", { ...jwtKey("broken"), publicKey: Uint8Array.of(1) }, /jwt_authorities/],
  ])("is refused when it publishes %s", async (_, jwtAuthority, detail) => {
    await expect(
      below.service(Bundle).publishJWTAuthority(jwtAuthority === undefined ? {} : { jwtAuthority }),
    ).rejects.toMatchObject({ status: "INVALID_ARGUMENT", detail: expect.stringMatching(detail) as string });
  });

  it("cannot put its key under the id of another's", async () => {
    const [own] = (await bench.bundles.getBundle({})).jwtAuthorities;
    await expect(
      below.service(Bundle).publishJWTAuthority({ jwtAuthority: jwtKey(own?.keyId ?? "") }),
    ).rejects.toMatchObject({
      status: "INVALID_ARGUMENT",
      detail: expect.stringMatching(/another key/) as string,
    });
  });

  it("publishes its WIT authorities where WIT-SVIDs are issued", async () => {
    const { witAuthorities } = await below
      .service(Bundle)
      .publishWITAuthority({ witAuthority: jwtKey("wit-below") });
    expect(witAuthorities.map(({ keyId }) => keyId)).toContain("wit-below");
  });
});

describe("WIT authorities of servers below", () => {
  it("are taken in bounded number, with ids and ends as those of JWT", async () => {
    const bench = await ServerBench.start({ features: ["wit-svid"] });
    onTestFinished(() => bench[Symbol.asyncDispose]());
    const below = (await downstreamClient(bench)).service(Bundle);
    const late = { ...jwtKey("late"), expiresAt: BigInt(now() + 3700 * DAY) };
    for (const witAuthority of [late, jwtKey("x".repeat(1025))]) {
      await expect(below.publishWITAuthority({ witAuthority })).rejects.toMatchObject({
        status: "INVALID_ARGUMENT",
      });
    }
    const key = jwtKey("first");
    const witAuthorities = Array.from({ length: 998 }, (_, n) => ({ ...key, keyId: `wit-${n}` }));
    await bench.bundles.appendBundle({ witAuthorities });
    await below.publishWITAuthority({ witAuthority: key });
    await expect(below.publishWITAuthority({ witAuthority: jwtKey("more") })).rejects.toMatchObject({
      status: "FAILED_PRECONDITION",
      detail: expect.stringMatching(/1000 WIT authorities/) as string,
    });
    // Again, as after a lost answer.
    await below.publishWITAuthority({ witAuthority: key });
    const record = bench.audit().findLast(({ event }) => event === "bundle.changed");
    expect(record).toMatchObject({ authority_id: "first", reasons: ["WIT authority of a server below"] });
  });
});

describe("where the operator binds servers below", () => {
  it("their authorities carry the path length and the name constraints", async () => {
    const { bench, below } = await place({ caPathLength: 0, caNameConstraints: true });
    const key = makeKey();
    const { caCertChain } = await below.service(SVID).newDownstreamX509CA({ csr: await request(key) });
    const ca = readCertificate(caCertChain[0] ?? new Uint8Array());
    expect(ca.basicConstraints).toEqual({ ca: true, pathLength: 0 });
    const roots = (await bench.authorities()).map((der) => readCertificate(der));
    const leaf = (uri: string) =>
      makeCertificate({
        subject: "leaf",
        key: makeKey(),
        issuer: { certificate: ca, key },
        uris: [uri],
        notBefore: now() - 5,
        notAfter: now() + 60,
      });
    const verify = (uri: string) => verifyChain({ leaf: leaf(uri), intermediates: [ca], roots, at: now() });
    expect(verify("spiffe://example.org/a")).toHaveLength(3);
    expect(() => verify("spiffe://other.org/a")).toThrowCode("INVALID_CERTIFICATE", /name constraints/);
  });

  it("an entry's end is the end of what it earns", async () => {
    const expiresAt = now() + 300;
    const { below } = await place({}, { expiresAt: BigInt(expiresAt) });
    const { caCertChain } = await below
      .service(SVID)
      .newDownstreamX509CA({ csr: await request(makeKey()), preferredTtl: 3000 });
    expect(readCertificate(caCertChain[0] ?? new Uint8Array()).notAfter).toBeLessThanOrEqual(expiresAt);
  });

  async function place(options: Partial<ServerOptions>, fields: object = {}) {
    const bench = await ServerBench.start(options);
    onTestFinished(() => bench[Symbol.asyncDispose]());
    return { bench, below: await downstreamClient(bench, fields) };
  }
});

/** A workload whose entry makes it a server below. */
async function downstreamClient(bench: ServerBench, fields: object = {}): Promise<RpcClient> {
  const agent = await TestAgent.attest(bench);
  const { results } = await bench.entries.batchCreateEntry({
    entries: [wireEntry("below", agent.id, { downstream: true, ...fields })],
  });
  const key = makeKey();
  const params = [{ entryId: results[0]?.entry?.id ?? "", csr: makeCsr({}, key) }];
  const signed = await agent.svids.batchNewX509SVID({ params });
  return bench.tls({ certificates: signed.results[0]?.svid?.certChain ?? [], privateKey: key.privateKey });
}

function request(key: TestKey): Promise<Uint8Array> {
  return createCaRequest(
    { trustDomain: "example.org", spki: key.spki, subject: [{ oid: OIDS.organization, value: "SPIFFE" }] },
    "ecdsa-sha256",
    key.sign,
  );
}

function jwtKey(keyId: string) {
  return { keyId, publicKey: makeKey().spki, expiresAt: BigInt(now() + 3600), tainted: false };
}
