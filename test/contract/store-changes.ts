import { describe, expect, it } from "vitest";
import { changesAfter, content, newEntry, node } from "./store-samples.ts";
import type { StoreUnderTest } from "./store-suite.ts";

export function changeContract(subject: StoreUnderTest): void {
  describe("the change log", () => {
    it("has one row for each change, in order, and none for what changed nothing", async () => {
      const { store } = subject;
      expect(await store.changes.latest()).toBe(0);
      await store.entries.create([newEntry("a"), newEntry("b"), { ...newEntry("a"), id: "c" }]);
      await store.entries.update([
        { id: "b", content: content("/b", { hint: "h" }) },
        { id: "x", content: content("/x") },
      ]);
      await store.entries.delete(["a", "x"]);
      await store.entries.deleteExpired(10);
      await store.nodes.attested(node("n"));
      await store.nodes.update(node("n").id, { agentVersion: "2" });
      await store.nodes.activatePending(node("n").id, "zz");
      await store.nodes.delete([node("n").id, node("m").id]);
      await store.joinTokens.create({ hash: "t", expiresAt: 10 });
      await store.check();
      expect(await changesAfter(store, 0)).toEqual([
        "entry put a",
        "entry put b",
        "entry put b",
        "entry delete a",
        `node put ${node("n").id}`,
        `node put ${node("n").id}`,
        `node delete ${node("n").id}`,
      ]);
    });

    it("grows over a restart and reads in pages", async () => {
      await subject.store.entries.create([newEntry("a"), newEntry("b")]);
      const again = await subject.reopen();
      await again.entries.create([newEntry("c")]);
      const first = (await again.changes.since(0, 2)) ?? [];
      const rest = (await again.changes.since(first.at(-1)?.sequence ?? 0, 2)) ?? [];
      expect([...first, ...rest].map((row) => row.key)).toEqual(["a", "b", "c"]);
      const sequences = [...first, ...rest].map((row) => row.sequence);
      expect(sequences).toEqual([...new Set(sequences)].toSorted((a, b) => a - b));
      expect(await again.changes.latest()).toBe(sequences.at(-1));
      await expect(again.changes.since(0, 0)).rejects.toThrowCode("INVALID_REQUEST");
    });

    it("tells a reader that it is behind what was pruned, and never uses a sequence again", async () => {
      await subject.store.entries.create([newEntry("a"), newEntry("b"), newEntry("c")]);
      const last = await subject.store.changes.latest();
      await subject.store.changes.prune(last - 1);
      expect(await subject.store.changes.since(last - 2, 10)).toBeUndefined();
      expect(await changesAfter(subject.store, last - 1)).toEqual(["entry put c"]);
      await subject.store.changes.prune(last + 1000);
      const again = await subject.reopen();
      expect(await again.changes.latest()).toBe(last);
      expect(await again.changes.since(last, 10)).toEqual([]);
      await again.entries.create([newEntry("d")]);
      expect(await again.changes.latest()).toBeGreaterThan(last);
      await again.changes.prune(last - 1);
      expect(await again.changes.since(0, 10)).toBeUndefined();
    });

    it("calls a subscriber after a commit, not after a failure, and not after it left", async () => {
      let calls = 0;
      const subscription = subject.store.changes.subscribe(() => calls++);
      await subject.store.entries.create(Array.from({ length: 10 }, (_, n) => newEntry(`n${n}`)));
      await turn();
      expect(calls).toBe(1);
      await expect(
        subject.store.entries.create([{ ...newEntry("x"), ownerNode: node("none").id }]),
      ).rejects.toThrowCode("AGENT_NOT_FOUND");
      await subject.store.entries.delete(["absent"]);
      await turn();
      expect(calls).toBe(1);
      subscription[Symbol.dispose]();
      await subject.store.entries.delete(["n1"]);
      await turn();
      expect(calls).toBe(1);
    });

    it("keeps interleaved writes apart, each whole", async () => {
      const batches = Array.from({ length: 20 }, (_, b) =>
        Array.from({ length: 7 }, (_, n) => newEntry(`${b}-${n}`)),
      );
      await Promise.all(batches.map((batch) => subject.store.entries.create(batch)));
      const keys = (await changesAfter(subject.store, 0)).map((row) => row.split(" ")[2]?.split("-")[0]);
      for (let start = 0; start < keys.length; start += 7) {
        expect(new Set(keys.slice(start, start + 7)).size).toBe(1);
      }
      expect(keys).toHaveLength(140);
    });
  });

  describe("the store", () => {
    it("refuses everything after it was closed, and closes twice", async () => {
      const { store } = subject;
      const pending = store.entries.create([newEntry("a")]);
      await store[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
      await expect(pending).resolves.toHaveLength(1);
      await expect(store.check()).rejects.toThrowCode("STORE_UNAVAILABLE", /closed/);
      await expect(store.entries.list(0, 1)).rejects.toThrowCode("STORE_UNAVAILABLE", /closed/);
      const again = await subject.reopen();
      expect(await again.entries.get(["a"])).toHaveLength(1);
      await expect(again.check()).resolves.toBeUndefined();
    });
  });
}

// The listener is called soon; a few turns of the loop are soon.
async function turn(): Promise<void> {
  for (let n = 0; n < 3; n++) await new Promise((resolve) => setImmediate(resolve));
}
