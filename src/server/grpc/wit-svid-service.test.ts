import { createPrivateKey } from "node:crypto";
import { createLocalJWKSet, jwtVerify } from "jose";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { TestAgent, wireId } from "../../../test/fakes/server-agent.ts";
import { ServerBench } from "../../../test/fakes/server-bench.ts";
import { statuses, wireEntry } from "../../../test/fakes/server-wire.ts";
import { jwkSet, spkiToJwk } from "../../crypto/jose/jwk.ts";
import type { SvidAlgorithm } from "../../crypto/jose/svid-algorithms.ts";
import { makeWitProof, MAX_WIT_PROOFS, WIT_PROOF_HEADER } from "../../crypto/jose/wit-proof.ts";
import { generateEcKeyPair, generateRsaKeyPair, type KeyPair } from "../../crypto/keys.ts";
import { LocalAuthority } from "../../proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts";
import { SVID } from "../../proto/gen/spire/api/server/svid/v1/svid_pb.ts";

const NOW = () => Math.floor(Date.now() / 1000);
const ec = generateEcKeyPair("ec-p256");

let bench: ServerBench;
let agent: TestAgent;
let other: TestAgent;
let entryId: string;
let shortId: string;
let foreignId: string;
beforeAll(async () => {
  bench = await ServerBench.start({ features: ["wit-svid"], maxWitSvidTtl: 7200 });
  agent = await TestAgent.attest(bench);
  other = await TestAgent.attest(bench);
  const { results } = await bench.entries.batchCreateEntry({
    entries: [
      wireEntry("mine", agent.id, { hint: "main", x509SvidTtl: 36_000 }),
      wireEntry("short", agent.id, { x509SvidTtl: 600 }),
      wireEntry("theirs", other.id),
    ],
  });
  [entryId = "", shortId = "", foreignId = ""] = results.map(({ entry }) => entry?.id);
});
afterAll(() => bench[Symbol.asyncDispose]());

const paramsOf = (id: string, { spki }: KeyPair, algorithm = "ES256") => ({
  entryId: id,
  publicKey: spki,
  signingAlgorithm: algorithm,
});

const proofOf = (
  subject: string,
  pair: KeyPair,
  algorithm: SvidAlgorithm = "ES256",
  caller: string = agent.id,
) =>
  makeWitProof(
    { trustDomain: "example.org", caller, subject, publicKey: pair.spki, algorithm },
    createPrivateKey({ key: Buffer.from(pair.pkcs8), format: "der", type: "pkcs8" }),
    NOW(),
  );

const headersOf = (...proofs: readonly string[]) => ({ headers: { [WIT_PROOF_HEADER]: proofs.join(",") } });

/** Verifies with the keys of the bundle that are for WIT-SVIDs, by a library that is not ours. */
async function verified(token: string) {
  const { witAuthorities } = await bench.bundles.getBundle({});
  const keys = jwkSet(witAuthorities.map(({ keyId, publicKey }) => ({ keyId, spki: publicKey }))).keys;
  return jwtVerify(token, createLocalJWKSet({ keys: [...keys] }), { typ: "wit+jwt" });
}

describe("BatchNewWITSVID", () => {
  it("answers each item in order, with tokens of the profile", async () => {
    const rsa = await generateRsaKeyPair(2048);
    const { results } = await agent.svids.batchNewWITSVID({
      params: [
        paramsOf(entryId, ec),
        paramsOf(foreignId, ec),
        paramsOf("none", ec),
        paramsOf(entryId, ec, "ES384"),
        paramsOf(entryId, ec, "EdDSA"),
        paramsOf(entryId, ec, ""),
        { entryId, publicKey: Buffer.from("junk"), signingAlgorithm: "ES256" },
        { entryId, publicKey: offCurve(ec.spki), signingAlgorithm: "ES256" },
        paramsOf(shortId, rsa, "PS256"),
      ],
    });
    expect(results.map(({ status }) => status?.code)).toEqual([0, 5, 5, 3, 3, 3, 3, 3, 0]);
    expect(results.slice(1, 8).every(({ svid }) => svid === undefined)).toBe(true);
    const svid = results[0]?.svid;
    const { payload, protectedHeader } = await verified(svid?.token ?? "");
    expect(Object.keys(protectedHeader).toSorted()).toEqual(["alg", "kid", "typ"]);
    expect(payload).toEqual({
      sub: "spiffe://example.org/mine",
      exp: Number(svid?.expiresAt),
      iat: Number(svid?.issuedAt),
      jti: expect.stringMatching(/^[0-9a-f-]{36}$/) as unknown,
      cnf: { jwk: { ...spkiToJwk(ec.spki), alg: "ES256" } },
    });
    expect(svid).toMatchObject({ id: wireId("spiffe://example.org/mine"), hint: "main" });
    // The entry's lifetime, capped by the configured maximum.
    expect(svid?.expiresAt).toBe((svid?.issuedAt ?? 0n) + 7200n);
    const second = await verified(results[8]?.svid?.token ?? "");
    expect((second.payload.exp ?? 0) - (second.payload.iat ?? 0)).toBe(600);
    expect(second.payload["cnf"]).toMatchObject({ jwk: { kty: "RSA", alg: "PS256" } });
  });

  it("takes proofs of possession, and refuses the item whose proof is wrong", async () => {
    const foreign = generateEcKeyPair("ec-p256");
    const params = [
      paramsOf(entryId, ec),
      paramsOf(shortId, ec),
      paramsOf(entryId, foreign),
      paramsOf(entryId, ec),
    ];
    const { results } = await agent.svids.batchNewWITSVID(
      { params },
      headersOf(proofOf(entryId, ec), proofOf(entryId, ec), proofOf(entryId, ec), "-"),
    );
    expect(statuses(results)).toEqual([
      "0 OK",
      "3 proof of possession does not verify",
      "3 proof of possession does not verify",
      "0 OK",
    ]);
  });

  it("does not take one agent's proof from another", async () => {
    const { results } = await other.svids.batchNewWITSVID(
      { params: [paramsOf(foreignId, ec)] },
      headersOf(proofOf(foreignId, ec)),
    );
    expect(statuses(results)).toEqual(["3 proof of possession does not verify"]);
  });

  it("refuses a number of proofs that is not that of the items", async () => {
    for (const proofs of [["-"], ["-", "-", "-"], Array.from({ length: 300 }, () => "-")]) {
      await expect(
        agent.svids.batchNewWITSVID(
          { params: [paramsOf(entryId, ec), paramsOf(shortId, ec)] },
          headersOf(...proofs),
        ),
      ).rejects.toMatchObject({ status: "INVALID_ARGUMENT" });
    }
  });

  it("takes as many proofs as it says, of the largest kind", async () => {
    const rsa = await generateRsaKeyPair(2048);
    const proof = proofOf(entryId, rsa, "RS512");
    const { results } = await agent.svids.batchNewWITSVID(
      { params: Array.from({ length: MAX_WIT_PROOFS }, () => paramsOf(entryId, rsa, "RS512")) },
      headersOf(...Array.from({ length: MAX_WIT_PROOFS }, () => proof)),
    );
    expect(results.filter(({ status }) => status?.code === 0)).toHaveLength(MAX_WIT_PROOFS);
  });

  it("refuses an empty batch", async () => {
    await expect(agent.svids.batchNewWITSVID({})).rejects.toMatchObject({ detail: "missing parameters" });
  });

  it("leaves one record a decision, which names no token", async () => {
    const { results } = await agent.svids.batchNewWITSVID({
      params: [paramsOf(entryId, ec), paramsOf("none", ec)],
    });
    const records = bench.audit().slice(-2);
    const token = results[0]?.svid?.token ?? "";
    const { payload } = await verified(token);
    expect(records).toMatchObject([
      {
        event: "svid.wit.issued",
        outcome: "issued",
        agent_id: agent.id,
        entry_id: entryId,
        spiffe_id: "spiffe://example.org/mine",
        jti: payload.jti,
        expires_at: payload.exp,
      },
      { event: "svid.denied", outcome: "denied", code: "ENTRY_NOT_FOUND" },
    ]);
    expect(JSON.stringify(records)).not.toContain(token.split(".")[2]);
  });
});

describe("MintWITSVID", () => {
  const mint = (request: object, options: object = {}) =>
    bench.admin.service(SVID).mintWITSVID(request, options);

  it("gives an administrator what it asks for", async () => {
    const request = {
      id: wireId("spiffe://example.org/by-hand"),
      publicKey: ec.spki,
      signingAlgorithm: "ES256",
      ttl: 120,
    };
    const { svid } = await mint(request);
    const { payload } = await verified(svid?.token ?? "");
    expect(payload.sub).toBe("spiffe://example.org/by-hand");
    expect((payload.exp ?? 0) - (payload.iat ?? 0)).toBe(120);
    const byDefault = await mint({ ...request, ttl: 0 });
    expect((byDefault.svid?.expiresAt ?? 0n) - (byDefault.svid?.issuedAt ?? 0n)).toBe(3600n);
    await mint(request, headersOf(proofOf("spiffe://example.org/by-hand", ec, "ES256", "")));
    await expect(mint(request, headersOf(proofOf("spiffe://example.org/by-hand", ec)))).rejects.toMatchObject(
      { status: "INVALID_ARGUMENT", detail: "proof of possession does not verify" },
    );
  });

  it.each([
    ["INVALID_ARGUMENT", { id: wireId("spiffe://example.org/web"), publicKey: new Uint8Array() }],
    ["INVALID_ARGUMENT", { id: wireId("spiffe://example.org/web"), signingAlgorithm: "RS256" }],
    ["INVALID_ARGUMENT", { id: wireId("spiffe://example.org/web"), ttl: -1 }],
    ["INVALID_ARGUMENT", { id: undefined }],
    ["PERMISSION_DENIED", { id: wireId("spiffe://other.org/web") }],
    ["PERMISSION_DENIED", { id: wireId("spiffe://example.org/spire/server") }],
    ["PERMISSION_DENIED", { id: wireId("spiffe://example.org") }],
  ])("answers %s to %j", async (status, change) => {
    await expect(mint({ publicKey: ec.spki, signingAlgorithm: "ES256", ...change })).rejects.toMatchObject({
      status,
    });
  });
});

describe("a server that asks for proofs", () => {
  it("gives nothing without one", async () => {
    await using strict = await ServerBench.start({
      features: ["wit-svid"],
      witProofOfPossession: "required",
    });
    const svids = strict.admin.service(SVID);
    const id = wireId("spiffe://example.org/web");
    const request = { id, publicKey: ec.spki, signingAlgorithm: "ES256" };
    await expect(svids.mintWITSVID(request)).rejects.toMatchObject({
      status: "PERMISSION_DENIED",
      detail: "a proof of possession of the key is required (rule key-possession)",
    });
    await svids.mintWITSVID(request, headersOf(proofOf("spiffe://example.org/web", ec, "ES256", "")));
  });
});

describe("the flag", () => {
  it("makes every WIT method Unimplemented, for whoever asks, and takes the keys out of the bundle", async () => {
    await using server = await ServerBench.start({ features: ["wit-svid"] });
    expect((await server.bundles.getBundle({})).witAuthorities).toHaveLength(1);
    await server.stop();
    await server.start({ features: [] });
    expect((await server.bundles.getBundle({})).witAuthorities).toEqual([]);
    const attested = await TestAgent.attest(server);
    const authorities = server.admin.service(LocalAuthority);
    for (const call of [
      () => server.admin.service(SVID).mintWITSVID({}),
      () => attested.svids.batchNewWITSVID({}),
      () => attested.svids.mintWITSVID({}),
      () => authorities.getWITAuthorityState({}),
      () => authorities.prepareWITAuthority({}),
      () => authorities.activateWITAuthority({}),
      () => authorities.taintWITAuthority({}),
      () => authorities.revokeWITAuthority({}),
    ]) {
      await expect(call()).rejects.toMatchObject({ status: "UNIMPLEMENTED" });
    }
  });
});

function offCurve(spki: Uint8Array): Uint8Array {
  const changed = Uint8Array.from(spki);
  changed[changed.length - 1] = (changed[changed.length - 1] as number) ^ 1;
  return changed;
}
