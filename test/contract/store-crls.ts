import { describe, expect, it } from "vitest";
import { changesAfter, FOREIGN, OWN } from "./store-samples.ts";
import type { StoreUnderTest } from "./store-suite.ts";

const list = (trustDomain = OWN, authorityKeyId = "0a", octet = 1) => ({
  trustDomain,
  authorityKeyId,
  crl: Uint8Array.of(0x30, octet),
});

export function crlContract(subject: StoreUnderTest): void {
  describe("revocation lists", () => {
    it("keeps one list for each authority, whole, over a restart, in order", async () => {
      await subject.store.crls.put(list(OWN, "0b"));
      await subject.store.crls.put(list(FOREIGN));
      await subject.store.crls.put(list());
      await subject.store.crls.put(list(OWN, "0a", 2));
      const again = await subject.reopen();
      expect(await again.crls.list()).toEqual([list(OWN, "0a", 2), list(OWN, "0b"), list(FOREIGN)]);
    });

    it("notes each change under its trust domain, and none where nothing changes", async () => {
      const before = await subject.store.changes.latest();
      await subject.store.crls.put(list());
      await subject.store.crls.put(list());
      expect(await subject.store.crls.delete(OWN, "0a")).toBe(true);
      expect(await subject.store.crls.delete(OWN, "0a")).toBe(false);
      expect(await changesAfter(subject.store, before)).toEqual([`crl put ${OWN}`, `crl delete ${OWN}`]);
      expect(await subject.store.crls.list()).toEqual([]);
    });
  });
}
