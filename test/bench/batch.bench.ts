import { createPrivateKey, createPublicKey, randomUUID, sign, verify } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { generateEcKeyPair } from "../../src/crypto/keys.ts";
import { SvidsUnderWay } from "../../src/issuance/svids-under-way.ts";
import { issueX509Svids, type WorkloadIssuanceOptions } from "../../src/issuance/x509-svids.ts";
import { agentCaller, IssuanceBench } from "../fakes/issuance-bench.ts";
import { makeCsr } from "../fakes/issuance-csr.ts";

// Figures are ratios to one bare verification and one bare signature of the same run, which is the ceiling.
const BATCH = 50;
const orders = Array.from({ length: BATCH }, () => ({ entryId: "web", csr: makeCsr() }));
const pair = generateEcKeyPair("ec-p256");
const privateKey = createPrivateKey({ key: Buffer.from(pair.pkcs8), format: "der", type: "pkcs8" });
const publicKey = createPublicKey(privateKey);
const data = Buffer.alloc(300, 7);
const signature = sign("sha256", data, privateKey);
let bench: IssuanceBench;
let options: WorkloadIssuanceOptions;

beforeAll(async () => {
  bench = await IssuanceBench.open();
  bench.entry("web");
  options = {
    ...bench.options(),
    audit: { append: (records) => void JSON.stringify(records) },
    newDecisionId: randomUUID,
    underWay: new SvidsUnderWay(),
  };
});
afterAll(() => bench[Symbol.asyncDispose]());

const issue = async () => {
  const decided = await issueX509Svids(options, agentCaller(), orders);
  if (decided.some(({ error }) => error !== undefined)) throw new Error("an SVID was refused");
};

describe("a batch of X509-SVIDs", () => {
  test("is issued at no less than a third of the rate of its bare verifications and signatures", async ({
    bench: measure,
  }) => {
    const bare = await measure("50 bare verifications and signatures", () => {
      for (let n = 0; n < BATCH; n++) {
        verify("sha256", data, publicKey, signature);
        sign("sha256", data, privateKey);
      }
    }).run();
    const whole = await measure("50 X509-SVIDs, decided and recorded", () => issue()).run();
    expect(whole.latency.p50 / bare.latency.p50).toBeLessThan(3);
  });
});
