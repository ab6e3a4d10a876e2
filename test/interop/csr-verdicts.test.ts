import { createPrivateKey, sign } from "node:crypto";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { generateEcKeyPair, generateRsaKeyPair, type KeyPair } from "../../src/crypto/keys.ts";
import { createCertificationRequest } from "../../src/crypto/pkcs10-writer.ts";
import { type CertificationRequest, readCertificationRequest } from "../../src/crypto/pkcs10.ts";
import type { SigningAlgorithm } from "../../src/crypto/signature-algorithm.ts";
import { assembleSigned } from "../../src/crypto/signed-der.ts";
import { AssayError } from "../../src/errors/assay-error.ts";
import { output } from "../e2e/program.ts";
import { makeScratch, type Scratch } from "../e2e/scratch.ts";
import { BUILD_PATIENCE, buildPeer, describeWith } from "./peers.ts";

interface Verdict {
  readonly accepted: boolean;
  readonly key?: string;
  readonly uris: readonly string[];
  readonly dnsNames: readonly string[];
}

/** A signing request that is damaged, and how. */
interface Case {
  readonly what: string;
  readonly der: Uint8Array;
}

let scratch: Scratch;
let judges: string;
beforeAll(async () => {
  scratch = await makeScratch();
  judges = await buildPeer("csr-judge");
}, BUILD_PATIENCE);
afterAll(() => scratch?.[Symbol.asyncDispose]());

describeWith(["go", "python", "openssl"], "a signing request changed octet by octet", () => {
  it.each([
    ["ec-p256", "ecdsa-sha256", async () => generateEcKeyPair("ec-p256")],
    ["ec-p384", "ecdsa-sha384", async () => generateEcKeyPair("ec-p384")],
    ["rsa-2048", "rsa-sha256", async () => generateRsaKeyPair(2048)],
  ] as const)(
    "with a key of type %s is taken only where Go and OpenSSL take it, and for the same words",
    async (_type, algorithm, makePair) => {
      const pair = await makePair();
      const cases = [...damaged(pair, algorithm)];
      const ours = cases.map(({ der }) => ourVerdict(der));
      const [gos, openssls] = await Promise.all([goVerdicts(cases), opensslVerdicts(cases)]);
      const faults: string[] = [];
      let taken = 0;
      for (const [n, { what }] of cases.entries()) {
        const [own, go, openssl] = [ours[n], gos[n], openssls[n]];
        if (own === undefined) continue;
        taken++;
        // Go parses URIs, changes how they are written and refuses some; ours are read as SPIFFE IDs by who wants one.
        if (!own.uris.every((uri) => PLAIN_URI.test(uri))) continue;
        if (go?.accepted !== true) faults.push(`${what}: Go refuses it`);
        else if (JSON.stringify(wordsOf(own)) !== JSON.stringify(go))
          faults.push(`${what}: Go reads other words`);
        if (openssl !== true) faults.push(`${what}: OpenSSL refuses it`);
      }
      expect(faults).toEqual([]);
      // The one that was not changed is among them, and so are others: changed names are still names.
      expect(taken).toBeGreaterThan(50);
      // Stricter than both together, and not by refusing everything.
      const refusedByOneOfThem = cases.filter((_, n) => gos[n]?.accepted !== true || !openssls[n]).length;
      expect(cases.length - taken).toBeGreaterThanOrEqual(refusedByOneOfThem);
    },
    180_000,
  );
});

/** Each octet changed, doubled, and left out: with the signature as it was, and signed anew. */
function* damaged({ pkcs8, spki }: KeyPair, algorithm: SigningAlgorithm): Generator<Case> {
  const key = createPrivateKey({ key: Buffer.from(pkcs8), format: "der", type: "pkcs8" });
  const digest = algorithm === "ecdsa-sha384" ? "sha384" : "sha256";
  const signed = (info: Uint8Array) => assembleSigned(info, algorithm, sign(digest, info, key));
  let info: Uint8Array = new Uint8Array();
  const whole = createCertificationRequest(
    {
      spki,
      subject: [{ oid: "2.5.4.3", value: "workload" }],
      uris: ["spiffe://example.org/workload"],
      dnsNames: ["workload.example.org"],
    },
    algorithm,
    (bytes) => {
      info = Uint8Array.from(bytes);
      return sign(digest, bytes, key);
    },
  );
  yield { what: "unchanged", der: whole };
  for (const { what, bytes } of changes(whole)) yield { what: `${what}, signature kept`, der: bytes };
  for (const { what, bytes } of changes(info))
    yield { what: `info ${what}, signed anew`, der: signed(bytes) };
}

function* changes(bytes: Uint8Array): Generator<{ readonly what: string; readonly bytes: Uint8Array }> {
  for (const [at, octet] of bytes.entries()) {
    for (const other of new Set([octet ^ 1, octet ^ 0x20, octet ^ 0x80, 0, 0xff, (octet + 1) & 0xff])) {
      if (other !== octet) yield { what: `${at}: ${octet} to ${other}`, bytes: bytes.with(at, other) };
    }
    const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)];
    yield { what: `${at}: doubled`, bytes: Buffer.concat([before, bytes.subarray(at, at + 1), after]) };
    yield { what: `${at}: left out`, bytes: Buffer.concat([before, after.subarray(1)]) };
  }
  yield { what: "with an octet more", bytes: Buffer.concat([bytes, Buffer.of(0)]) };
}

function ourVerdict(der: Uint8Array): CertificationRequest | undefined {
  try {
    return readCertificationRequest(der);
  } catch (error) {
    if (error instanceof AssayError && error.code === "INVALID_CSR") return undefined;
    throw error;
  }
}

function wordsOf({ spki, uris, dnsNames }: CertificationRequest): Verdict {
  return { accepted: true, key: Buffer.from(spki).toString("base64"), uris, dnsNames };
}

async function goVerdicts(cases: readonly Case[]): Promise<readonly Verdict[]> {
  const lines = await output(join(judges, "csr-judge"), [], { input: inputOf(cases), patience: 120_000 });
  return lines
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Verdict);
}

async function opensslVerdicts(cases: readonly Case[]): Promise<readonly boolean[]> {
  const args = [join(judges, "judge.py")];
  const lines = await output("/usr/bin/python3", args, { input: inputOf(cases), patience: 120_000 });
  return lines
    .trimEnd()
    .split("\n")
    .map((line) => line === "1");
}

function inputOf(cases: readonly Case[]): string {
  return cases.map(({ der }) => `${Buffer.from(der).toString("base64")}\n`).join("");
}

const PLAIN_URI = /^[a-z]+:\/\/[a-z.]+\/[A-Za-z0-9._~-]*$/;
