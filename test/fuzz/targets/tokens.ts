import { generateKeyPairSync } from "node:crypto";
import { parseJwtSvidInsecure, verifyJwtSvid } from "../../../src/crypto/jose/jwt-svid-verify.ts";
import { parseWitSvidInsecure, verifyWitSvid } from "../../../src/crypto/jose/wit-svid-verify.ts";
import { verifyWorkloadProof } from "../../../src/crypto/jose/workload-proof.ts";
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

export const tokenTargets: readonly FuzzTarget[] = [jwtSvid, witSvid, workloadProof];
