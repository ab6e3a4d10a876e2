import { describe, expect, it } from "vitest";
import { makeFactoryKey } from "../../../test/fakes/svid-factory.ts";
import { makeWitSvid } from "../../../test/fakes/workload-messages.ts";
import { parseWitSvidInsecure, verifyWitSvid } from "./wit-svid-verify.ts";
import { signWorkloadProof, verifyWorkloadProof } from "./workload-proof.ts";

const key = makeFactoryKey();
const holder = makeFactoryKey();
const now = Math.floor(Date.now() / 1000);
const keys = new Map([["wit", { publicKey: key.publicKey }]]);

describe("bounds of time that are no numbers", () => {
  it.each([
    ["leewaySeconds", { leewaySeconds: Number.NaN }],
    ["maxLifetimeSeconds", { maxLifetimeSeconds: Number.NaN }],
  ])("let no WIT-SVID in: %s", async (_, bounds) => {
    const text = makeWitSvid(key, holder);
    await verifyWitSvid(text, keys, { now });
    for (const at of [now, now + 1_000_000]) {
      await expect(verifyWitSvid(text, keys, { now: at, ...bounds })).rejects.toThrowCode("INVALID_WIT_SVID");
    }
  });

  it.each([
    ["leewaySeconds", { leewaySeconds: Number.NaN }],
    ["maxLifetimeSeconds", { maxLifetimeSeconds: Number.NaN }],
  ])("let no proof in: %s", async (_, bounds) => {
    const text = makeWitSvid(key, holder);
    const facts = parseWitSvidInsecure(text);
    const audience = "https://example.org/";
    const proofKey = { privateKey: holder.privateKey, algorithm: facts.confirmationAlgorithm };
    const proof = signWorkloadProof(text, proofKey, { audience, expiresAt: now + 30, id: "one" });
    const expected = { audiences: [audience], now, maxLifetimeSeconds: 300 };
    await verifyWorkloadProof(proof, { text, facts }, expected);
    for (const at of [now, now + 1_000_000]) {
      await expect(
        verifyWorkloadProof(proof, { text, facts }, { ...expected, now: at, ...bounds }),
      ).rejects.toThrowCode("INVALID_PROOF");
    }
  });
});
