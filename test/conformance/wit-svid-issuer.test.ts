import { createPrivateKey, createPublicKey } from "node:crypto";
import { readFile } from "node:fs/promises";
import { get } from "node:https";
import { json } from "node:stream/consumers";
import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, type JWK, jwtVerify } from "jose";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { generateEcKeyPair, generateRsaKeyPair } from "../../src/crypto/keys.ts";
import { Bundle } from "../../src/proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import { LocalAuthority } from "../../src/proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts";
import { SVID } from "../../src/proto/gen/spire/api/server/svid/v1/svid_pb.ts";
import { adminClient } from "../e2e/admin-rpc.ts";
import { assayJson, placeServer, startServer } from "../e2e/harness.ts";
import { eventually, firstOf, makeWorld, OWN_SELECTORS, SECURED, type World } from "./world.ts";

const SELF = "spiffe://example.org/self";
const NINE = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"];
const [ownUid = ""] = OWN_SELECTORS;

let world: World;
/** As one workload has it: token and private key. */
let own: { readonly token: string; readonly key: JWK };
let rsaKey: Uint8Array;

beforeAll(async () => {
  const flags = ["--feature=wit-svid"];
  world = await makeWorld({
    serverFlags: flags,
    agentFlags: flags,
  });
  // For every program of this user, so that two instances of the workload can ask.
  await world.createEntry({ path: "/self", selectors: [ownUid] });
  own = await eventually(() => fetchWit());
  rsaKey = (await generateRsaKeyPair(2048)).spki;
});

afterAll(() => world?.[Symbol.asyncDispose]());

describe("the header of a WIT-SVID", () => {
  it("WS-01 has a kid, which is that of a key in the bundle", async () => {
    const { kid = "" } = decodeProtectedHeader(own.token);
    expect(kid).not.toBe("");
    expect(witKeys(await bundle()).map((key) => key.kid)).toContain(kid);
  });

  it.each(["WS-04", "WS-05"])("%s has the typ wit+jwt", () => {
    expect(decodeProtectedHeader(own.token).typ).toBe("wit+jwt");
  });

  it("WS-06 has one of the nine algorithms, by which its signature verifies", async () => {
    for (const token of [own.token, await mint({ publicKey: rsaKey, signingAlgorithm: "PS384" })]) {
      expect(NINE).toContain(decodeProtectedHeader(token).alg);
      await verify(token);
    }
  });

  it.each(["WS-08", "WS-33"])("%s has alg, kid and typ, and nothing else", async () => {
    for (const token of [own.token, await mint()]) {
      expect(Object.keys(decodeProtectedHeader(token)).toSorted()).toEqual(["alg", "kid", "typ"]);
    }
  });
});

describe("the claims of a WIT-SVID", () => {
  it.each(["WS-10", "WS-11"])("%s name the workload that asked", async () => {
    const { svids } = await firstOf(world.api.fetchWITSVID({}, SECURED));
    expect(svids.map(({ spiffeId }) => spiffeId)).toEqual([SELF]);
    expect(decodeJwt(svids[0]?.witSvid ?? "").sub).toBe(SELF);
    expect(decodeJwt(await mint()).sub).toBe("spiffe://example.org/minted");
  });

  it("WS-12 have a cnf", () => {
    expect(decodeJwt(own.token)["cnf"]).toBeTypeOf("object");
  });

  it("WS-14 bind it to the public half of the workload's key, and show nothing of the other half", () => {
    const jwk = boundKey(own.token);
    expect(Object.keys(jwk).toSorted()).toEqual(["alg", "crv", "kty", "x", "y"]);
    const held = createPublicKey(createPrivateKey({ key: own.key, format: "jwk" }));
    const { kty, crv, x, y } = jwk;
    expect(held.export({ format: "jwk" })).toEqual({ kty, crv, x, y });
  });

  it("WS-14 bind it to an RSA key too", async () => {
    const jwk = boundKey(await mint({ publicKey: rsaKey, signingAlgorithm: "RS512" }));
    expect(Object.keys(jwk).toSorted()).toEqual(["alg", "e", "kty", "n"]);
    const held = createPublicKey({ key: jwk, format: "jwk" }).export({ format: "der", type: "spki" });
    expect(Buffer.compare(held, rsaKey)).toBe(0);
  });

  it("WS-15 name the algorithm of that key, one of the nine that it can sign by", async () => {
    expect(boundKey(own.token)).toMatchObject({ crv: "P-256", alg: "ES256" });
    const p384 = generateEcKeyPair("ec-p384").spki;
    expect(boundKey(await mint({ publicKey: p384, signingAlgorithm: "ES384" })).alg).toBe("ES384");
    for (const alg of NINE.filter((name) => !name.startsWith("ES"))) {
      expect(boundKey(await mint({ publicKey: rsaKey, signingAlgorithm: alg })).alg).toBe(alg);
    }
    for (const wrong of ["", "ES384", "RS256", "EdDSA", "none", "HS256", "es256"]) {
      await expect(mint({ signingAlgorithm: wrong })).rejects.toMatchObject({ status: "INVALID_ARGUMENT" });
    }
  });

  it("WS-16 have a jti that is text", () => {
    expect(decodeJwt(own.token).jti).toMatch(/^.{16,}$/);
  });

  it("WS-17 have a jti that comes once", async () => {
    const tokens = await Promise.all(Array.from({ length: 500 }, () => mint()));
    expect(new Set(tokens.map((token) => decodeJwt(token).jti)).size).toBe(500);
  });

  it("WS-20 end, in whole seconds, and not after the key that signed", async () => {
    const { exp = 0, iat = 0 } = decodeJwt(own.token);
    expect(Number.isInteger(exp)).toBe(true);
    expect(exp).toBeGreaterThan(iat);
    const { active } = await world.admin.service(LocalAuthority).getWITAuthorityState({});
    expect(exp).toBeLessThanOrEqual(Number(active?.expiresAt));
    const long = decodeJwt(await mint({ ttl: 2_000_000 }));
    expect(long.exp).toBeLessThanOrEqual(Number(active?.expiresAt));
  });

  it("WS-27 say when they were made, in whole seconds", () => {
    const { iat = 0 } = decodeJwt(own.token);
    expect(Number.isInteger(iat)).toBe(true);
    expect(iat).toBeLessThanOrEqual(Date.now() / 1000);
  });

  it("WS-31 name no audience", async () => {
    for (const token of [own.token, await mint()]) expect(decodeJwt(token).aud).toBeUndefined();
  });

  it("WS-34 are sub, exp, cnf, and what else may be", () => {
    expect(Object.keys(decodeJwt(own.token)).toSorted()).toEqual(["cnf", "exp", "iat", "jti", "sub"]);
  });
});

it("WS-30 leads to no OIDC discovery, where JWT-SVIDs do", async () => {
  const place = await placeServer(world.scratch, "issuer");
  const issuer = `https://localhost:${place.webAddress.split(":")[1] ?? ""}`;
  await using server = await startServer(place, ["--feature=wit-svid", `--jwt-issuer=${issuer}`]);
  using client = adminClient(server.place);
  const svids = client.service(SVID);
  const id = { trustDomain: "example.org", path: "/web" };
  const jwt = await svids.mintJWTSVID({ id, audience: ["a"] });
  expect(decodeJwt(jwt.svid?.token ?? "").iss).toBe(issuer);
  const publicKey = generateEcKeyPair("ec-p256").spki;
  const wit = await svids.mintWITSVID({ id, publicKey, signingAlgorithm: "ES256" });
  const token = wit.svid?.token ?? "";
  expect(decodeJwt(token).iss).toBeUndefined();
  const { keys } = await keysOf(issuer, await readFile(await server.trustBundleFile()));
  expect(keys.map(({ kid }) => kid)).toContain(decodeProtectedHeader(jwt.svid?.token ?? "").kid);
  expect(keys.map(({ kid }) => kid)).not.toContain(decodeProtectedHeader(token).kid);
});

it.each(["WS-18", "WS-35"])(
  "%s lets two instances of a workload on one node share token and key",
  async () => {
    const other = await world.asOther("FetchWITSVID");
    const [message] = other.messages;
    expect(message?.includes(own.token)).toBe(true);
    expect((await fetchWit()).token).toBe(own.token);
  },
);

describe("keys in the bundle", () => {
  it.each(["WS-03", "WS-43"])(
    "%s are one for each key pair, each with its own kid, over a rotation",
    async () => {
      const authorities = world.admin.service(LocalAuthority);
      const kids = async () => witKeys(await bundle()).map(({ kid = "" }) => kid);
      const before = await kids();
      const first = (await authorities.getWITAuthorityState({})).active?.authorityId ?? "";
      const { preparedAuthority } = await authorities.prepareWITAuthority({});
      const next = preparedAuthority?.authorityId ?? "";
      expect(await kids()).toEqual([...before, next]);
      await authorities.activateWITAuthority({ authorityId: next });
      expect(decodeProtectedHeader(await mint()).kid).toBe(next);
      expect(await kids()).toEqual([...before, next]);
      const keys = witKeys(await bundle());
      expect(new Set(keys.map(({ x, y }) => `${x ?? ""} ${y ?? ""}`)).size).toBe(keys.length);
      await authorities.taintWITAuthority({ authorityId: first });
      await authorities.revokeWITAuthority({ authorityId: first });
      expect(await kids()).toEqual([...before.filter((kid) => kid !== first), next]);
    },
  );

  it("WS-44 are for the use wit-svid, and no other key is", async () => {
    const { witAuthorities } = await world.admin.service(Bundle).getBundle({});
    const ids = witAuthorities.map(({ keyId }) => keyId);
    const { keys } = await bundle();
    for (const { use, kid = "" } of keys) expect(use === "wit-svid").toBe(ids.includes(kid));
    expect(witKeys({ keys })).toHaveLength(ids.length);
  });

  it("WS-45 have kids that no other key of the bundle has", async () => {
    const { keys } = await bundle();
    const kids = keys.flatMap(({ kid }) => kid ?? []);
    expect(new Set(keys.map(({ use }) => use))).toEqual(new Set(["x509-svid", "jwt-svid", "wit-svid"]));
    expect(keys.filter(({ use, kid }) => use !== "x509-svid" && (kid ?? "") === "")).toEqual([]);
    expect(new Set(kids).size).toBe(kids.length);
  });
});

interface BundleDocument {
  readonly keys: readonly (JWK & { readonly use?: string })[];
}

function bundle(): Promise<BundleDocument> {
  return assayJson<BundleDocument>(["bundle", "show", `--admin-socket=${world.server.place.adminSocket}`]);
}

/** The JWK set that relying parties of OIDC get. */
function keysOf(issuer: string, ca: Buffer): Promise<{ readonly keys: readonly JWK[] }> {
  return new Promise((resolve, reject) => {
    get(`${issuer}/keys`, { ca }, (answer) => {
      json(answer).then((body) => resolve(body as { readonly keys: readonly JWK[] }), reject);
    }).on("error", reject);
  });
}

function witKeys({ keys }: BundleDocument): readonly JWK[] {
  return keys.filter(({ use }) => use === "wit-svid");
}

function boundKey(token: string): JWK {
  return (decodeJwt(token)["cnf"] as { readonly jwk: JWK }).jwk;
}

async function verify(token: string): Promise<void> {
  // For the library's own use of the word, a key is for signatures or for encryption.
  const keys = witKeys(await bundle()).map((key) => ({ ...key, use: "sig" }));
  await jwtVerify(token, createLocalJWKSet({ keys }), { typ: "wit+jwt" });
}

async function fetchWit(): Promise<{ readonly token: string; readonly key: JWK }> {
  const { svids } = await firstOf(world.api.fetchWITSVID({}, SECURED));
  return { token: svids[0]?.witSvid ?? "", key: JSON.parse(svids[0]?.witSvidKey ?? "{}") as JWK };
}

async function mint(
  change: { publicKey?: Uint8Array; signingAlgorithm?: string; ttl?: number } = {},
): Promise<string> {
  const { svid } = await world.admin.service(SVID).mintWITSVID({
    id: { trustDomain: "example.org", path: "/minted" },
    publicKey: MINTED_KEY,
    signingAlgorithm: "ES256",
    ...change,
  });
  return svid?.token ?? "";
}

const MINTED_KEY = generateEcKeyPair("ec-p256").spki;
