import { describe, expect, it } from "vitest";
import { parseTrustDomain } from "../../src/spiffe/trust-domain.ts";
import type { EntryRecord } from "../../src/store/records.ts";
import type { EntryCreation } from "../../src/store/store.ts";
import {
  changesAfter,
  content,
  foreignBundle,
  fullContent,
  id,
  newEntry,
  node,
  selectors,
} from "./store-samples.ts";
import type { StoreUnderTest } from "./store-suite.ts";

export function entryContract(subject: StoreUnderTest): void {
  describe("entries", () => {
    it("gives back every field of an entry, before and after a restart", async () => {
      await subject.store.bundles.put(foreignBundle(), "set");
      const full = { id: "full", createdAt: 1_700_000_001, content: fullContent("/full") };
      const plain = newEntry("plain");
      const created = (await subject.store.entries.create([full, plain])).map(entryOf);
      expect(created[0]).toEqual({
        ...full.content,
        id: "full",
        createdAt: 1_700_000_001,
        revision: 0,
        ordinal: created[0]?.ordinal,
      });
      expect(await subject.store.entries.get(["plain", "full"])).toEqual([created[1], created[0]]);
      const again = await subject.reopen();
      expect(await again.entries.list(0, 10)).toEqual(created);
    });

    it("keeps an ID of 2048 bytes and a selector of 4096 bytes whole", async () => {
      const long = `/${"a".repeat(2048 - "spiffe://example.org/".length)}`;
      const selector = { type: "t".repeat(255), value: "\u00fc".repeat(2048) };
      await subject.store.entries.create([newEntry("long", { spiffeId: id(long), selectors: [selector] })]);
      const [entry] = await subject.store.entries.get(["long"]);
      expect(entry?.spiffeId).toHaveLength(2048);
      expect(entry?.selectors).toEqual([selector]);
    });

    it("answers each item of a batch, duplicates inside the batch included", async () => {
      const first = newEntry("one");
      const outcomes = await subject.store.entries.create([
        first,
        { ...first, id: "two" },
        { ...newEntry("three"), id: "one" },
        newEntry("four"),
      ]);
      expect(outcomes.map((item) => item.outcome)).toEqual(["created", "similar", "conflict", "created"]);
      const [one] = await subject.store.entries.get(["one"]);
      expect(outcomes.slice(0, 3).map(entryOf)).toEqual([one, one, one]);
      expect(await subject.store.entries.list(0, 10)).toHaveLength(2);
      const repeated = await subject.store.entries.create([
        { ...first, id: "five" },
        { ...newEntry("x"), id: "four" },
      ]);
      expect(repeated.map((item) => item.outcome)).toEqual(["similar", "conflict"]);
    });

    it("calls a repeated creation with the same id similar, not a conflict", async () => {
      await subject.store.entries.create([newEntry("one")]);
      const [again] = await subject.store.entries.create([newEntry("one")]);
      expect(again?.outcome).toBe("similar");
    });

    it("tells entries apart by SPIFFE ID, parent ID and selectors and by nothing else", async () => {
      const base = content("/same");
      const create = async (name: string, change: object) =>
        (await subject.store.entries.create([{ id: name, createdAt: 1, content: { ...base, ...change } }]))[0]
          ?.outcome;
      expect(await create("a", {})).toBe("created");
      expect(await create("b", { hint: "h", x509SvidTtl: 5, admin: true, dnsNames: ["a.b"] })).toBe(
        "similar",
      );
      expect(await create("c", { parentId: id("/other") })).toBe("created");
      expect(await create("d", { spiffeId: id("/other") })).toBe("created");
      expect(await create("e", { selectors: selectors("unix:uid:1000", "unix:gid:1") })).toBe("created");
      expect(await create("f", { selectors: selectors("unix:uid:1000,unix:gid:1") })).toBe("created");
    });

    it("refuses an item that federates with a trust domain without a bundle, and creates the others", async () => {
      await subject.store.bundles.put(foreignBundle(), "set");
      const nowhere = parseTrustDomain("nowhere.example");
      const outcomes = await subject.store.entries.create([
        newEntry("a", { federatesWith: [nowhere] }),
        newEntry("b", { federatesWith: [foreignBundle().trustDomain] }),
      ]);
      expect(outcomes[0]).toEqual({ outcome: "unknownBundle", trustDomain: nowhere });
      expect(outcomes[1]?.outcome).toBe("created");
      const [update] = await subject.store.entries.update([
        { id: "b", content: content("/b", { federatesWith: [nowhere] }) },
      ]);
      expect(update).toEqual({ outcome: "unknownBundle", trustDomain: nowhere });
      expect((await subject.store.entries.get(["a", "b"])).map((entry) => entry.revision)).toEqual([0]);
    });

    it("numbers entries in the order of creation and never uses a number twice, even over a restart", async () => {
      const batch = Array.from({ length: 130 }, (_, n) => newEntry(`n${n}`));
      const ordinals = (await subject.store.entries.create(batch)).map((item) => entryOf(item).ordinal);
      expect(ordinals).toEqual(ordinals.toSorted((a, b) => a - b));
      await subject.store.entries.delete(batch.map((entry) => entry.id));
      const again = await subject.reopen();
      const [next] = await again.entries.create([newEntry("next")]);
      expect(entryOf(next).ordinal).toBeGreaterThan(Math.max(...ordinals));
    });

    it("lists pages in order, each surviving entry once, while entries come and go", async () => {
      await subject.store.entries.create(Array.from({ length: 25 }, (_, n) => newEntry(`n${n}`)));
      const seen: string[] = [];
      let after = 0;
      for (let page = 0; ; page++) {
        const entries = await subject.store.entries.list(after, 10);
        if (entries.length === 0) break;
        seen.push(...entries.map((entry) => entry.id));
        after = entries.at(-1)?.ordinal ?? after;
        await subject.store.entries.delete([`n${page}`, `n${20 + page}`]);
        if (page < 3) await subject.store.entries.create([newEntry(`late${page}`)]);
      }
      const survivors = (await subject.store.entries.list(0, 100)).map((entry) => entry.id);
      expect(seen).toEqual([...new Set(seen)]);
      expect(survivors.filter((name) => !name.startsWith("late")).every((name) => seen.includes(name))).toBe(
        true,
      );
    });

    it.each([0, -1, 1.5, 10_001, Number.NaN])("refuses a page of %s entries", async (limit) => {
      await expect(subject.store.entries.list(0, limit)).rejects.toThrowCode("INVALID_REQUEST", /limit/);
    });

    it("gives entries in the order of the ids and leaves out what is not there", async () => {
      const many = Array.from({ length: 1200 }, (_, n) => newEntry(`n${n}`));
      await subject.store.entries.create(many);
      const ids = ["absent", ...many.map((entry) => entry.id).toReversed()];
      expect((await subject.store.entries.get(ids)).map((entry) => entry.id)).toEqual(ids.slice(1));
      expect(await subject.store.entries.get([])).toEqual([]);
    });

    it("replaces contents with one revision more, each item with its own outcome", async () => {
      await subject.store.bundles.put(foreignBundle(), "set");
      await subject.store.entries.create([newEntry("a"), newEntry("b")]);
      const outcomes = await subject.store.entries.update([
        { id: "a", content: fullContent("/a"), revision: 0 },
        { id: "a", content: content("/stale"), revision: 0 },
        { id: "b", content: fullContent("/a") },
        { id: "b", content: content("/b", { hint: "new" }) },
        { id: "c", content: content("/c") },
      ]);
      expect(outcomes.map((item) => item.outcome)).toEqual([
        "updated",
        "stale",
        "similar",
        "updated",
        "absent",
      ]);
      const [a, b] = await subject.store.entries.get(["a", "b"]);
      expect(a).toEqual({
        ...fullContent("/a"),
        id: "a",
        createdAt: 1_700_000_000,
        revision: 1,
        ordinal: a?.ordinal,
      });
      expect(b).toMatchObject({ hint: "new", revision: 1 });
      expect(outcomes[2]).toMatchObject({ entry: { id: "a" } });
    });

    it("frees an identity when an entry leaves it", async () => {
      await subject.store.entries.create([newEntry("a")]);
      await subject.store.entries.update([{ id: "a", content: content("/moved") }]);
      const [outcome] = await subject.store.entries.create([{ ...newEntry("a"), id: "b" }]);
      expect(outcome?.outcome).toBe("created");
    });

    it("tells of each id whether it was there to delete", async () => {
      await subject.store.entries.create([newEntry("a"), newEntry("b")]);
      expect(await subject.store.entries.delete(["a", "x", "a"])).toEqual([true, false, false]);
      expect(await subject.store.entries.delete([])).toEqual([]);
      expect((await subject.store.entries.list(0, 10)).map((entry) => entry.id)).toEqual(["b"]);
    });

    it("deletes what expired before a time and leaves what expires at it or never", async () => {
      await subject.store.entries.create([
        newEntry("never"),
        newEntry("past", { expiresAt: 999 }),
        newEntry("now", { expiresAt: 1000 }),
      ]);
      const before = await subject.store.changes.latest();
      expect(await subject.store.entries.deleteExpired(1000)).toEqual(["past"]);
      expect(await changesAfter(subject.store, before)).toEqual(["entry delete past"]);
      expect(await subject.store.entries.get(["never", "past", "now"])).toHaveLength(2);
    });

    it("refuses an entry of a node that does not exist, and the batch with it", async () => {
      const owned = { ...newEntry("owned"), ownerNode: node("gone").id };
      await expect(subject.store.entries.create([newEntry("a"), owned])).rejects.toThrowCode(
        "AGENT_NOT_FOUND",
      );
      expect(await subject.store.entries.list(0, 10)).toEqual([]);
      expect(await subject.store.changes.latest()).toBe(0);
    });
  });
}

function entryOf(creation: EntryCreation | undefined): EntryRecord {
  if (creation === undefined || !("entry" in creation)) throw new Error("expected an entry");
  return creation.entry;
}
