import { describe, expect, it } from "vitest";
import { parseTrustDomain } from "../../src/spiffe/trust-domain.ts";
import { changesAfter, FOREIGN, foreignBundle, newEntry, OWN } from "./store-samples.ts";
import type { StoreUnderTest } from "./store-suite.ts";

const OTHER = parseTrustDomain("a.example");

export function bundleContract(subject: StoreUnderTest): void {
  describe("bundles", () => {
    it("gives back a bundle whole, its sequence up to 2^63-1, before and after a restart", async () => {
      const bundle = foreignBundle(2n ** 63n - 1n);
      expect(await subject.store.bundles.put(bundle, "create")).toEqual(bundle);
      const again = await subject.reopen();
      expect(await again.bundles.get(FOREIGN)).toEqual(bundle);
      expect(await again.bundles.get(OTHER)).toBeUndefined();
    });

    it("lists bundles by trust domain, the own one among them", async () => {
      await subject.store.bundles.put(foreignBundle(), "set");
      await subject.store.bundles.put(foreignBundle(1n, OTHER), "set");
      await subject.store.authorities.commit({}, (bundle) => ({ ...bundle, refreshHint: 1 }));
      const names = (await subject.store.bundles.list()).map((bundle) => bundle.trustDomain);
      expect(names).toEqual([OTHER, OWN, FOREIGN]);
    });

    it("creates only what is not there, updates only what is, sets either", async () => {
      const { bundles } = subject.store;
      await expect(bundles.put(foreignBundle(), "update")).rejects.toThrowCode("BUNDLE_NOT_FOUND");
      await bundles.put(foreignBundle(), "create");
      await expect(bundles.put(foreignBundle(2n), "create")).rejects.toThrowCode("ALREADY_EXISTS");
      await bundles.put(foreignBundle(2n), "update");
      await bundles.put(foreignBundle(3n), "set");
      expect((await bundles.get(FOREIGN))?.sequence).toBe(3n);
    });

    it("takes a bundle that says the same for no change", async () => {
      await subject.store.bundles.put(foreignBundle(), "set");
      const before = await subject.store.changes.latest();
      await subject.store.bundles.put(foreignBundle(), "set");
      await subject.store.bundles.put(foreignBundle(), "update");
      expect(await subject.store.changes.latest()).toBe(before);
    });

    it("leaves the own bundle to the authorities", async () => {
      const own = foreignBundle(1n, OWN);
      await expect(subject.store.bundles.put(own, "set")).rejects.toThrowCode("INVALID_BUNDLE");
      await expect(subject.store.bundles.delete(OWN, "delete")).rejects.toThrowCode("INVALID_BUNDLE");
    });

    it("deletes a bundle that nobody names in every mode, and says if there is none", async () => {
      for (const mode of ["restrict", "dissociate", "delete"] as const) {
        await subject.store.bundles.put(foreignBundle(), "create");
        await subject.store.bundles.delete(FOREIGN, mode);
        await expect(subject.store.bundles.delete(FOREIGN, mode)).rejects.toThrowCode("BUNDLE_NOT_FOUND");
      }
    });

    it("does not delete a bundle that entries name, if told to restrict", async () => {
      const before = await twoEntries();
      const deletion = subject.store.bundles.delete(FOREIGN, "restrict");
      await expect(deletion).rejects.toThrowCode("BUNDLE_IN_USE", /1 registration/);
      expect(await subject.store.bundles.get(FOREIGN)).toBeDefined();
      expect(await subject.store.changes.latest()).toBe(before);
    });

    it("takes the name out of entries, if told to dissociate", async () => {
      const before = await twoEntries();
      await subject.store.bundles.delete(FOREIGN, "dissociate");
      const [both, other] = await subject.store.entries.get(["both", "other"]);
      expect(both).toMatchObject({ federatesWith: [OTHER], revision: 1 });
      expect(other).toMatchObject({ federatesWith: [OTHER], revision: 0 });
      expect(await changesAfter(subject.store, before)).toEqual([
        "entry put both",
        `bundle delete ${FOREIGN}`,
      ]);
      await expect(subject.store.bundles.delete(OTHER, "restrict")).rejects.toThrowCode("BUNDLE_IN_USE");
    });

    it("deletes the entries that name it, if told to delete", async () => {
      const before = await twoEntries();
      await subject.store.bundles.delete(FOREIGN, "delete");
      expect((await subject.store.entries.list(0, 10)).map((entry) => entry.id)).toEqual(["other"]);
      expect(await changesAfter(subject.store, before)).toEqual([
        "entry delete both",
        `bundle delete ${FOREIGN}`,
      ]);
    });

    it("forgets what an entry federated with when the entry changes or goes", async () => {
      await twoEntries();
      const [both] = await subject.store.entries.get(["both"]);
      if (both === undefined) throw new Error("expected the entry");
      await subject.store.entries.update([{ id: "both", content: { ...both, federatesWith: [] } }]);
      await subject.store.bundles.delete(FOREIGN, "restrict");
      await subject.store.entries.delete(["other"]);
      await subject.store.bundles.delete(OTHER, "restrict");
      expect(await subject.store.bundles.list()).toEqual([]);
    });

    async function twoEntries(): Promise<number> {
      await subject.store.bundles.put(foreignBundle(), "create");
      await subject.store.bundles.put(foreignBundle(1n, OTHER), "create");
      await subject.store.entries.create([
        newEntry("both", { federatesWith: [OTHER, FOREIGN] }),
        newEntry("other", { federatesWith: [OTHER] }),
      ]);
      return subject.store.changes.latest();
    }
  });
}
