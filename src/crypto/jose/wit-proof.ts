import { constants, hash, type KeyObject, sign, verify } from "node:crypto";
import { AssayError } from "../../errors/assay-error.ts";
import { importPublicKey } from "../keys.ts";
import type { SvidAlgorithm } from "./svid-algorithms.ts";

/**
 * The gRPC metadata in which a request for WIT-SVIDs carries its proofs: one for each of its parameters, in their
 * order, joined by commas; `-` where there is none.
 */
export const WIT_PROOF_HEADER = "assay-proof-of-possession";

/** The most proofs that one request can carry: more would not fit the headers of a call. */
export const MAX_WIT_PROOFS = 100;

/** What a proof of possession is about; both ends know all of it without being told by the proof. */
export interface WitProofContext {
  readonly trustDomain: string;
  /** SPIFFE ID that the caller proved to the server; empty on the admin socket. */
  readonly caller: string;
  /** What is asked for: the id of the registration entry, or for an administrator the SPIFFE ID. */
  readonly subject: string;
  /** DER SubjectPublicKeyInfo of the key that the WIT-SVID is to be bound to. */
  readonly publicKey: Uint8Array;
  readonly algorithm: SvidAlgorithm;
}

/**
 * Proves that the caller holds the private key of `context.publicKey`: a signature, by the algorithm that the WIT-SVID
 * names, over the context and the time, which says that this caller wants this key bound to this identity now.
 * `now` is Unix seconds.
 */
export function makeWitProof(context: WitProofContext, privateKey: KeyObject, now: number): string {
  const signature = sign(digestOf(context.algorithm), proofInput(context, now), {
    key: privateKey,
    ...paddingOf(context.algorithm),
  });
  return `${now}.${signature.toString("base64url")}`;
}

/**
 * Checks a proof against what the server knows itself. It may be two minutes old, or as far in the future.
 * @throws AssayError `INVALID_REQUEST` where it is malformed, of another time or does not verify.
 */
export function checkWitProof(context: WitProofContext, proof: string, now: number): void {
  const [, time = "", encoded = ""] = /^(\d{1,12})\.([\w-]{1,1024})$/.exec(proof) ?? fail("is malformed");
  const signature = Buffer.from(encoded, "base64url");
  if (signature.toString("base64url") !== encoded) fail("is malformed");
  if (Math.abs(now - Number(time)) > MAX_AGE_SECONDS) fail("is not of this time");
  const key = { key: importPublicKey(context.publicKey, "INVALID_REQUEST"), ...paddingOf(context.algorithm) };
  if (!verify(digestOf(context.algorithm), proofInput(context, Number(time)), key, signature)) {
    fail("does not verify");
  }
}

// No part of it holds a line feed, and no JWS begins like it: a signature made for this proves nothing elsewhere.
function proofInput({ trustDomain, caller, subject, publicKey, algorithm }: WitProofContext, time: number) {
  if ([trustDomain, caller, subject].some((part) => part.includes("\n"))) fail("is malformed");
  const lines = [LABEL, trustDomain, caller, subject, algorithm, hash("sha256", publicKey, "hex"), time];
  return Buffer.from(lines.join("\n"), "utf8");
}

function digestOf(algorithm: SvidAlgorithm): string {
  return `sha${algorithm.slice(2)}`;
}

function paddingOf(algorithm: SvidAlgorithm) {
  if (algorithm.startsWith("ES")) return { dsaEncoding: "ieee-p1363" } as const;
  if (algorithm.startsWith("RS")) return { padding: constants.RSA_PKCS1_PADDING };
  return {
    padding: constants.RSA_PKCS1_PSS_PADDING,
    saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
  };
}

function fail(detail: string): never {
  throw new AssayError("INVALID_REQUEST", `proof of possession ${detail}`);
}

const LABEL = "assay-wit-svid-proof-of-possession-1";
const MAX_AGE_SECONDS = 120;
