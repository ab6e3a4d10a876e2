import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { FakeClock } from "../../test/fakes/clock.ts";
import { makeKey } from "../../test/fakes/certificates.ts";
import { openDiskKeyManager } from "../keys/disk/disk.ts";
import { parseSpiffeId } from "../spiffe/id.ts";
import { parseTrustDomain } from "../spiffe/trust-domain.ts";
import { openSqliteStore } from "../store/sqlite/open.ts";
import { openSigning } from "./open-signing.ts";
import type { Signing } from "./signing.ts";

const trustDomain = parseTrustDomain("example.org");

it("goes on with the same authorities on the real store and real key files", async () => {
  const folder = await mkdtemp(join(tmpdir(), "assay-signing-sqlite-"));
  const clock = new FakeClock();
  /** A whole server life, from opening everything to closing it again. */
  const live = async <Result>(task: (signing: Signing) => Promise<Result>): Promise<Result> => {
    await using store = await openSqliteStore({ folder, trustDomain, clock });
    await using keyManager = await openDiskKeyManager(join(folder, "keys"));
    await using signing = await openSigning({
      trustDomain,
      store,
      keyManager,
      clock,
      random: randomBytes,
      options: { serverId: "one" },
    });
    return await task(signing);
  };
  try {
    const spiffeId = parseSpiffeId("spiffe://example.org/web");
    const order = { spiffeId, publicKey: makeKey().spki, dnsNames: [], ttl: 60 };
    const first = await live(async (signing) => {
      const foreign = { keyId: "foreign", publicKey: makeKey().spki, expiresAt: 0, tainted: false };
      await signing.appendToBundle({ x509Authorities: [], jwtAuthorities: [foreign] });
      const { authorityId } = await signing.signX509Svid(signing.prepareX509Svid(order));
      return { authorities: signing.authorities(), bundle: signing.bundle(), authorityId };
    });
    const second = await live(async (signing) => {
      const { authorityId } = await signing.signX509Svid(signing.prepareX509Svid(order));
      const seen = { authorities: signing.authorities(), bundle: signing.bundle(), authorityId };
      await signing.prepareAuthority("x509");
      await signing.activateAuthority("x509");
      return seen;
    });
    expect(plain(second)).toEqual(plain(first));
    expect(first.bundle.jwtAuthorities).toHaveLength(2);
    await live(async (signing) => {
      const { authorityId } = await signing.signX509Svid(signing.prepareX509Svid(order));
      expect(authorityId).not.toBe(first.authorityId);
      expect(signing.bundle().x509Authorities).toHaveLength(2);
      expect(signing.bundle().sequence).toBe(first.bundle.sequence + 1n);
      expect(
        signing
          .authorities()
          .map(({ state }) => state)
          .toSorted(),
      ).toEqual(["active", "active", "old"]);
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

/** The same facts with bytes as hex, so that a Buffer equals the Uint8Array of the same bytes. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString("hex");
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, held]) => [key, plain(held)]));
}
