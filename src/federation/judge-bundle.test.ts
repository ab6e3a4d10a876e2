import { describe, expect, it } from "vitest";
import { emptyBundle, type SpiffeBundle } from "../spiffe/bundle.ts";
import { parseTrustDomain } from "../spiffe/trust-domain.ts";
import { judgeBundle, refreshInterval } from "./judge-bundle.ts";

const EMPTY = emptyBundle(parseTrustDomain("b.example"));

describe("a fetched bundle", () => {
  it.each([
    ["is older with a lower sequence, though it says something else", bundle(5n), bundle(4n, 2), "older"],
    ["is older with a lower sequence, though it says the same", bundle(5n), bundle(4n), "older"],
    ["is newer with a higher sequence", bundle(5n), bundle(6n, 2), "changed"],
    ["is no change where it says the same", bundle(5n), bundle(5n), "unchanged"],
    ["wins with the same sequence and something else to say", bundle(5n), bundle(5n, 2), "changed"],
    ["wins without a sequence", bundle(5n), bundle(0n, 2), "changed"],
    ["wins over a stored one without a sequence", bundle(0n), bundle(1n, 2), "changed"],
    ["is no change without a sequence, if it says the same", bundle(0n), bundle(0n), "unchanged"],
    ["is the first", undefined, bundle(1n), "changed"],
    ["distrusts everything if it has no keys", bundle(5n), { ...EMPTY, sequence: 6n }, "changed"],
    ["compares sequences beyond 2^53", bundle(2n ** 63n - 1n), bundle(2n ** 63n - 2n), "older"],
  ] as const)("%s", (_what, stored, fetched, verdict) => {
    expect(judgeBundle(stored, fetched)).toBe(verdict);
  });

  it("says the same whether its bytes come from the store or from a parser", () => {
    const [stored, fetched] = [bundle(5n), bundle(5n)];
    const buffers = fetched.x509Authorities.map((one) => ({
      ...one,
      certificate: Buffer.from(one.certificate),
    }));
    expect(judgeBundle(stored, { ...fetched, x509Authorities: buffers })).toBe("unchanged");
  });
});

describe("the time between refreshes", () => {
  it.each([
    ["the hint", 60, 60_000],
    ["five minutes without one", 0, 300_000],
    ["no less than five seconds", 1, 5_000],
    ["no more than a day", 31_536_000, 86_400_000],
    ["no more than a day, whatever the number", Number.MAX_SAFE_INTEGER, 86_400_000],
  ])("is %s", (_what, refreshHint, milliseconds) => {
    expect(refreshInterval({ ...EMPTY, refreshHint })).toBe(milliseconds);
  });

  it("is a minute as long as there is no bundle at all", () => {
    expect(refreshInterval(undefined)).toBe(60_000);
  });
});

function bundle(sequence: bigint, content = 1): SpiffeBundle {
  return {
    ...EMPTY,
    sequence,
    x509Authorities: [{ certificate: Uint8Array.of(0x30, content), tainted: false }],
    jwtAuthorities: [{ keyId: "k", publicKey: Uint8Array.of(content), expiresAt: 0, tainted: false }],
  };
}
