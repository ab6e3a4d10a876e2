import { generateKeyPairSync } from "node:crypto";
import { verifyAccessToken } from "../../../src/crypto/jose/access-token-verify.ts";
import { verifyDpopProof } from "../../../src/crypto/jose/dpop.ts";
import { parseJwtSvidInsecure, verifyJwtSvid } from "../../../src/crypto/jose/jwt-svid-verify.ts";
import { compressStatusList, expandStatusList } from "../../../src/crypto/jose/status-list.ts";
import { verifyStatusList } from "../../../src/crypto/jose/status-list-token.ts";
import { parseWitSvidInsecure, verifyWitSvid } from "../../../src/crypto/jose/wit-svid-verify.ts";
import { verifyWorkloadProof } from "../../../src/crypto/jose/workload-proof.ts";
import { normalTargetUri } from "../../../src/crypto/target-uri.ts";
import { type FuzzTarget, refuses, refusesLater } from "../fuzzer.ts";

const segment = (value: string) => Buffer.from(value).toString("base64url");
const PIECES = [
  ".",
  "=",
  "_",
  "-",
  ...[
    '{"alg":"ES256","kid":"k","typ":"JWT"}',
    '{"alg":"none"}',
    '{"alg":"HS256","kid":"k"}',
    '{"alg":"ES256","kid":"k","typ":"wit+jwt"}',
    '{"alg":"ES256","kid":"k","crit":["x"],"x":1}',
    '{"sub":"spiffe://fuzz.example/w","aud":["a"],"exp":4000000000}',
    '{"sub":"spiffe://fuzz.example/w","aud":"a","exp":1e400}',
    '{"sub":"spiffe://fuzz.example/w","cnf":{"jwk":{}},"exp":4000000000}',
    '{"sub":"spiffe://fuzz.example/w","sub":"spiffe://fuzz.example/x","aud":"a","exp":4000000000}',
  ].map(segment),
];
// Nobody in the corpus has the private half, so that a token which verifies is a finding.
const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const KEYS = new Map([["k", { publicKey }]]);
const NOW = 1_790_000_000;

/** JWT-SVIDs, as anybody sends them for validation. */
const jwtSvid: FuzzTarget = {
  name: "jwt-svid",
  dictionary: PIECES,
  async run(input) {
    const token = input.toString("latin1");
    if (refuses(["INVALID_JWT_SVID"], () => parseJwtSvidInsecure(token)) === undefined) return;
    const facts = await refusesLater(["INVALID_JWT_SVID"], () =>
      verifyJwtSvid(token, KEYS, { audience: "a", now: NOW }),
    );
    if (facts !== undefined) throw new Error("verified with a key that did not sign it");
  },
};

/** WIT-SVIDs, as peers present them. */
const witSvid: FuzzTarget = {
  name: "wit-svid",
  dictionary: PIECES,
  async run(input) {
    const token = input.toString("latin1");
    if (refuses(["INVALID_WIT_SVID"], () => parseWitSvidInsecure(token)) === undefined) return;
    const facts = await refusesLater(["INVALID_WIT_SVID"], () => verifyWitSvid(token, KEYS, { now: NOW }));
    if (facts !== undefined) throw new Error("verified with a key that did not sign it");
  },
};

/** Proofs of possession, as peers present them. */
const workloadProof: FuzzTarget = {
  name: "workload-proof",
  dictionary: PIECES,
  async run(input) {
    const facts = await refusesLater(["INVALID_PROOF"], () =>
      verifyWorkloadProof(
        input.toString("latin1"),
        {
          text: "wit",
          facts: {
            spiffeId: "spiffe://fuzz.example/w" as never,
            keyId: "k",
            expiresAt: NOW + 60,
            confirmationKey: publicKey,
            confirmationAlgorithm: { name: "ES256", kind: "ec", curve: "prime256v1" } as never,
            claims: {},
          },
        },
        { audiences: ["a"], now: NOW, maxLifetimeSeconds: 60 },
      ),
    );
    if (facts !== undefined) throw new Error("verified with a key that did not sign it");
  },
};

/** Proofs of possession, as they come with requests. The corpus has good ones, whose keys nobody has any more. */
const dpopProof: FuzzTarget = {
  name: "dpop-proof",
  dictionary: [
    ...PIECES,
    ...[
      '{"typ":"dpop+jwt","alg":"ES256","jwk":{"kty":"EC","crv":"P-256","x":"","y":""}}',
      '{"typ":"dpop+jwt","alg":"RS256","jwk":{"kty":"RSA","n":"AQ","e":"AQAB"}}',
      '{"jti":"x","htm":"POST","htu":"https://fuzz.example/t","iat":1790000000}',
      '{"jti":"x","htm":"POST","htu":"https://fuzz.example/%2e%2e/t","iat":1790000000,"nonce":"n"}',
    ].map(segment),
  ],
  async run(input) {
    const facts = await refusesLater(["INVALID_DPOP_PROOF", "DPOP_NONCE_REQUIRED"], () =>
      verifyDpopProof({
        proof: input.toString("latin1"),
        method: "POST",
        url: "https://fuzz.example/t",
        nonceIsGood: (nonce) => nonce === "n",
        now: NOW,
      }),
    );
    if (facts !== undefined && facts.jti !== "j") throw new Error("verified though nobody signed it");
  },
};

/** URIs of requests, as proofs name them: what one comes to comes to itself, and parses everywhere alike. */
const targetUri: FuzzTarget = {
  name: "target-uri",
  dictionary: [
    "https://",
    "HTTP://",
    "/../",
    "/./",
    "%2e",
    "%2F",
    "%zz",
    ":443",
    "[::1]",
    "?",
    "#",
    "@",
    "\\",
  ],
  run(input) {
    const normal = normalTargetUri(input.toString("latin1"));
    if (normal === undefined) return;
    if (normalTargetUri(normal) !== normal) throw new Error("is not the same a second time");
    const path = normal.replace(/^https?:\/\/[^/]*/, "");
    if (!path.startsWith("/") || /[?#\\]|\/\.{1,2}(?:\/|$)/.test(path)) throw new Error("is not normal");
  },
};

/** Access tokens, as they come with requests. */
const accessToken: FuzzTarget = {
  name: "access-token",
  dictionary: PIECES,
  async run(input) {
    const facts = await refusesLater(["INVALID_ACCESS_TOKEN"], () =>
      verifyAccessToken(input.toString("latin1"), KEYS, {
        issuer: "https://fuzz.example",
        audience: undefined,
        now: NOW,
      }),
    );
    if (facts !== undefined) throw new Error("verified with a key that did not sign it");
  },
};

/** Status lists, as issuers send them. */
const statusListToken: FuzzTarget = {
  name: "status-list-token",
  dictionary: PIECES,
  async run(input) {
    const facts = await refusesLater(["INVALID_STATUS_LIST"], () =>
      verifyStatusList(input.toString("latin1"), KEYS, { uri: "https://fuzz.example/s", now: NOW }),
    );
    if (facts !== undefined) throw new Error("verified with a key that did not sign it");
  },
};

/** What is compressed in a status list. */
const statusList: FuzzTarget = {
  name: "status-list",
  dictionary: ["\x78\xda", "\x78\x9c", "\x78\xbb"].map((piece) => Buffer.from(piece, "latin1")),
  run(input) {
    const lst = input.toString("base64url");
    const octets = refuses(["INVALID_STATUS_LIST"], () => expandStatusList(lst, MAX_LIST));
    if (octets === undefined) return;
    if (octets.length > MAX_LIST) throw new Error("unfolded to more than allowed");
    const again = expandStatusList(compressStatusList(octets), MAX_LIST);
    if (Buffer.compare(again, octets) !== 0) throw new Error("is not the same a second time");
  },
};
const MAX_LIST = 65_536;

export const tokenTargets: readonly FuzzTarget[] = [
  jwtSvid,
  witSvid,
  workloadProof,
  dpopProof,
  targetUri,
  accessToken,
  statusListToken,
  statusList,
];
