import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { generateEcKeyPair } from "../../src/crypto/keys.ts";
import { openMemoryKeyManager } from "../../src/keys/memory/memory.ts";
import type { ManagedKey } from "../../src/plugin/key-manager.ts";
import { openSigning } from "../../src/signing/open-signing.ts";
import type { Signing } from "../../src/signing/signing.ts";
import { parseAudiences } from "../../src/spiffe/audience.ts";
import { parseSpiffeId } from "../../src/spiffe/id.ts";
import { parseTrustDomain } from "../../src/spiffe/trust-domain.ts";
import { FakeAuthorityStore } from "../fakes/authority-store.ts";

const trustDomain = parseTrustDomain("example.org");
const spiffeId = parseSpiffeId("spiffe://example.org/billing/api");
const order = { spiffeId, publicKey: generateEcKeyPair("ec-p256").spki, dnsNames: [], ttl: 3600 };
const jwtOrder = { spiffeId, audiences: parseAudiences(["db"]), ttl: 300, includeJti: false };
const keyManager = openMemoryKeyManager();
const bytes = randomBytes(500);
let key: ManagedKey;
let signing: Signing;

beforeAll(async () => {
  key = await keyManager.generateKey("raw", "ec-p256");
  signing = await openSigning({
    trustDomain,
    store: new FakeAuthorityStore(trustDomain),
    keyManager,
    clock: systemClock,
    random: randomBytes,
    options: { serverId: "bench" },
  });
});
afterAll(async () => {
  await signing[Symbol.asyncDispose]();
  await keyManager[Symbol.asyncDispose]();
});

describe("signing", () => {
  test("makes X509-SVIDs at no less than a third of the rate of bare signatures", async ({ bench }) => {
    const raw = await bench("bare P-256 signature", () => void key.sign(bytes, "der")).run();
    const whole = await bench("X509-SVID: build, lint, sign", () =>
      signing.signX509Svid(signing.prepareX509Svid(order)),
    ).run();
    await bench("X509-SVID: build and lint", () => void signing.prepareX509Svid(order)).run();
    expect(whole.latency.p50 / raw.latency.p50).toBeLessThan(3);
  });

  test("mints JWT-SVIDs at no less than half the rate of bare signatures", async ({ bench }) => {
    const raw = await bench("bare P-256 signature", () => void key.sign(bytes, "p1363")).run();
    const whole = await bench("JWT-SVID: build, lint, sign", () =>
      signing.signJwtSvid(signing.prepareJwtSvid(jwtOrder)),
    ).run();
    expect(whole.latency.p50 / raw.latency.p50).toBeLessThan(2);
  });
});
