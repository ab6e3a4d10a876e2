import { generateKeyPairSync, hash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseTrustDomain } from "../../../src/spiffe/trust-domain.ts";
import type { JwtBundleSource, WitBundleSource } from "../../../src/workload/bundles.ts";
import { readJwtBundles, readWitBundles } from "../../../src/workload/read-bundles.ts";
import { parseSpiffeBundle, staticBundleSource } from "../../../src/workload/trust-bundle.ts";
import { validateJwtSvid } from "../../../src/workload/validate.ts";
import { type RequestHeaders, validateWitRequest } from "../../../src/workload/validate-wit-request.ts";
import { openWitSource, type WitSource } from "../../../src/workload/wit-source.ts";
import {
  makeBundleDocument,
  makeJwk,
  makeJwtSvid,
  makeToken,
  makeX509Jwk,
} from "../../fakes/jose-factory.ts";
import { type FactoryKeyKind, makeAuthority, makeFactoryKey } from "../../fakes/svid-factory.ts";
import { FakeWorkloadEndpoint } from "../../fakes/workload-endpoint.ts";
import { jwkSetBytes, jwkSetText, makeWitSvid, witSvidMessage } from "../../fakes/workload-messages.ts";

const TD = "spiffe://factory.test";
const ID = `${TD}/workload`;
const now = Math.floor(Date.now() / 1000);
const key = makeFactoryKey();
const otherKey = makeFactoryKey();
const holder = makeFactoryKey();
const jwtSource: JwtBundleSource = {
  ...staticBundleSource([]),
  jwtBundles: () =>
    readJwtBundles({
      [TD]: jwkSetBytes({ factory: key }),
      "spiffe://else.test": jwkSetBytes({ factory: otherKey }),
    }),
};
const witSource: WitBundleSource = {
  ...staticBundleSource([]),
  witBundles: () => readWitBundles({ [TD]: jwkSetText({ wit: key }) }),
};
const judge = (token: string, audience = "audience") => validateJwtSvid(token, jwtSource, { audience });

describe("JWT-SVIDs that must be accepted", () => {
  it.each<[FactoryKeyKind, readonly string[]]>([
    ["ec-p256", ["ES256"]],
    ["ec-p384", ["ES384"]],
    ["ec-p521", ["ES512"]],
    ["rsa-2048", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]],
  ])("JS-03 accepts every algorithm of a key of the kind %s", async (kind, algorithms) => {
    const signer = makeFactoryKey(kind);
    const source = {
      ...jwtSource,
      jwtBundles: () => readJwtBundles({ [TD]: jwkSetBytes({ factory: signer }) }),
    };
    for (const alg of algorithms) {
      const token = makeJwtSvid(signer, { header: { alg } });
      expect((await validateJwtSvid(token, source, { audience: "audience" })).spiffeId).toBe(ID);
    }
  });

  it.each<[string, string, object]>([
    ["JS-07", "claims that nobody knows", { claims: { x: 1, iss: "https://x" } }],
    ["JS-06", "typ JOSE", { header: { typ: "JOSE" } }],
    ["JS-06", "no typ", { header: { typ: undefined } }],
    ["JS-17", "an audience that is one text", { claims: { aud: "audience" } }],
    ["JS-11", "one audience among several", { claims: { aud: ["a", "audience"] } }],
  ])("%s accepts %s", async (_, __, parts) => {
    expect((await judge(makeJwtSvid(key, parts))).spiffeId).toBe(ID);
  });

  it("JS-27 allows the leeway that it is told, and no other", async () => {
    const late = makeJwtSvid(key, { claims: { exp: now - 5 } });
    await expect(judge(late)).rejects.toThrowCode("INVALID_JWT_SVID", "expired");
    const allowed = { audience: "audience", leewaySeconds: 60 };
    expect((await validateJwtSvid(late, jwtSource, allowed)).spiffeId).toBe(ID);
    const old = makeJwtSvid(key, { claims: { exp: now - 300 } });
    await expect(validateJwtSvid(old, jwtSource, allowed)).rejects.toThrowCode("INVALID_JWT_SVID", "expired");
  });
});

describe("JWT-SVIDs that must be refused", () => {
  it.each<[string, string, () => string, RegExp]>([
    ["JS-01", "a JWS in JSON serialisation", () => json(makeJwtSvid(key)), /three parts/],
    ["JS-04", "alg none", () => makeJwtSvid(key, { header: { alg: "none" } }), /^alg/],
    ["JS-04", "alg HS256 with the public key", () => makeJwtSvid(key, { header: { alg: "HS256" } }), /^alg/],
    ["JS-04", "alg EdDSA", () => makeJwtSvid(makeFactoryKey("ed25519")), /^alg/],
    ["JS-04", "alg ES256K", () => makeJwtSvid(key, { header: { alg: "ES256K" } }), /^alg/],
    ["JS-04", "no alg", () => makeJwtSvid(key, { header: { alg: undefined }, signAs: "ES256" }), /^alg/],
    ["JS-06", "typ wit+jwt", () => makeJwtSvid(key, { header: { typ: "wit+jwt" } }), /typ/],
    ["JS-06", "typ at+jwt", () => makeJwtSvid(key, { header: { typ: "at+jwt" } }), /typ/],
    ["JS-06", "typ in lower case", () => makeJwtSvid(key, { header: { typ: "jwt" } }), /typ/],
    ["JS-10", "no aud", () => makeJwtSvid(key, { claims: { aud: undefined } }), /aud/],
    ["JS-10", "an empty list of audiences", () => makeJwtSvid(key, { claims: { aud: [] } }), /aud/],
    ["JS-10", "an empty audience", () => makeJwtSvid(key, { claims: { aud: "" } }), /aud/],
    ["JS-11", "another audience", () => makeJwtSvid(key, { claims: { aud: ["other"] } }), /audience/],
    [
      "JS-11",
      "the audience in capitals",
      () => makeJwtSvid(key, { claims: { aud: ["AUDIENCE"] } }),
      /audience/,
    ],
    [
      "JS-11",
      "an audience that begins alike",
      () => makeJwtSvid(key, { claims: { aud: ["audience/x"] } }),
      /audience/,
    ],
    ["JS-15", "no exp", () => makeJwtSvid(key, { claims: { exp: undefined } }), /exp/],
    ["JS-15", "exp as text", () => makeJwtSvid(key, { claims: { exp: `${now + 60}` } }), /exp/],
    ["JS-15", "exp null", () => makeJwtSvid(key, { claims: { exp: null } }), /exp/],
    [
      "JS-16",
      "a bad alg before everything else",
      () => makeToken({ key, header: { alg: "x" }, payload: "?" }),
      /^alg/,
    ],
    ["JS-17", "an expired token", () => makeJwtSvid(key, { claims: { exp: now } }), /expired/],
    [
      "JS-18",
      "neither aud nor exp",
      () => makeJwtSvid(key, { claims: { aud: undefined, exp: undefined } }),
      /aud|exp/,
    ],
    ["WA-58", "the key of another trust domain", () => makeJwtSvid(otherKey), /signature/],
    [
      "WA-59",
      "a trust domain without a bundle",
      () => makeJwtSvid(key, { claims: { sub: "spiffe://x.test/y" } }),
      /no JWT bundle/,
    ],
    ["ID-23", "another sub under the same signature", () => swapped(makeJwtSvid(key)), /signature/],
    ["ID-25", "a WIT-SVID", () => makeWitSvid(key, holder), /typ/],
  ])("%s refuses %s", async (_, __, token, reason) => {
    const thrown: unknown = await judge(token()).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(thrown).toMatchObject({
      code: "INVALID_JWT_SVID",
      detail: expect.stringMatching(reason) as string,
    });
  });

  it.each(["JS-25", "JS-26", "WA-33", "WA-72"])("%s believes keys for JWT-SVIDs only", async () => {
    const document = makeBundleDocument([
      makeJwk(key, { use: "wit-svid", kid: "factory" }),
      makeX509Jwk(makeAuthority("factory.test", { key }), { kid: "factory" }),
    ]);
    const bundle = parseSpiffeBundle("factory.test", document);
    expect([bundle.x509.authorities.length, bundle.wit.keys.size, bundle.jwt.keys.size]).toEqual([1, 1, 0]);
    await expect(
      validateJwtSvid(makeJwtSvid(key), staticBundleSource([bundle]), { audience: "audience" }),
    ).rejects.toThrowCode("INVALID_JWT_SVID", "no JWT authority");
    const set = jwkSetBytes({ factory: key }, { use: "wit-svid" });
    expect(readJwtBundles({ [TD]: set }).get(parseTrustDomain("factory.test"))?.keys.size).toBe(0);
  });
});

describe("WIT-SVIDs", () => {
  let endpoint: FakeWorkloadEndpoint;
  let workload: WitSource;

  beforeAll(async () => {
    endpoint = await FakeWorkloadEndpoint.open();
    endpoint.send("fetchWITSVID", { svids: [witSvidMessage(ID, key, { holder })] });
    workload = await openWitSource({ address: endpoint.address });
  });
  afterAll(async () => {
    await workload?.[Symbol.asyncDispose]();
    await endpoint?.[Symbol.asyncDispose]();
  });

  const URL_ = "https://api.test/orders";
  const receive = (headers: RequestHeaders, more: object = {}) =>
    validateWitRequest(headers, witSource, { audiences: [URL_], ...more });
  /** A request with this WIT-SVID and a good proof by its holder. */
  const withProofOf = (wit: string, claims: object = {}, by = holder, header: object = {}) => ({
    "workload-identity-token": wit,
    "workload-proof-token": makeToken({
      key: by,
      header: { alg: "ES256", typ: "wpt+jwt", ...header },
      payload: { aud: URL_, exp: now + 30, jti: "p", wth: sha256(wit), ...claims },
    }),
  });

  it.each(["WS-37", "WS-38", "WS-41"])(
    "%s presents one with a Workload Proof Token, and the other end takes it",
    async () => {
      const headers = workload.present({ url: `${URL_}?x=1#y` });
      expect(Object.keys(headers)).toEqual(["workload-identity-token", "workload-proof-token"]);
      expect((await receive({ ...headers })).spiffeId).toBe(ID);
    },
  );

  it("WS-38 refuses the proof of another workload", async () => {
    const wit = makeWitSvid(key, holder);
    await expect(receive(withProofOf(wit, {}, otherKey))).rejects.toThrowCode("INVALID_PROOF", "signature");
  });

  it("WS-38 refuses a proof that was made for another WIT-SVID", async () => {
    const [one, two] = [makeWitSvid(key, holder), makeWitSvid(key, holder, { claims: { jti: "two" } })];
    const headers = { ...withProofOf(one), "workload-identity-token": two };
    await expect(receive(headers)).rejects.toThrowCode("INVALID_PROOF", "wth");
  });

  it.each(["WS-36", "WS-39", "WS-40"])("%s never takes one alone, nor from Authorization", async () => {
    const { "workload-identity-token": wit, "workload-proof-token": proof } = workload.present({ url: URL_ });
    await expect(receive({ "workload-identity-token": wit })).rejects.toThrowCode("INVALID_PROOF");
    await expect(
      receive({ authorization: `Bearer ${wit}`, "workload-proof-token": proof }),
    ).rejects.toThrowCode("INVALID_WIT_SVID", "workload-identity-token");
    await expect(judge(wit)).rejects.toThrowCode("INVALID_JWT_SVID", "typ");
  });

  it.each(["WS-48", "WS-49"])("%s makes proofs for seconds and refuses those for longer", async () => {
    const { "workload-proof-token": proof } = workload.present({ url: URL_ });
    expect(payloadOf(proof)["exp"]).toBeLessThanOrEqual(now + 60);
    const wit = makeWitSvid(key, holder);
    await expect(receive(withProofOf(wit, { exp: now - 1 }))).rejects.toThrowCode("INVALID_PROOF", "expired");
    await expect(receive(withProofOf(wit, { exp: now + 900 }))).rejects.toThrowCode(
      "INVALID_PROOF",
      "end within",
    );
    await expect(receive(withProofOf(wit, { exp: undefined }))).rejects.toThrowCode("INVALID_PROOF", "exp");
    expect(() => workload.present({ url: URL_, lifetimeSeconds: 3600 })).toThrowCode("INVALID_REQUEST");
  });

  it("WS-50 can take each proof once only", async () => {
    const seen = new Set<string>();
    const firstUse = (id: string) => !seen.has(id) && seen.add(id) !== undefined;
    const headers = { ...workload.present({ url: URL_ }) };
    await receive(headers, { firstUse });
    await expect(receive(headers, { firstUse })).rejects.toThrowCode("INVALID_PROOF", "before");
  });

  it("WS-51 offers none for a plaintext URL", () => {
    expect(() => workload.present({ url: "http://api.test/orders" })).toThrowCode("INVALID_REQUEST", "https");
    expect(() => workload.present({ url: "/orders" })).toThrowCode("INVALID_REQUEST", "absolute");
  });

  it.each(["WS-19", "WS-28", "WS-09", "WS-32"])(
    "%s minds neither a jti seen before, nor a future iat, nor what it does not know",
    async () => {
      const wit = makeWitSvid(key, holder, { header: { x: 1 }, claims: { iat: now + 3600, y: 1 } });
      expect((await receive(withProofOf(wit))).claims).toMatchObject({ y: 1 });
      expect((await receive(withProofOf(wit, { jti: "q" }))).spiffeId).toBe(ID);
    },
  );

  it("WS-23 allows no more leeway than two minutes", async () => {
    const wit = makeWitSvid(key, holder, { claims: { exp: now - 30 } });
    expect((await receive(withProofOf(wit), { leewaySeconds: 60 })).spiffeId).toBe(ID);
    const old = makeWitSvid(key, holder, { claims: { exp: now - 300 } });
    await expect(receive(withProofOf(old), { leewaySeconds: 3600 })).rejects.toThrowCode(
      "INVALID_WIT_SVID",
      "expired",
    );
  });

  it("WS-26 can refuse those that live too long", async () => {
    const wit = makeWitSvid(key, holder, { claims: { nbf: now - 10, exp: now + 7200 } });
    await expect(receive(withProofOf(wit), { maxLifetimeSeconds: 3600 })).rejects.toThrowCode(
      "INVALID_WIT_SVID",
      "lives longer",
    );
    expect((await receive(withProofOf(wit), { maxLifetimeSeconds: 7300 })).spiffeId).toBe(ID);
  });

  const wit = (parts: { header?: object; claims?: object; cnf?: object } = {}) =>
    makeWitSvid(key, holder, parts);
  it.each<[string, string, () => string, RegExp]>([
    ["WS-01", "no kid", () => wit({ header: { kid: undefined } }), /kid/],
    ["WS-02", "a kid in capitals", () => wit({ header: { kid: "WIT" } }), /kid/],
    ["WS-04", "no typ", () => wit({ header: { typ: undefined } }), /typ/],
    ["WS-05", "typ JWT", () => wit({ header: { typ: "JWT" } }), /typ/],
    ["WS-05", "typ in capitals", () => wit({ header: { typ: "WIT+JWT" } }), /typ/],
    ["WS-07", "alg EdDSA", () => wit({ header: { alg: "EdDSA" } }), /^alg/],
    ["WS-07", "alg none", () => wit({ header: { alg: "none" } }), /^alg/],
    ["WS-07", "alg HS256", () => wit({ header: { alg: "HS256" } }), /^alg/],
    ["WS-09", "crit", () => wit({ header: { crit: ["x"], x: 1 } }), /crit/],
    ["WS-10", "no sub", () => wit({ claims: { sub: undefined } }), /sub/],
    ["WS-11", "a sub that is no SPIFFE ID", () => wit({ claims: { sub: "me" } }), /sub/],
    ["WS-13", "no cnf", () => wit({ claims: { cnf: undefined } }), /cnf/],
    ["WS-14", "a cnf without jwk", () => wit({ claims: { cnf: { kid: "x" } } }), /cnf.jwk/],
    ["WS-14", "a private key in cnf", () => wit({ cnf: { d: "AA" } }), /private/],
    ["WS-15", "no alg in cnf.jwk", () => wit({ cnf: { alg: undefined } }), /cnf.jwk.alg/],
    ["WS-15", "an alg that does not fit the key", () => wit({ cnf: { alg: "ES384" } }), /does not fit/],
    ["WS-16", "a jti that is a number", () => wit({ claims: { jti: 1 } }), /jti/],
    ["WS-21", "no exp", () => wit({ claims: { exp: undefined } }), /exp/],
    ["WS-22", "an expired token", () => wit({ claims: { exp: now } }), /expired/],
    ["WS-25", "a future nbf", () => wit({ claims: { nbf: now + 60 } }), /not valid yet/],
    ["WS-31", "an aud", () => wit({ claims: { aud: ["a"] } }), /aud/],
    [
      "WA-59",
      "a trust domain without a bundle",
      () => wit({ claims: { sub: "spiffe://x.test/y" } }),
      /no WIT bundle/,
    ],
    ["ID-26", "another authority's signature", () => makeWitSvid(otherKey, holder), /signature/],
    ["ID-24", "another key under the same signature", () => rebound(wit()), /signature/],
  ])("%s refuses %s", async (_, __, token, reason) => {
    const thrown: unknown = await receive(withProofOf(token())).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(thrown).toMatchObject({
      code: "INVALID_WIT_SVID",
      detail: expect.stringMatching(reason) as string,
    });
  });

  it.each<[string, object, object, RegExp]>([
    ["another audience", { aud: "https://else.test/" }, {}, /audience/],
    ["a list of audiences", { aud: [URL_] }, {}, /audience/],
    ["no jti", { jti: undefined }, {}, /jti/],
    ["no wth", { wth: undefined }, {}, /wth/],
    ["typ JWT", {}, { typ: "JWT" }, /typ/],
    ["no typ", {}, { typ: undefined }, /typ/],
    ["another alg than that of cnf.jwk", {}, { alg: "RS256" }, /alg/],
  ])("WS-38 refuses a proof with %s", async (_, claims, header, reason) => {
    const headers = withProofOf(wit(), claims, holder, header);
    await expect(receive(headers)).rejects.toThrowCode("INVALID_PROOF", reason);
  });

  it("WS-38 refuses a request with two of either field", async () => {
    const headers = { ...workload.present({ url: URL_ }) };
    const twice = (text: string) => `${text}, ${text}`;
    await expect(
      receive({ ...headers, "workload-proof-token": twice(headers["workload-proof-token"]) }),
    ).rejects.toThrowCode("INVALID_PROOF", "there once");
    await expect(
      receive({ ...headers, "workload-identity-token": twice(headers["workload-identity-token"]) }),
    ).rejects.toThrowCode("INVALID_WIT_SVID", "there once");
  });

  it.each(["WS-46", "WS-47", "WA-72"])("%s believes keys for WIT-SVIDs only", async () => {
    const bundle = parseSpiffeBundle(
      "factory.test",
      makeBundleDocument([makeJwk(key, { use: "jwt-svid", kid: "wit" })]),
    );
    const source = staticBundleSource([bundle]);
    await expect(validateWitRequest(withProofOf(wit()), source, { audiences: [URL_] })).rejects.toThrowCode(
      "INVALID_WIT_SVID",
      "no WIT authority",
    );
    const other = parseSpiffeBundle(
      "factory.test",
      makeBundleDocument([makeJwk(key, { use: "wit-svid", kid: "factory" })]),
    );
    await expect(
      validateJwtSvid(makeJwtSvid(key), staticBundleSource([other]), { audience: "audience" }),
    ).rejects.toThrowCode("INVALID_JWT_SVID", "no JWT authority");
  });

  it.each(["WA-66", "WA-19"])(
    "%s discards a message whose key is not that of cnf.jwk, and keeps the SVID",
    async () => {
      const problems: string[] = [];
      endpoint.send("fetchWITSVID", { svids: [witSvidMessage(ID, key)] });
      await using source = await openWitSource({
        address: endpoint.address,
        onProblem: ({ detail }) => problems.push(detail),
      });
      const { token } = source.witSvid();
      const stranger = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({
        format: "jwk",
      });
      for (const bad of [
        { ...witSvidMessage(ID, key), witSvidKey: JSON.stringify(stranger) },
        { ...witSvidMessage(ID, key), witSvidKey: "{}" },
        { ...witSvidMessage(ID, key), witSvid: "" },
        { ...witSvidMessage(ID, key), spiffeId: `${TD}/other` },
      ]) {
        endpoint.send("fetchWITSVID", { svids: [bad] });
      }
      endpoint.send("fetchWITSVID", { svids: [] });
      await expect.poll(() => problems).toHaveLength(5);
      expect(source.witSvid().token).toBe(token);
      expect(problems.join()).not.toContain(String(stranger.d));
    },
  );
});

function json(token: string): string {
  const [header, payload, signature] = token.split(".");
  return JSON.stringify({ payload, signatures: [{ protected: header, signature }] });
}

function payloadOf(token: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()) as Record<
    string,
    unknown
  >;
}

function swapped(token: string): string {
  return withPayload(token, { sub: `${TD}/admin` });
}

function rebound(token: string): string {
  return withPayload(token, { cnf: { jwk: makeJwk(otherKey, { alg: "ES256" }) } });
}

function withPayload(token: string, members: object): string {
  const [header = "", , signature = ""] = token.split(".");
  const payload = Buffer.from(JSON.stringify({ ...payloadOf(token), ...members })).toString("base64url");
  return `${header}.${payload}.${signature}`;
}

function sha256(text: string): string {
  return hash("sha256", text, "base64url");
}
