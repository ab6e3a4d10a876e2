import { describe, expect, it } from "vitest";
import { changesAfter, newEntry, node, selectors } from "./store-samples.ts";
import type { StoreUnderTest } from "./store-suite.ts";

export function nodeContract(subject: StoreUnderTest): void {
  describe("nodes", () => {
    it("gives back every field of a node, before and after a restart", async () => {
      const written = await subject.store.nodes.attested(
        node("a", { pendingSerial: "0b", pendingExpiresAt: 7 }),
      );
      expect(written).toEqual({
        ...node("a", { pendingSerial: "0b", pendingExpiresAt: 7 }),
        banned: false,
        ordinal: written.ordinal,
      });
      const again = await subject.reopen();
      expect(await again.nodes.get([node("b").id, node("a").id])).toEqual([written]);
      expect(await again.nodes.list(0, 10)).toEqual([written]);
    });

    it("keeps a node's place when it attests again", async () => {
      const first = await subject.store.nodes.attested(node("a"));
      await subject.store.nodes.attested(node("b"));
      const again = await subject.store.nodes.attested(
        node("a", { serial: "ff", selectors: selectors("x:y") }),
      );
      expect(again).toMatchObject({
        ordinal: first.ordinal,
        serial: "ff",
        selectors: [{ type: "x", value: "y" }],
      });
      expect((await subject.store.nodes.list(first.ordinal, 10)).map((one) => one.id)).toEqual([
        node("b").id,
      ]);
    });

    it("refuses the attestation of a banned node and leaves it as it was", async () => {
      await subject.store.nodes.attested(node("a"));
      const banned = await subject.store.nodes.update(node("a").id, { banned: true, serial: "" });
      expect(banned).toMatchObject({ banned: true, serial: "" });
      const before = await subject.store.changes.latest();
      await expect(subject.store.nodes.attested(node("a", { serial: "ff" }))).rejects.toThrowCode(
        "AGENT_BANNED",
      );
      expect(await subject.store.nodes.get([node("a").id])).toEqual([banned]);
      expect(await subject.store.changes.latest()).toBe(before);
    });

    it("changes single fields and tells if there is no such node", async () => {
      const stored = await subject.store.nodes.attested(node("a"));
      const change = { expiresAt: 9, pendingSerial: "cc", pendingExpiresAt: 10, agentVersion: "2" };
      expect(await subject.store.nodes.update(stored.id, change)).toEqual({ ...stored, ...change });
      expect(await subject.store.nodes.update(stored.id, {})).toEqual({ ...stored, ...change });
      expect(await subject.store.nodes.update(node("b").id, change)).toBeUndefined();
      expect(await subject.store.nodes.update(node("b").id, {})).toBeUndefined();
    });

    it("makes a pending serial the active one exactly once", async () => {
      await subject.store.nodes.attested(node("a", { pendingSerial: "0b", pendingExpiresAt: 1_800_000_000 }));
      expect(await subject.store.nodes.activatePending(node("a").id, "0c")).toBeUndefined();
      expect(await subject.store.nodes.activatePending(node("a").id, "")).toBeUndefined();
      const outcomes = await Promise.all(
        Array.from({ length: 10 }, () => subject.store.nodes.activatePending(node("a").id, "0b")),
      );
      const won = outcomes.filter((outcome) => outcome !== undefined);
      expect(won).toHaveLength(1);
      expect(won[0]).toMatchObject({
        serial: "0b",
        expiresAt: 1_800_000_000,
        pendingSerial: "",
        pendingExpiresAt: 0,
      });
    });

    it("deletes a node together with the entries of its alias and no others", async () => {
      await subject.store.nodes.attested(node("a"));
      await subject.store.nodes.attested(node("b"));
      await subject.store.entries.create([
        newEntry("free"),
        { ...newEntry("of-a"), ownerNode: node("a").id },
        { ...newEntry("of-b"), ownerNode: node("b").id },
      ]);
      const before = await subject.store.changes.latest();
      const ids = [node("a").id, node("c").id, node("a").id];
      expect(await subject.store.nodes.delete(ids)).toEqual([true, false, false]);
      expect((await subject.store.entries.list(0, 10)).map((entry) => entry.id)).toEqual(["free", "of-b"]);
      expect(await changesAfter(subject.store, before)).toEqual([
        "entry delete of-a",
        `node delete ${node("a").id}`,
      ]);
    });
  });
}
