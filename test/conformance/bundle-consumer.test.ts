import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { refreshInterval } from "../../src/federation/judge-bundle.ts";
import { emptyBundle } from "../../src/spiffe/bundle.ts";
import { parseTrustDomain } from "../../src/spiffe/trust-domain.ts";
import { makeBundleDocument, makeJwk, makeJwtSvid, makeX509Jwk } from "../fakes/jose-factory.ts";
import { makeAuthority, makeFactoryKey, makeLeaf } from "../fakes/svid-factory.ts";
import { viewCertificates } from "./certificate-view.ts";
import { askWeb, FOREIGN, judge, refusalOf } from "./foreign.ts";
import { DOOR, FOREIGN_OPERATOR, knock, shown } from "./mtls-door.ts";
import { eventually, firstOf, makeWorld, SECURED, type World } from "./world.ts";

const authority = makeAuthority(FOREIGN);
const second = makeAuthority(FOREIGN, { subject: "second" });
const jwtKey = makeFactoryKey();
const jwk = makeJwk(jwtKey, { kid: "factory", use: "jwt-svid" });
const GOOD = [makeX509Jwk(authority), jwk];

let world: World;

beforeAll(async () => {
  world = await makeWorld({ ...DOOR, agentFlags: ["--rate-limit=off"] });
  await put(makeBundleDocument(GOOD));
  await world.createEntry({ path: "/self", federatesWith: [FOREIGN] });
  await eventually(() => trusted(1));
});

beforeEach(async () => {
  await put(makeBundleDocument(GOOD));
  await eventually(() => trusted(1));
});

afterAll(() => world?.[Symbol.asyncDispose]());

describe("a foreign bundle", () => {
  it("TB-01 is kept with the name of its trust domain, which it does not say itself", async () => {
    const { body } = await askWeb(world, "GET", "/v1/bundles");
    const { bundles } = JSON.parse(body.toString()) as { bundles: { trust_domain: string }[] };
    expect(bundles.map((bundle) => bundle.trust_domain)).toEqual(["example.org", FOREIGN]);
  });

  it("TB-04 may have members that nobody defined", async () => {
    expect(await put(makeBundleDocument(GOOD, { x_foo: { a: 1 }, refresh_hint: "never" }))).toBe(200);
    expect(await trusted(1)).toBe(true);
  });

  it("TB-05 needs no member but keys", async () => {
    expect(await put(Buffer.from(JSON.stringify({ keys: GOOD })))).toBe(200);
    expect(await trusted(1)).toBe(true);
  });

  it.each(["9007199254740993", "9223372036854775807"])(
    "TB-09 keeps the sequence %s to its last digit",
    async (sequence) => {
      const document = `{"spiffe_sequence": ${sequence}, "keys": ${JSON.stringify(GOOD)}}`;
      expect(await put(Buffer.from(document))).toBe(200);
      expect((await read()).toString()).toContain(`"spiffe_sequence": ${sequence},`);
    },
  );

  it.each([
    ["no keys", "{}"],
    ["keys that are no list", '{"keys": {}}'],
    ["keys twice", '{"keys": [], "keys": []}'],
    ["a hint that is no whole number", '{"keys": [], "spiffe_refresh_hint": 1.5}'],
    ["a sequence that is a text", '{"keys": [], "spiffe_sequence": "1"}'],
  ])("TB-12 is refused with %s, and the one that was there stays", async (_what, document) => {
    expect(await put(Buffer.from(document))).toBe(400);
    expect(await trusted(1)).toBe(true);
  });

  it.each(["TB-12", "TB-14", "TB-15"])("%s with no keys takes the trust from everybody", async () => {
    expect(await put(makeBundleDocument([]))).toBe(200);
    await eventually(() => trusted(0));
    expect(await refusalOf(world, makeJwtSvid(jwtKey))).toMatch(/no JWT authority/);
    const seen = await knock(world, shown(makeLeaf(FOREIGN_OPERATOR, authority)));
    expect(seen).toHaveProperty("refused");
  });

  it("TB-15 with no usable key takes the trust from everybody", async () => {
    expect(
      await put(
        makeBundleDocument([
          { kty: "AKP", use: "jwt-svid" },
          { ...jwk, use: "foo" },
        ]),
      ),
    ).toBe(200);
    await eventually(() => trusted(0));
    expect(await refusalOf(world, makeJwtSvid(jwtKey))).toMatch(/no JWT authority/);
  });
});

describe("a key that is passed over while the others stay", () => {
  it.each<[string, object]>([
    ["TB-13", { kty: "AKP", use: "jwt-svid", kid: "pq", pub: "AAAA" }],
    ["TB-13", { ...jwk, kid: "other", use: "foo" }],
    ["TB-20", { kty: "OKP", crv: "Ed25519", use: "jwt-svid", kid: "ed", x: "AAAA" }],
    ["TB-20", { ...jwk, kid: "other", kty: undefined }],
    ["TB-20", { ...jwk, kid: "other", kty: "ec" }],
    ["TB-22", { ...jwk, kid: "other", use: undefined }],
    ["TB-22", { ...makeX509Jwk(second), use: "X509-SVID" }],
    ["TB-22", { ...makeX509Jwk(second), use: "sig" }],
    ["XS-40", makeX509Jwk(second, { x5c: undefined })],
    ["XS-40", makeX509Jwk(second, { x5c: [] })],
  ])("%s is %j", async (_line, key) => {
    expect(await put(makeBundleDocument([key, ...GOOD]))).toBe(200);
    expect(await roots()).toEqual([authority.der]);
    expect(await judge(world, makeJwtSvid(jwtKey))).toHaveProperty("spiffeId");
    expect(await refusalOf(world, makeJwtSvid(jwtKey, { header: { kid: "other" } }))).toMatch(
      /no JWT authority/,
    );
  });
});

describe("the X.509 keys of a bundle", () => {
  it("XS-41 count by the first certificate of x5c", async () => {
    const x5c = [authority, second].map(({ der }) => der.toString("base64"));
    expect(await put(makeBundleDocument([makeX509Jwk(authority, { x5c }), jwk]))).toBe(200);
    expect(await roots()).toEqual([authority.der]);
    expect(await knock(world, shown(makeLeaf(FOREIGN_OPERATOR, authority)))).toEqual({ grpcStatus: 0 });
    expect(await knock(world, shown(makeLeaf(FOREIGN_OPERATOR, second)))).toHaveProperty("refused");
  });

  it("XS-42 may be missing, which is no fault and trusts no certificate", async () => {
    expect(await put(makeBundleDocument([jwk]))).toBe(200);
    await eventually(() => trusted(0));
    expect(await judge(world, makeJwtSvid(jwtKey))).toHaveProperty("spiffeId");
    expect(await knock(world, shown(makeLeaf(FOREIGN_OPERATOR, authority)))).toHaveProperty("refused");
  });
});

describe("how often a bundle is fetched", () => {
  const interval = (refreshHint: number) =>
    refreshInterval({ ...emptyBundle(parseTrustDomain(FOREIGN)), refreshHint });

  it("TB-30 is every five minutes where the bundle says nothing, and else what it says", () => {
    expect(interval(0)).toBe(5 * 60_000);
    expect(interval(600)).toBe(600_000);
  });
});

async function put(document: Buffer): Promise<number> {
  return (await askWeb(world, "PUT", `/v1/bundles/${FOREIGN}`, document)).status;
}

async function read(): Promise<Buffer> {
  return (await askWeb(world, "GET", `/v1/bundles/${FOREIGN}`)).body;
}

async function roots(): Promise<readonly Buffer[]> {
  const { keys } = JSON.parse((await read()).toString()) as { keys: { use: string; x5c?: string[] }[] };
  return keys.flatMap(({ use, x5c = [] }) =>
    use === "x509-svid" ? x5c.map((der) => Buffer.from(der, "base64")) : [],
  );
}

/** Whether a workload is given this many X.509 authorities of the foreign trust domain. */
async function trusted(count: number): Promise<boolean> {
  const { bundles } = await firstOf(world.api.fetchX509Bundles({}, SECURED));
  return viewCertificates(bundles[`spiffe://${FOREIGN}`] ?? Buffer.of()).length === count;
}
