import { describe, expect, it } from "vitest";
import * as der from "../../../src/crypto/der/writer.ts";
import { importLocalKey } from "../../../src/keys/local-key.ts";
import { guardKeyManager } from "../../../src/keys/guarded.ts";
import type { KeyManager, ManagedKey } from "../../../src/plugin/key-manager.ts";
import { checkUpstreamCa } from "../../../src/signing/upstream/check-answer.ts";
import { parseTrustDomain } from "../../../src/spiffe/trust-domain.ts";
import { makeCertificate, makeKey, TEST_NOW } from "../../fakes/certificates.ts";
import { FakeClock } from "../../fakes/clock.ts";

const MEGABYTE = 1_048_576;

/** SubjectPublicKeyInfo of an RSA key with this many bits. */
function rsaSpki(bits: number, exponent: readonly number[] = [1, 0, 1]): Uint8Array {
  const key = der.encode(
    der.sequence(
      der.unsignedInteger(Buffer.alloc(bits / 8, 0xff)),
      der.unsignedInteger(Uint8Array.from(exponent)),
    ),
  );
  return der.encode(
    der.sequence(der.sequence(der.oid("1.2.840.113549.1.1.1"), der.nullValue()), der.bitString(key)),
  );
}

describe("keys and certificates of services (class 12)", () => {
  const trustDomain = parseTrustDomain("example.org");
  const own = makeKey();
  const root = makeCertificate({ subject: "root", key: makeKey(), ca: true });
  const question = { trustDomain, publicKey: own.spki, now: TEST_NOW };

  it("an upstream authority's certificates are counted before one is read", () => {
    const garbage = Buffer.alloc(MEGABYTE, 0x30);
    const roots = [{ certificate: root.der, tainted: false }];
    const chain = Array.from({ length: 10_000 }, () => garbage);
    expect(() => checkUpstreamCa({ chain, roots }, question)).toThrowCode("UPSTREAM_REFUSED", /count/);
    const many = Array.from({ length: 10_000 }, () => ({ certificate: garbage, tainted: false }));
    expect(() => checkUpstreamCa({ chain: [caOf(own)], roots: many }, question)).toThrowCode(
      "UPSTREAM_REFUSED",
      /count/,
    );
  });

  it("a certificate of ten megabytes is refused by its size", () => {
    const roots = [{ certificate: root.der, tainted: false }];
    const chain = [Buffer.alloc(10 * MEGABYTE, 0x30)];
    expect(() => checkUpstreamCa({ chain, roots }, question)).toThrowCode("UPSTREAM_REFUSED");
  });

  it.each([
    ["of 16 kbit", rsaSpki(16_384)],
    ["of 1024 bits", rsaSpki(1024)],
    ["with exponent 1", rsaSpki(2048, [1])],
    ["that is a megabyte of zeros", Buffer.alloc(MEGABYTE)],
  ])("a key %s that a service names as ours signs nothing", async (_, publicKey) => {
    await using keys = guarded({ publicKey, sign: async () => new Uint8Array(64) });
    await expect(signWith(keys)).rejects.toThrowCode("KEY_UNAVAILABLE");
  });

  it.each([
    ["nothing", new Uint8Array()],
    ["a megabyte", Buffer.alloc(MEGABYTE, 0x30)],
    ["somebody else's", makeKey().sign(Buffer.from("data"))],
  ])("a signature that is %s does not leave", async (_, signature) => {
    await using keys = guarded({ publicKey: own.spki, sign: async () => signature });
    await expect(signWith(keys)).rejects.toThrowCode("KEY_UNAVAILABLE");
  });

  it("a private key file of another kind or of 16 kbit is refused before it signs", () => {
    expect(() => importLocalKey("a", Buffer.alloc(MEGABYTE, 0x30))).toThrowCode("KEY_UNAVAILABLE");
  });

  function caOf(key: ReturnType<typeof makeKey>): Uint8Array {
    return makeCertificate({ subject: "own", key, ca: true, uris: ["spiffe://example.org"] }).der;
  }
});

function guarded(key: Pick<ManagedKey, "publicKey" | "sign">): KeyManager {
  const managed: ManagedKey = { id: "a", type: "ec-p256", ...key };
  const manager: KeyManager = {
    generateKey: async () => managed,
    getKey: async () => managed,
    listKeys: async () => [managed],
    deleteKey: async () => {},
    async [Symbol.asyncDispose]() {},
  };
  return guardKeyManager(manager, { clock: new FakeClock(), report: () => {} });
}

async function signWith(keys: KeyManager): Promise<Uint8Array> {
  const key = await keys.getKey("a");
  if (key === undefined) throw new Error("there is no key");
  return key.sign(Buffer.from("data"), "der");
}
