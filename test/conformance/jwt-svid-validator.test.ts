import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeJwtSvid, makeToken } from "../fakes/jose-factory.ts";
import { makeAuthority, makeFactoryKey } from "../fakes/svid-factory.ts";
import { federate, judge, refusalOf } from "./foreign.ts";
import { eventually, firstOf, makeWorld, SECURED, type World } from "./world.ts";

const SUBJECT = "spiffe://factory.test/workload";
const key = makeFactoryKey();
const p384 = makeFactoryKey("ec-p384");
const p521 = makeFactoryKey("ec-p521");
const rsa = makeFactoryKey("rsa-2048");
const witKey = makeFactoryKey();
const authority = makeAuthority("factory.test", { key: makeFactoryKey() });
const now = Math.floor(Date.now() / 1000);

let world: World;

beforeAll(async () => {
  world = await makeWorld({ agentFlags: ["--rate-limit=off"] });
  await federate(world, {
    x509: [authority],
    jwt: { factory: key, p384, p521, rsa },
    wit: { wit: witKey },
  });
  await federate(world, { x509: [makeAuthority("x509-only.test")] }, "x509-only.test");
  await world.createEntry({ path: "/self", federatesWith: ["factory.test", "x509-only.test"] });
  await eventually(
    () => judge(world, makeJwtSvid(key)),
    (judged) => "spiffeId" in judged,
  );
});

afterAll(() => world?.[Symbol.asyncDispose]());

/** A token with this header, or with these claims, otherwise good; its text may be anything. */
const withHeader = (header: object | string) =>
  makeToken({ key, header, payload: { sub: SUBJECT, aud: ["audience"], exp: now + 300 } });
const withClaims = (claims: object) => makeJwtSvid(key, { claims });
const withPayload = (payload: string) =>
  makeToken({ key, header: { alg: "ES256", kid: "factory", typ: "JWT" }, payload });
const REFUSED = /^INVALID_ARGUMENT: /;

describe("tokens that must be accepted", () => {
  it.each([
    ["JS-06", "typ JWT", { typ: "JWT" }],
    ["JS-06", "typ JOSE", { typ: "JOSE" }],
    ["JS-06", "no typ", { typ: undefined }],
  ])("%s takes %s", async (_line, _what, header) => {
    expect(await judge(world, makeJwtSvid(key, { header }))).toMatchObject({ spiffeId: SUBJECT });
  });

  it.each([
    ["JS-17", "one audience as a text", { aud: "audience" }],
    ["JS-17", "audiences as a list", { aud: ["other", "audience"] }],
    ["JS-07", "claims that it does not know", { iss: "https://a.test", jti: "1", private: { a: [1] } }],
    ["JS-28", "no jti", { jti: undefined }],
  ])("%s takes %s", async (_line, _what, claims) => {
    expect(await judge(world, withClaims(claims))).toMatchObject({ spiffeId: SUBJECT });
  });

  it.each([
    ["ES256", key, "factory"],
    ["ES384", p384, "p384"],
    ["ES512", p521, "p521"],
    ["RS256", rsa, "rsa"],
    ["RS384", rsa, "rsa"],
    ["RS512", rsa, "rsa"],
    ["PS256", rsa, "rsa"],
    ["PS384", rsa, "rsa"],
    ["PS512", rsa, "rsa"],
  ] as const)("JS-04 takes %s, one of the nine", async (alg, signer, kid) => {
    expect(await judge(world, makeJwtSvid(signer, { header: { alg, kid } }))).toMatchObject({
      spiffeId: SUBJECT,
    });
  });

  it("JS-28 takes a token twice", async () => {
    const token = makeJwtSvid(key, { claims: { jti: "once" } });
    expect(await judge(world, token)).toMatchObject({ spiffeId: SUBJECT });
    expect(await judge(world, token)).toMatchObject({ spiffeId: SUBJECT });
  });
});

describe("headers that must be refused", () => {
  it.each<[string, object, string | undefined]>([
    ["none, unsigned", { alg: "none" }, "none"],
    ["none, signed all the same", { alg: "none" }, "ES256"],
    ["HS256 with the public key as its secret", { alg: "HS256" }, "HS256"],
    ["EdDSA", { alg: "EdDSA" }, "ES256"],
    ["ES256K", { alg: "ES256K" }, "ES256"],
    ["an alg in lower case", { alg: "es256" }, "ES256"],
    ["no alg", { alg: undefined }, "ES256"],
    ["an alg that is no text", { alg: ["ES256"] }, "ES256"],
    ["the alg of another kind of key", { alg: "RS256" }, "ES256"],
    ["the alg of another curve", { alg: "ES384" }, "ES256"],
  ])("JS-04 refuses %s", async (_what, header, signAs = "ES256") => {
    expect(await refusalOf(world, makeJwtSvid(key, { header, signAs }))).toMatch(REFUSED);
  });

  it("JS-04 refuses a missing signature", async () => {
    const [header = "", payload = ""] = makeJwtSvid(key).split(".");
    expect(await refusalOf(world, `${header}.${payload}.`)).toMatch(/signature/);
  });

  it.each(["wit+jwt", "at+jwt", "jwt", "", "application/jwt", 1, null])(
    "JS-06 refuses the typ %j",
    async (typ) => {
      expect(await refusalOf(world, makeJwtSvid(key, { header: { typ } }))).toMatch(
        /typ must be JWT or JOSE/,
      );
    },
  );

  it.each(["wit+jwt", "at+jwt"])("ID-25 does not take a token of the type %s for a JWT-SVID", async (typ) => {
    expect(await refusalOf(world, makeJwtSvid(key, { header: { typ } }))).toMatch(REFUSED);
  });

  it.each([
    ["an extension that must be understood", { crit: ["x"], x: 1 }],
    ["an unencoded payload", { b64: false, crit: ["b64"] }],
  ])("JS-04 refuses %s", async (_what, header) => {
    expect(await refusalOf(world, makeJwtSvid(key, { header }))).toMatch(REFUSED);
  });

  it("JS-16 looks at alg before anything else", async () => {
    const broken = makeToken({
      key,
      header: { alg: "none", kid: 5, typ: [] },
      payload: "no JSON",
      signAs: "ES256",
    });
    expect(await refusalOf(world, broken)).toMatch(/alg must be one of/);
    const unknownKey = makeJwtSvid(key, { header: { alg: "HS256", kid: "unknown" }, signAs: "HS256" });
    expect(await refusalOf(world, unknownKey)).toMatch(/alg must be one of/);
  });

  it.each([
    ["alg twice", '{"alg":"none","alg":"ES256","kid":"factory"}'],
    ["no object", '["ES256"]'],
    ["no JSON", "alg"],
  ])("JS-16 refuses a header with %s", async (_what, header) => {
    expect(await refusalOf(world, withHeader(header))).toMatch(REFUSED);
  });
});

describe("serialisations that must be refused", () => {
  it.each(["flattened", "general"])("JS-01 refuses the %s JSON serialisation", async (form) => {
    const [header, payload, signature] = makeJwtSvid(key).split(".");
    const signed = { protected: header, signature };
    const token = form === "general" ? { payload, signatures: [signed] } : { payload, ...signed };
    expect(await refusalOf(world, JSON.stringify(token))).toMatch(/compact serialisation/);
  });

  it.each([
    ["a fourth part", (token: string) => `${token}.x`],
    ["padding", (token: string) => `${token}==`],
    ["white space", (token: string) => ` ${token}`],
    ["standard base64", (token: string) => token.replaceAll("_", "/").replaceAll("-", "+").concat("+")],
  ])("JS-01 refuses a token with %s", async (_what, spoil) => {
    expect(await refusalOf(world, spoil(makeJwtSvid(key)))).toMatch(REFUSED);
  });
});

describe("audiences", () => {
  const BAD_AUDIENCES = [undefined, null, [], "", [""], 5, {}, ["audience", 5]];

  it.each(BAD_AUDIENCES)("JS-10 refuses aud %j", async (aud) => {
    expect(await refusalOf(world, withClaims({ aud }))).toMatch(REFUSED);
  });

  it("JS-18 refuses a token without aud and one without exp", async () => {
    expect(await refusalOf(world, withClaims({ aud: undefined }))).toMatch(/aud is missing/);
    expect(await refusalOf(world, withClaims({ exp: undefined }))).toMatch(/exp is missing/);
  });

  it.each([["other"], ["Audience"], ["audienc"], ["audience/"], ["audience "], ["*"]])(
    "JS-11 does not take %j for its audience",
    async (aud) => {
      expect(await refusalOf(world, withClaims({ aud: [aud] }))).toMatch(/another audience/);
    },
  );
});

describe("times", () => {
  it.each([undefined, null, String(now + 300), now + 300.5, [now + 300], -1, 0])(
    "JS-15 refuses exp %j",
    async (exp) => {
      expect(await refusalOf(world, withClaims({ exp }))).toMatch(REFUSED);
    },
  );

  it("JS-15 refuses an exp that no whole number can hold", async () => {
    const payload = (exp: string) => `{"sub":"${SUBJECT}","aud":"audience","exp":${exp}}`;
    expect(await refusalOf(world, withPayload(payload("1e300")))).toMatch(/exp must be whole seconds/);
    expect(await refusalOf(world, withPayload(payload(`${now + 300},"exp":${now + 600}`)))).toMatch(/twice/);
  });

  it.each(["JS-17", "JS-27"])("%s refuses a token five minutes after its end", async () => {
    const late = Math.floor(Date.now() / 1000);
    expect(await refusalOf(world, withClaims({ exp: late - 300 }))).toMatch(/expired/);
  });

  it("JS-17 refuses a token from its exp on, and before its nbf", async () => {
    const moment = Math.floor(Date.now() / 1000);
    expect(await refusalOf(world, withClaims({ exp: moment }))).toMatch(/expired/);
    expect(await refusalOf(world, withClaims({ nbf: moment + 300 }))).toMatch(/not valid yet/);
  });
});

describe("subjects and keys", () => {
  it.each([
    undefined,
    "",
    "workload",
    "spiffe://factory.test",
    "spiffe://factory.test/",
    "https://factory.test/x",
    5,
  ])("ID-01 refuses the subject %j", async (sub) => {
    expect(await refusalOf(world, withClaims({ sub }))).toMatch(REFUSED);
  });

  it.each(["SPIFFE://factory.test/x", "spiffe://FACTORY.test/x"])(
    "ID-18 does not take %s for another spelling",
    async (sub) => {
      expect(await refusalOf(world, withClaims({ sub }))).toMatch(REFUSED);
    },
  );

  it.each(["ID-26", "WA-58", "TB-02"])(
    "%s judges a subject by the keys of its own trust domain",
    async () => {
      expect(await refusalOf(world, withClaims({ sub: "spiffe://example.org/self" }))).toMatch(
        /no JWT authority/,
      );
      const { svids } = await world.api.fetchJWTSVID({ audience: ["audience"] }, SECURED);
      expect(await judge(world, svids[0]?.svid ?? "")).toMatchObject({
        spiffeId: "spiffe://example.org/self",
      });
    },
  );

  it("WA-59 trusts nobody of a trust domain without a bundle", async () => {
    expect(await refusalOf(world, withClaims({ sub: "spiffe://unknown.test/x" }))).toMatch(/no bundle/);
  });

  it("JS-25 does not use the key of an X.509 authority, nor that for WIT-SVIDs", async () => {
    expect(await refusalOf(world, makeJwtSvid(authority.key))).toMatch(/signature/);
    expect(await refusalOf(world, makeJwtSvid(authority.key, { header: { kid: undefined } }))).toMatch(
      REFUSED,
    );
    expect(await refusalOf(world, makeJwtSvid(witKey, { header: { kid: "wit" } }))).toMatch(
      /no JWT authority/,
    );
  });

  it("JS-26 refuses tokens of a trust domain without JWT keys, whose X.509 side stays", async () => {
    const token = withClaims({ sub: "spiffe://x509-only.test/x" });
    expect(await refusalOf(world, token)).toMatch(/no JWT authority/);
    const { bundles } = await firstOf(world.api.fetchX509Bundles({}, SECURED));
    expect(Object.keys(bundles)).toContain("spiffe://x509-only.test");
  });

  it.each(["ID-23", "ID-24"])("%s refuses a token that was changed after it was signed", async () => {
    const [header = "", payload = "", signature = ""] = makeJwtSvid(key).split(".");
    const claims = JSON.parse(Buffer.from(payload, "base64url").toString()) as object;
    const forged = Buffer.from(JSON.stringify({ ...claims, sub: `${SUBJECT}2` })).toString("base64url");
    expect(await refusalOf(world, `${header}.${forged}.${signature}`)).toMatch(/signature/);
  });
});
