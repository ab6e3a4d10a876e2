import { describe, expect, it } from "vitest";
import { verifyJwtSvid } from "../../../src/crypto/jose/jwt-svid-verify.ts";
import { parseWitSvidInsecure, verifyWitSvid } from "../../../src/crypto/jose/wit-svid-verify.ts";
import { signWorkloadProof, verifyWorkloadProof } from "../../../src/crypto/jose/workload-proof.ts";
import { makeJwk, makeToken } from "../../fakes/jose-factory.ts";
import { makeFactoryKey } from "../../fakes/svid-factory.ts";

// One key signs them all, under one kid: that a token is of another kind has to be seen by what it says.
const key = makeFactoryKey();
const holder = makeFactoryKey();
const now = Math.floor(Date.now() / 1000);
const keys = new Map([["k", { publicKey: key.publicKey }]]);
const sub = "spiffe://factory.test/workload";
const jwk = makeJwk(holder, { alg: "ES256" });
const times = { exp: now + 300, iat: now };
const header = (typ?: string) => ({ alg: "ES256", kid: "k", ...(typ === undefined ? {} : { typ }) });
const wit = makeToken({ key, header: header("wit+jwt"), payload: { sub, ...times, cnf: { jwk } } });
const proof = signWorkloadProof(
  wit,
  { privateKey: holder.privateKey, algorithm: parseWitSvidInsecure(wit).confirmationAlgorithm },
  { audience: "audience", expiresAt: now + 30, id: "1" },
);

const TOKENS = {
  "JWT-SVID": makeToken({ key, header: header("JWT"), payload: { sub, aud: ["audience"], ...times } }),
  "WIT-SVID": wit,
  "proof of possession": proof,
  "OpenID Connect ID token": makeToken({
    key,
    header: header("JWT"),
    payload: { iss: "https://issuer.test", sub: "user-1", aud: "audience", nonce: "n", ...times },
  }),
  "OAuth access token": makeToken({
    key,
    header: header("at+jwt"),
    payload: { iss: "https://issuer.test", sub, aud: "audience", client_id: "c", ...times },
  }),
  "DPoP proof": makeToken({
    key: holder,
    header: { alg: "ES256", typ: "dpop+jwt", jwk },
    payload: { jti: "1", htm: "POST", htu: "https://audience", iat: now },
  }),
  "Kubernetes service account token": makeToken({
    key,
    header: header(),
    payload: {
      iss: "https://kubernetes.test",
      sub: "system:serviceaccount:default:web",
      aud: ["audience"],
      "kubernetes.io": { namespace: "default" },
      ...times,
    },
  }),
} as const;

type Kind = keyof typeof TOKENS;

const ACCEPTORS: Readonly<Record<string, { readonly kind: Kind; accept(token: string): Promise<unknown> }>> =
  {
    "the validator of JWT-SVIDs": {
      kind: "JWT-SVID",
      accept: (token) => verifyJwtSvid(token, keys, { audience: "audience", now }),
    },
    "the validator of WIT-SVIDs": {
      kind: "WIT-SVID",
      accept: (token) => verifyWitSvid(token, keys, { now }),
    },
    "the validator of proofs": {
      kind: "proof of possession",
      accept: (token) =>
        verifyWorkloadProof(
          token,
          { text: wit, facts: parseWitSvidInsecure(wit) },
          { audiences: ["audience"], now, maxLifetimeSeconds: 60 },
        ),
    },
  };

describe.each(Object.entries(ACCEPTORS))("%s", (_, { kind, accept }) => {
  it.each(Object.entries(TOKENS))("takes its own kind alone: %s", async (name, token) => {
    const outcome = await accept(token).then(
      () => "accepted",
      () => "refused",
    );
    expect(outcome).toBe(name === kind ? "accepted" : "refused");
  });

  const payloadOf = (token: string) =>
    JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()) as Record<string, unknown>;
  const headerOf = (token: string) =>
    JSON.parse(Buffer.from(token.split(".")[0] ?? "", "base64url").toString()) as Record<string, unknown>;
  const signer = kind === "proof of possession" ? holder : key;
  const own = TOKENS[kind];
  const changed = (change: { header?: object; payload?: object | string; signAs?: string }) =>
    makeToken({
      key: signer,
      header: { ...headerOf(own), ...change.header },
      payload: typeof change.payload === "string" ? change.payload : { ...payloadOf(own), ...change.payload },
      ...(change.signAs === undefined ? {} : { signAs: change.signAs }),
    });

  it("takes a token that was put together in the same way, unchanged", async () => {
    await expect(accept(changed({}))).resolves.toBeDefined();
  });

  const text = JSON.stringify(payloadOf(own));
  it.each<[string, Parameters<typeof changed>[0]]>([
    ["alg none", { header: { alg: "none" }, signAs: "none" }],
    ["an HMAC with the public key as its secret", { header: { alg: "HS256" } }],
    ["another alg than the key's", { header: { alg: "ES384" }, signAs: "ES256" }],
    ["a critical header that nobody knows", { header: { crit: ["x"], x: 1 } }],
    ["the type in other letters", { header: { typ: "Jwt" } }],
    ["exp as a text", { payload: { exp: String(now + 300) } }],
    ["exp as a fraction", { payload: { exp: now + 300.5 } }],
    ["exp beyond every number", { payload: text.replace(/"exp":\d+/, '"exp":1e400') }],
    ["exp in the past", { payload: { exp: now - 1 } }],
    ["no exp", { payload: { exp: undefined } }],
    ["exp twice", { payload: text.replace(/"exp":\d+/, (exp) => `${exp},${exp}`) }],
    ["a payload that is no object", { payload: "[]" }],
  ])("refuses %s", async (_what, change) => {
    await expect(accept(changed(change))).rejects.toThrow();
  });

  it("refuses the JSON serialisation of a good token", async () => {
    const [protectedHeader, payload, signature] = own.split(".");
    const flattened = JSON.stringify({ protected: protectedHeader, payload, signature });
    await expect(accept(flattened)).rejects.toThrow();
  });

  it("refuses a token with a part more, a part less, or padding", async () => {
    await expect(accept(`${own}.`)).rejects.toThrow();
    await expect(accept(own.slice(0, own.lastIndexOf(".")))).rejects.toThrow();
    await expect(accept(`${own}==`)).rejects.toThrow();
  });
});
