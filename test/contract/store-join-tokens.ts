import { describe, expect, it } from "vitest";
import { id } from "./store-samples.ts";
import type { StoreUnderTest } from "./store-suite.ts";

export function joinTokenContract(subject: StoreUnderTest): void {
  describe("join tokens", () => {
    it("lets exactly one of 100 parallel callers consume a token", async () => {
      await subject.store.joinTokens.create({ hash: "ab", expiresAt: 1000, aliasId: id("/alias") });
      const uses = await Promise.all(
        Array.from({ length: 100 }, () => subject.store.joinTokens.consume("ab", 500)),
      );
      const consumed = uses.filter((use) => use.outcome === "consumed");
      expect(consumed).toEqual([{ outcome: "consumed", aliasId: id("/alias") }]);
      expect(uses.filter((use) => use.outcome === "used")).toHaveLength(99);
    });

    it("remembers over a restart that a token was used", async () => {
      await subject.store.joinTokens.create({ hash: "ab", expiresAt: 1000 });
      expect(await subject.store.joinTokens.consume("ab", 500)).toEqual({ outcome: "consumed" });
      const again = await subject.reopen();
      expect(await again.joinTokens.consume("ab", 500)).toEqual({ outcome: "used" });
    });

    it("takes a token until the second before its end and not from then on", async () => {
      await subject.store.joinTokens.create({ hash: "a", expiresAt: 1000 });
      await subject.store.joinTokens.create({ hash: "b", expiresAt: 1000 });
      expect(await subject.store.joinTokens.consume("a", 1000)).toEqual({ outcome: "expired" });
      expect(await subject.store.joinTokens.consume("b", 999)).toEqual({ outcome: "consumed" });
      expect(await subject.store.joinTokens.consume("b", 1000)).toEqual({ outcome: "used" });
      expect(await subject.store.joinTokens.consume("c", 1)).toEqual({ outcome: "unknown" });
    });

    it("refuses the same token twice, used or not", async () => {
      await subject.store.joinTokens.create({ hash: "a", expiresAt: 1000 });
      const again = () => subject.store.joinTokens.create({ hash: "a", expiresAt: 2000 });
      await expect(again()).rejects.toThrowCode("ALREADY_EXISTS");
      await subject.store.joinTokens.consume("a", 1);
      await expect(again()).rejects.toThrowCode("ALREADY_EXISTS");
    });

    it("forgets tokens that expired before a time, used or not", async () => {
      await subject.store.joinTokens.create({ hash: "a", expiresAt: 999 });
      await subject.store.joinTokens.create({ hash: "b", expiresAt: 1000 });
      await subject.store.joinTokens.create({ hash: "c", expiresAt: 10 });
      await subject.store.joinTokens.consume("c", 1);
      expect(await subject.store.joinTokens.prune(1000)).toBe(2);
      expect(await subject.store.joinTokens.consume("a", 1)).toEqual({ outcome: "unknown" });
      expect(await subject.store.joinTokens.consume("b", 1)).toEqual({ outcome: "consumed" });
    });
  });
}
