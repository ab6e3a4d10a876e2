import { describe, expect, it } from "vitest";
import { firstBundle, type SpiffeBundle } from "../../src/spiffe/bundle.ts";
import { authority, changesAfter, foreignBundle, OWN } from "./store-samples.ts";
import type { StoreUnderTest } from "./store-suite.ts";

export function authorityContract(subject: StoreUnderTest): void {
  describe("authorities", () => {
    it("gives back every field of an authority, before and after a restart", async () => {
      const jwt = authority("b", { kind: "jwt", state: "prepared", chain: [], notBefore: 1_700_000_500 });
      await subject.store.authorities.commit({ put: [jwt, authority("a")] }, keep);
      expect(await subject.store.authorities.list()).toEqual([authority("a"), jwt]);
      const again = await subject.reopen();
      expect(await again.authorities.list()).toEqual([authority("a"), jwt]);
    });

    it("starts from an empty bundle and gives it the next sequence with every change of content", async () => {
      const seen: SpiffeBundle[] = [];
      const commit = (edit: (bundle: SpiffeBundle) => SpiffeBundle) =>
        subject.store.authorities.commit({}, (bundle) => {
          seen.push(bundle);
          return edit(bundle);
        });
      expect(await commit(keep)).toEqual(firstBundle(OWN));
      const one = await commit(add(1));
      expect(one).toEqual({ ...firstBundle(OWN), sequence: 1n, x509Authorities: [certificate(1)] });
      expect(await commit((bundle) => ({ ...bundle, sequence: 77n }))).toEqual(one);
      expect((await commit(add(2))).sequence).toBe(2n);
      expect(seen.map((bundle) => bundle.sequence)).toEqual([0n, 0n, 1n, 1n]);
      expect(await subject.store.bundles.get(OWN)).toEqual({
        ...one,
        sequence: 2n,
        x509Authorities: [certificate(1), certificate(2)],
      });
    });

    it("never gives a sequence twice, over restarts and when the content comes back", async () => {
      expect((await subject.store.authorities.commit({}, add(1))).sequence).toBe(1n);
      const again = await subject.reopen();
      expect((await again.authorities.commit({}, () => firstBundle(OWN))).sequence).toBe(2n);
      expect((await again.authorities.commit({}, add(1))).sequence).toBe(3n);
    });

    it("counts 50 parallel commits one by one", async () => {
      const bundles = await Promise.all(
        Array.from({ length: 50 }, (_, n) => subject.store.authorities.commit({}, add(n))),
      );
      const sequences = bundles.map((bundle) => Number(bundle.sequence)).toSorted((a, b) => a - b);
      expect(sequences).toEqual(Array.from({ length: 50 }, (_, n) => n + 1));
      expect((await subject.store.bundles.get(OWN))?.x509Authorities).toHaveLength(50);
    });

    it("writes authorities and bundle together or not at all", async () => {
      await subject.store.authorities.commit({ put: [authority("a")] }, add(1));
      const before = await subject.store.changes.latest();
      const failing = subject.store.authorities.commit({ put: [authority("b")], delete: ["a"] }, () => {
        throw new Error("no");
      });
      await expect(failing).rejects.toThrow("no");
      const foreign = subject.store.authorities.commit({ delete: ["a"] }, () => foreignBundle());
      await expect(foreign).rejects.toThrowCode("INVALID_BUNDLE");
      expect(await subject.store.authorities.list()).toEqual([authority("a")]);
      expect(await subject.store.changes.latest()).toBe(before);
      await subject.store.authorities.commit({ put: [authority("b")], delete: ["a", "x"] }, add(2));
      expect(await changesAfter(subject.store, before)).toEqual([
        "authority put b",
        "authority delete a",
        `bundle put ${OWN}`,
      ]);
    });

    it("replaces an authority that is put again", async () => {
      await subject.store.authorities.commit({ put: [authority("a")] }, keep);
      await subject.store.authorities.commit({ put: [authority("a", { state: "old", changedAt: 9 })] }, keep);
      expect(await subject.store.authorities.list()).toEqual([
        authority("a", { state: "old", changedAt: 9 }),
      ]);
    });
  });
}

function keep(bundle: SpiffeBundle): SpiffeBundle {
  return bundle;
}

function certificate(n: number) {
  return { certificate: Uint8Array.of(n), tainted: n % 2 === 0 };
}

function add(n: number): (bundle: SpiffeBundle) => SpiffeBundle {
  return (bundle) => ({ ...bundle, x509Authorities: [...bundle.x509Authorities, certificate(n)] });
}
