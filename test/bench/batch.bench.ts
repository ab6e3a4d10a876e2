import { createPrivateKey, createPublicKey, randomUUID, sign, verify } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { generateEcKeyPair } from "../../src/crypto/keys.ts";
import { RequestPool } from "../../src/crypto/request-pool.ts";
import { loopLoad } from "../../src/issuance/loop-load.ts";
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

const issue = async (more: Partial<WorkloadIssuanceOptions> = {}) => {
  const decided = await issueX509Svids({ ...options, ...more }, agentCaller(), orders);
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

  test("costs nothing more where threads are ready and not needed", async ({ bench: measure }) => {
    const isFull = loopLoad();
    await using requests = new RequestPool({ isBusy: () => isFull() && false });
    await measure("50 X509-SVIDs", () => issue()).run();
    await measure("50 X509-SVIDs, threads not needed", () => issue({ requests })).run();
    expect(requests.threads).toBe(0);
  });

  test("shows what a thread gains, which is nothing where no processor is free", async ({
    bench: measure,
  }) => {
    await using requests = new RequestPool({ isBusy: () => true, threads: 1 });
    const four = (more?: Partial<WorkloadIssuanceOptions>) =>
      Promise.all([1, 2, 3, 4].map(() => issue(more)));
    await measure("4 × 50 X509-SVIDs", () => four()).run();
    await measure("4 × 50 X509-SVIDs, one thread reads requests", () => four({ requests })).run();
    expect(requests.threads).toBe(1);
  });
});
