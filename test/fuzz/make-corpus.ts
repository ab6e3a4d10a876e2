/**
 * Writes the part of the corpus that is made of good inputs; run once, with what it wrote kept in the repository:
 * `node test/fuzz/make-corpus.ts`. Inputs that were found by fuzzing are beside them.
 */
import { generateKeyPairSync, sign } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { githubActions } from "../../src/attestation/task/oidc/presets/github-actions.ts";
import { gitlab } from "../../src/attestation/task/oidc/presets/gitlab.ts";
import { kubernetes } from "../../src/attestation/task/oidc/presets/kubernetes.ts";
import { formatBundleDocument } from "../../src/crypto/bundle-document.ts";
import { formatBundleMap } from "../../src/crypto/bundle-map.ts";
import { accessTokenSigningInput } from "../../src/crypto/jose/access-token.ts";
import { createDpopProof } from "../../src/crypto/jose/dpop.ts";
import { spkiToJwk } from "../../src/crypto/jose/jwk.ts";
import { assembleJwtSvid, jwtSvidSigningInput } from "../../src/crypto/jose/jwt-svid.ts";
import { compressStatusList } from "../../src/crypto/jose/status-list.ts";
import { statusListSigningInput } from "../../src/crypto/jose/status-list-token.ts";
import { assembleWitSvid, witSvidSigningInput } from "../../src/crypto/jose/wit-svid.ts";
import { signWorkloadProof } from "../../src/crypto/jose/workload-proof.ts";
import { toPem } from "../../src/crypto/pem.ts";
import { createCertificationRequest } from "../../src/crypto/pkcs10-writer.ts";
import {
  DeltaDiscoveryRequestSchema,
  DiscoveryRequestSchema,
} from "../../src/proto/gen/envoy/service/discovery/v3/discovery_pb.ts";
import {
  JWTSVIDRequestSchema,
  ValidateJWTSVIDRequestSchema,
  WITSVIDRequestSchema,
} from "../../src/proto/gen/spiffe/workload/workload_pb.ts";
import { parseTrustDomain } from "../../src/spiffe/trust-domain.ts";
import { makeCertificate, makeKey } from "../fakes/certificates.ts";
import { makeCrl } from "../fakes/crl.ts";

const DOMAIN = parseTrustDomain("fuzz.example");
const caKey = makeKey();
const ca = makeCertificate({
  subject: DOMAIN,
  key: caKey,
  ca: true,
  uris: [`spiffe://${DOMAIN}`],
  pathLength: 1,
});
const leafKey = makeKey("ec-p384");
const leaf = makeCertificate({
  subject: "w",
  key: leafKey,
  issuer: { certificate: ca, key: caKey },
  uris: [`spiffe://${DOMAIN}/w`],
  dnsNames: ["w.example", "*.w.example"],
  purposes: ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"],
});
const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const spki = publicKey.export({ format: "der", type: "spki" });
const rsaSpki = rsa.publicKey.export({ format: "der", type: "spki" });
const jose = (input: Uint8Array) => sign("sha256", input, { key: privateKey, dsaEncoding: "ieee-p1363" });
const claims = { sub: `spiffe://${DOMAIN}/w`, exp: 4_000_000_000, iat: 1_790_000_000 };
const jwtInput = jwtSvidSigningInput({ keyId: "k", alg: "ES256", claims: { ...claims, aud: ["a", "b"] } });
const witInput = witSvidSigningInput({
  keyId: "k",
  alg: "ES256",
  claims: { ...claims, jti: "j", publicKey: spki, keyAlgorithm: "ES256" },
});
const wit = assembleWitSvid(witInput, jose(witInput));
const accessInput = accessTokenSigningInput({
  keyId: "k",
  alg: "ES256",
  claims: {
    ...claims,
    iss: "https://fuzz.example",
    aud: "https://fuzz.example/v1/task",
    clientId: claims.sub,
    jti: "j",
    scope: "task",
    confirmation: { jkt: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" },
    status: { uri: "https://fuzz.example/s", idx: 7 },
    act: { sub: "a", act: { sub: "b" } },
  },
});
const statusInput = statusListSigningInput({
  keyId: "k",
  alg: "ES256",
  claims: {
    uri: "https://fuzz.example/s",
    list: Uint8Array.of(0xb9, 0xa3),
    iat: 1_790_000_000,
    exp: 4_000_000_000,
    ttl: 60,
  },
});
const proved = { method: "POST", url: "https://fuzz.example/t", jti: "j", now: 1_790_000_000, nonce: "n" };
const bundle = {
  trustDomain: DOMAIN,
  sequence: 2n ** 63n,
  refreshHint: 300,
  x509Authorities: [{ certificate: ca.der, tainted: false }],
  jwtAuthorities: [
    { keyId: "k", publicKey: spki, expiresAt: 0, tainted: false },
    { keyId: "r", publicKey: rsaSpki, expiresAt: 0, tainted: false },
  ],
  witAuthorities: [{ keyId: "w", publicKey: spki, expiresAt: 0, tainted: false }],
};
const text = (value: string) => Buffer.from(value, "utf8");
const h2 = (...frames: readonly (readonly [number, number, number, Buffer])[]) =>
  Buffer.concat([
    Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1"),
    ...frames.map(([type, flags, stream, payload]) => {
      const head = Buffer.alloc(9);
      head.writeUIntBE(payload.length, 0, 3);
      head.writeUInt8(type, 3);
      head.writeUInt8(flags, 4);
      head.writeUInt32BE(stream, 5);
      return Buffer.concat([head, payload]);
    }),
  ]);
const literal = (name: string, value: string) =>
  Buffer.concat([Buffer.of(0x40, name.length), text(name), Buffer.of(value.length), text(value)]);
const request = Buffer.concat([
  Buffer.of(0x83, 0x86, 0x04, 0x02),
  text("/x"),
  literal(":authority", "/tmp/a b.sock"),
  literal("workload.spiffe.io", "true"),
]);

const jws = (payload: object) => {
  const input = [{ alg: "ES256", kid: "k", typ: "JWT" }, payload]
    .map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"))
    .join(".");
  return text(`${input}.${jose(text(input)).toString("base64url")}`);
};
const ciClaims = { ...githubActions.sample.claims, iss: githubActions.sample.issuer, aud: "a" };

const CORPUS: Readonly<Record<string, readonly Uint8Array[]>> = {
  pkcs10: [
    createCertificationRequest({ spki: leafKey.spki }, "ecdsa-sha384", leafKey.sign),
    createCertificationRequest({ spki: rsaSpki }, "rsa-sha256", (bytes) =>
      sign("sha256", bytes, rsa.privateKey),
    ),
  ],
  x509: [ca.der, leaf.der],
  crl: [
    makeCrl({ issuer: { certificate: ca, key: caKey } }),
    makeCrl({ issuer: { certificate: ca, key: caKey }, revoked: [Uint8Array.of(1), Uint8Array.of(0xff, 2)] }),
  ],
  "certificate-list": [new Uint8Array(), leaf.der, Buffer.concat([leaf.der, ca.der])],
  json: [
    text("{}"),
    text('{"a":[1,2.5,-3e2,"\\u00e9",true,null],"b":{"a":{}}}'),
    text(formatBundleDocument(bundle)),
  ],
  bundle: [text('{"keys":[]}'), text(formatBundleDocument(bundle))],
  "bundle-map": [text('{"trust_domains":{}}'), text(formatBundleMap([bundle]))],
  jwks: [
    text('{"keys":[]}'),
    text(JSON.stringify({ keys: [spkiToJwk(spki, { keyId: "k" }), spkiToJwk(rsaSpki, { keyId: "r" })] })),
  ],
  pem: [
    text(toPem("CERTIFICATE", ca.der)),
    text(`comment\n${toPem("CERTIFICATE", leaf.der)}${toPem("CERTIFICATE", ca.der)}`),
  ],
  "spiffe-id": ["spiffe://a.example", "spiffe://a.example/b/c-d_e.f/...", "spiffe://1.2.3.4/x"].map(text),
  "jwt-svid": [text(assembleJwtSvid(jwtInput, jose(jwtInput)))],
  "oidc-token": [
    jws({ ...ciClaims, iat: 1_790_000_000, exp: 1_790_000_300, jti: "j" }),
    jws({ ...ciClaims, aud: ["a"], iat: 1_790_000_000.5, nbf: 1_789_999_400, exp: 1_790_000_300 }),
  ],
  "oidc-claims": [githubActions, gitlab, kubernetes].map(({ sample }) => text(JSON.stringify(sample.claims))),
  "oidc-keys": [
    text(
      JSON.stringify({
        keys: [
          { ...spkiToJwk(spki, { keyId: "k" }), use: "sig", alg: "ES256" },
          { ...spkiToJwk(rsaSpki, { keyId: "r" }), key_ops: ["verify"] },
        ],
      }),
    ),
  ],
  "wit-svid": [text(wit)],
  "workload-proof": [
    text(
      signWorkloadProof(
        wit,
        { privateKey, algorithm: { name: "ES256", kind: "ec" } as never },
        { audience: "a", expiresAt: 1_790_000_030, id: "j" },
      ),
    ),
  ],
  "dpop-proof": [
    text(createDpopProof(privateKey, proved)),
    text(createDpopProof(rsa.privateKey, proved)),
    text(createDpopProof(leafKey.privateKey, { ...proved, accessToken: "t" })),
  ],
  "target-uri": ["https://fuzz.example:443/a/../%7Eb/?c#d", "HTTP://[::1]:08080/%2f"].map(text),
  "access-token": [text(assembleJwtSvid(accessInput, jose(accessInput)))],
  "status-list-token": [text(assembleJwtSvid(statusInput, jose(statusInput)))],
  "status-list": [
    Buffer.from(compressStatusList(Uint8Array.of(0xb9, 0xa3)), "base64url"),
    Buffer.from(compressStatusList(new Uint8Array(65_537)), "base64url"),
  ],
  "authority-front": [
    h2(
      [4, 0, 0, Buffer.alloc(0)],
      [1, 5, 1, request],
      [1, 5, 3, Buffer.of(0x83, 0x86, 0x04, 0x01, 0x2f, 0xbf, 0xbe)],
    ),
    h2(
      [1, 0x29, 1, Buffer.concat([Buffer.of(2, 0, 0, 0, 0, 16), request.subarray(0, 9), Buffer.alloc(2)])],
      [9, 4, 1, request.subarray(9)],
    ),
  ],
  "sds-sotw": [
    toBinary(
      DiscoveryRequestSchema,
      create(DiscoveryRequestSchema, {
        node: { id: "n", cluster: "c" },
        resourceNames: ["default", "ROOTCA", `spiffe://${DOMAIN}/w`],
        responseNonce: "n",
        errorDetail: { code: 13, message: "no" },
      }),
    ),
    new Uint8Array(),
  ],
  "sds-delta": [
    toBinary(
      DeltaDiscoveryRequestSchema,
      create(DeltaDiscoveryRequestSchema, {
        node: { id: "n", cluster: "c" },
        resourceNamesSubscribe: ["default", "ALL"],
        resourceNamesUnsubscribe: ["ROOTCA"],
        initialResourceVersions: { default: "1" },
        responseNonce: "n",
      }),
    ),
    new Uint8Array(),
  ],
  "workload-api": [
    toBinary(
      JWTSVIDRequestSchema,
      create(JWTSVIDRequestSchema, { audience: ["a", "b"], spiffeId: `spiffe://${DOMAIN}/w` }),
    ),
    toBinary(
      ValidateJWTSVIDRequestSchema,
      create(ValidateJWTSVIDRequestSchema, { audience: "a", svid: "x.y.z" }),
    ),
    toBinary(WITSVIDRequestSchema, create(WITSVIDRequestSchema, { spiffeId: `spiffe://${DOMAIN}/w` })),
    new Uint8Array(),
  ],
};

for (const [name, inputs] of Object.entries(CORPUS)) {
  const folder = join(import.meta.dirname, "corpus", name);
  mkdirSync(folder, { recursive: true });
  for (const [n, input] of inputs.entries()) writeFileSync(join(folder, `good-${n}`), input);
}
