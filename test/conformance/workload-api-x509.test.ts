import { createPrivateKey, createPublicKey, sign, X509Certificate } from "node:crypto";
import { toBinary } from "@bufbuild/protobuf";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { readCertificate } from "../../src/crypto/certificate-reader.ts";
import { Revocation } from "../../src/proto/gen/assay/api/server/v1/revocation_pb.ts";
import { JWTSVIDRequestSchema, SpiffeWorkloadAPI } from "../../src/proto/gen/spiffe/workload/workload_pb.ts";
import { workloadClient } from "../e2e/workload.ts";
import { makeCrl } from "../fakes/crl.ts";
import { makeAuthority } from "../fakes/svid-factory.ts";
import { viewCertificates } from "./certificate-view.ts";
import { federate } from "./foreign.ts";
import { eventually, firstOf, makeWorld, SECURED, type World } from "./world.ts";

const OWN = "spiffe://example.org";
const DENIED = {
  grpcStatus: 7,
  grpcMessage: expect.stringMatching(/^no identity issued/) as string,
  messages: [],
};

const partner = makeAuthority("a.test");
let world: World;
const extra: string[] = [];

beforeAll(async () => {
  world = await makeWorld({ agentFlags: ["--rate-limit=off"] });
  await federate(
    world,
    { x509: [makeAuthority("b.test"), makeAuthority("b.test", { subject: "two" })] },
    "b.test",
  );
  await federate(world, { x509: [partner] }, "a.test");
  await federate(world, { x509: [] }, "empty.test");
  await world.createEntry({ path: "/first", federatesWith: ["a.test", "b.test", "empty.test"] });
  await eventually(
    () => firstOf(world.api.fetchX509SVID({}, SECURED)),
    ({ federatedBundles }) => Object.keys(federatedBundles).length === 2,
  );
});

afterEach(async () => {
  if (extra.length > 0) await world.deleteEntry(...extra.splice(0));
  await eventually(async () => (await state()).svids.length === 1);
});

afterAll(() => world?.[Symbol.asyncDispose]());

const state = () => firstOf(world.api.fetchX509SVID({}, SECURED));
const bundlesNow = () => firstOf(world.api.fetchX509Bundles({}, SECURED));
const idsOf = ({ svids }: Awaited<ReturnType<typeof state>>) => svids.map(({ spiffeId }) => spiffeId);
async function add(entry: Parameters<World["createEntry"]>[0]): Promise<void> {
  extra.push(await world.createEntry(entry));
}

describe("an answer with X509-SVIDs", () => {
  it.each(["WA-22", "WA-23"])("%s has one or more, each with ID, certificates, key and bundle", async () => {
    await add({ path: "/second" });
    const { svids } = await eventually(state, (answer) => answer.svids.length === 2);
    for (const svid of svids) {
      expect(svid.spiffeId).toMatch(/^spiffe:\/\/example\.org\//);
      for (const bytes of [svid.x509Svid, svid.x509SvidKey, svid.bundle])
        expect(bytes.length).toBeGreaterThan(0);
    }
  });

  it("WA-24 has certificates one after the other in DER, leaf first, each signed by the next", async () => {
    const [svid] = (await state()).svids;
    const chain = viewCertificates(svid?.x509Svid ?? Buffer.of());
    expect(chain[0]?.uris).toEqual([svid?.spiffeId]);
    expect(Buffer.concat(chain.map(({ der }) => der)).equals(Buffer.from(svid?.x509Svid ?? []))).toBe(true);
    const path = [...chain, ...viewCertificates(svid?.bundle ?? Buffer.of()).slice(0, 1)];
    for (const [i, { der }] of path.slice(0, -1).entries()) {
      const issuer = new X509Certificate(path[i + 1]?.der ?? Buffer.of());
      expect(new X509Certificate(der).verify(issuer.publicKey)).toBe(true);
    }
  });

  it("WA-25 has the leaf's key in unencrypted PKCS#8", async () => {
    const [svid] = (await state()).svids;
    const der = Buffer.from(svid?.x509SvidKey ?? []);
    // PrivateKeyInfo begins with its version, which is 0; an encrypted one begins with an algorithm.
    expect(der.subarray(2, 6).toString("hex")).toMatch(/^(81..)?0201|020100/);
    const key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
    expect(key.export({ format: "der", type: "pkcs8" }).equals(der)).toBe(true);
    const leaf = viewCertificates(svid?.x509Svid ?? Buffer.of())[0]?.der ?? Buffer.of();
    expect(createPublicKey(key).equals(new X509Certificate(leaf).publicKey)).toBe(true);
  });

  it("WA-26 has bundles that are certificates of CAs one after the other, and nothing besides", async () => {
    const { svids, federatedBundles, crl } = await state();
    for (const bytes of [svids[0]?.bundle ?? Buffer.of(), ...Object.values(federatedBundles)]) {
      const certificates = viewCertificates(bytes);
      expect(certificates.every(({ ca }) => ca === true)).toBe(true);
      expect(Buffer.concat(certificates.map(({ der }) => der)).equals(Buffer.from(bytes))).toBe(true);
    }
    expect(viewCertificates(federatedBundles["spiffe://b.test"] ?? Buffer.of())).toHaveLength(2);
    expect(crl).toEqual([]);
  });

  it("WA-26 has the revocation lists of its trust domains, each whole, in both kinds of answers", async () => {
    const { key, der } = partner;
    const crl = makeCrl({
      issuer: {
        certificate: readCertificate(der),
        key: { spki: key.spki, sign: (bytes) => sign("sha256", bytes, key.privateKey) },
      },
      revoked: [Uint8Array.of(7)],
      thisUpdate: 1_700_000_000,
      nextUpdate: 4_000_000_000,
    });
    const service = world.admin.service(Revocation);
    const { list } = await service.setRevocationList({ trustDomain: "a.test", crl });
    const told = await eventually(state, (answer) => answer.crl.length > 0);
    expect(told.crl.map((one) => Buffer.from(one))).toEqual([Buffer.from(crl)]);
    expect((await bundlesNow()).crl.map((one) => Buffer.from(one))).toEqual([Buffer.from(crl)]);
    await service.deleteRevocationList({
      trustDomain: "a.test",
      authorityKeyId: list?.authorityKeyId ?? "",
    });
    await eventually(state, (answer) => answer.crl.length === 0);
  });

  it("WA-27 has federated bundles under their IDs, and neither the own nor an empty one", async () => {
    const { federatedBundles } = await state();
    expect(Object.keys(federatedBundles)).toEqual(["spiffe://a.test", "spiffe://b.test"]);
  });

  it("WA-28 says a hint once: the older entry keeps it", async () => {
    await add({ path: "/x", hint: "same" });
    await add({ path: "/y", hint: "same" });
    await add({ path: "/z", hint: "other" });
    const { svids } = await eventually(state, (answer) => answer.svids.length >= 3);
    const hints = svids.map(({ hint }) => hint).filter((hint) => hint !== "");
    expect(new Set(hints).size).toBe(hints.length);
    expect(svids.find(({ hint }) => hint === "same")?.spiffeId).toBe(`${OWN}/x`);
  });

  it("WA-60 begins with the default identity, whatever comes after it", async () => {
    const before = idsOf(await state());
    for (const path of ["/a", "/zz", "/m"]) {
      await add({ path });
      const ids = await eventually(
        async () => idsOf(await state()),
        (found) => found.includes(`${OWN}${path}`),
      );
      expect(ids[0]).toBe(before[0]);
      expect(idsOf(await state())).toEqual(ids);
    }
    expect(idsOf(await state()).slice(1)).toEqual(["/a", "/zz", "/m"].map((path) => `${OWN}${path}`));
  });

  it("WA-61 has hints of up to 1024 bytes; none longer can be registered", async () => {
    const hint = "ä".repeat(512);
    await add({ path: "/hinted", hint });
    const { svids } = await eventually(state, (answer) => answer.svids.length === 2);
    expect(svids[1]?.hint).toBe(hint);
    await expect(world.createEntry({ path: "/long", hint: `${hint}a` })).rejects.toThrow(/hint/);
  });
});

describe("an answer with X.509 bundles", () => {
  it("WA-34 has the own trust domain's from the first message on", async () => {
    const { bundles } = await bundlesNow();
    expect(viewCertificates(bundles[OWN] ?? Buffer.of())).toHaveLength(1);
  });

  it("WA-27 has those of federated trust domains too, by their IDs", async () => {
    expect(Object.keys((await bundlesNow()).bundles).toSorted()).toEqual([
      "spiffe://a.test",
      "spiffe://b.test",
      OWN,
    ]);
  });
});

describe("a caller without identity", () => {
  it.each([
    ["WA-30", "FetchX509SVID"],
    ["WA-35", "FetchX509Bundles"],
    ["WA-50", "FetchJWTBundles"],
  ])("%s is answered PermissionDenied by %s", async (_line, method) => {
    expect(await world.asOther(method)).toMatchObject(DENIED);
  });

  it("WA-45 is answered PermissionDenied when it asks for a token", async () => {
    const message = toBinary(JWTSVIDRequestSchema, {
      $typeName: "JWTSVIDRequest",
      audience: ["a"],
      spiffeId: "",
    });
    expect(await world.asOther("FetchJWTSVID", message)).toMatchObject(DENIED);
  });

  it("WA-30 is what a caller becomes whose last entry goes: its stream ends with PermissionDenied", async () => {
    await using own = await makeWorld();
    const id = await own.createEntry({ path: "/only" });
    await eventually(() => firstOf(own.api.fetchX509SVID({}, SECURED)));
    const streams = [
      own.api.fetchX509SVID({}, SECURED),
      own.api.fetchX509Bundles({}, SECURED),
      own.api.fetchJWTBundles({}, SECURED),
    ];
    for (const stream of streams) await stream.next();
    await own.deleteEntry(id);
    for (const stream of streams) {
      await expect(stream.next()).rejects.toMatchObject({ status: "PERMISSION_DENIED" });
    }
  });
});

describe("both profiles", () => {
  it.each(["WA-01", "WA-05"])("%s are there, under the paths of SpiffeWorkloadAPI", async () => {
    expect((await state()).svids).toHaveLength(1);
    expect(Object.keys((await bundlesNow()).bundles)).toContain(OWN);
    expect((await world.api.fetchJWTSVID({ audience: ["a"] }, SECURED)).svids).toHaveLength(1);
    expect(Object.keys((await firstOf(world.api.fetchJWTBundles({}, SECURED))).bundles)).toContain(OWN);
    using client = workloadClient(world.agentPlace.socket);
    const [{ svid } = { svid: "" }] = (await world.api.fetchJWTSVID({ audience: ["a"] }, SECURED)).svids;
    const validated = await client
      .service(SpiffeWorkloadAPI)
      .validateJWTSVID({ audience: "a", svid }, SECURED);
    expect(validated.spiffeId).toBe(`${OWN}/first`);
  });

  it("WA-62 are all there is by default: calls for WIT-SVIDs are Unimplemented", async () => {
    using client = world.raw();
    for (const method of ["FetchWITSVID", "FetchWITBundles"]) {
      const path = `/SpiffeWorkloadAPI/${method}`;
      expect(await client.call({ path })).toMatchObject({ grpcStatus: 12, messages: [] });
    }
  });
});
