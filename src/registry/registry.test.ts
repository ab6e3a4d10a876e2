import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { draft, type OpenedRegistry, openTestRegistry } from "../../test/contract/registry-samples.ts";
import { FOREIGN, foreignBundle, newEntry, node, OWN } from "../../test/contract/store-samples.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { Store } from "../store/store.ts";
import { openRegistry } from "./registry.ts";
import type { RegistryChange } from "./registry-change.ts";

let opened: OpenedRegistry;
beforeEach(async () => {
  opened = await openTestRegistry();
});
afterEach(() => opened[Symbol.asyncDispose]());

function collected() {
  const changes: RegistryChange[] = [];
  const sequences: number[] = [];
  const subscription = opened.registry.subscribe((some, sequence) => {
    changes.push(...some);
    sequences.push(sequence);
  });
  return { changes, sequences, subscription };
}

describe("a registry", () => {
  it("starts with everything the store has", async () => {
    await opened.registry.entries.create([draft("a")]);
    await opened.registry.nodes.attested(node("n"));
    await opened.store.bundles.put(foreignBundle(), "set");
    const other = await opened.another();
    expect(other.entries.get("a")).toEqual(opened.registry.entries.get("a"));
    expect(other.nodes.get(node("n").id)).toBeDefined();
    expect(other.bundle(FOREIGN)).toEqual(foreignBundle());
    expect(other.bundle(OWN)).toBeUndefined();
    expect(other.sequence).toBe(await opened.store.changes.latest());
  });

  it("shows its own writes before their promises resolve, however many run at once", async () => {
    await Promise.all(
      Array.from({ length: 50 }, async (_, n) => {
        await opened.registry.entries.create([draft(`e${n}`)]);
        expect(opened.registry.entries.get(`e${n}`)).toBeDefined();
      }),
    );
    expect(opened.registry.entries.count({})).toBe(50);
  });

  it("follows what others write, without being asked", async () => {
    const told = new Promise<readonly RegistryChange[]>((resolve) => {
      opened.registry.subscribe(resolve);
    });
    await opened.store.entries.create([newEntry("foreign")]);
    expect(await told).toMatchObject([
      { kind: "entry", id: "foreign", before: undefined, after: { id: "foreign" } },
    ]);
    expect(opened.registry.entries.get("foreign")).toBeDefined();
  });

  it("tells what was and what is, in the order of the log, once", async () => {
    const { changes, sequences, subscription } = collected();
    await opened.registry.entries.create([draft("a", { hint: "1" })]);
    await opened.registry.entries.update([{ id: "a", draft: { hint: "2" }, mask: new Set(["hint"]) }]);
    await opened.registry.entries.delete(["a"]);
    await opened.registry.nodes.attested(node("n"));
    await opened.registry.nodes.evict(node("n").id);
    await opened.store.authorities.commit({}, (bundle) => ({ ...bundle, refreshHint: 9 }));
    await opened.registry.catchUp();
    await opened.registry.catchUp();
    subscription[Symbol.dispose]();
    await opened.registry.entries.create([draft("unheard")]);
    expect(changes).toMatchObject([
      { kind: "entry", id: "a", before: undefined, after: { hint: "1" } },
      { kind: "entry", id: "a", before: { hint: "1" }, after: { hint: "2" } },
      { kind: "entry", id: "a", before: { hint: "2" }, after: undefined },
      { kind: "node", before: undefined, after: { id: node("n").id } },
      { kind: "node", before: { id: node("n").id }, after: undefined },
      { kind: "bundle", trustDomain: OWN, before: undefined, after: { refreshHint: 9, sequence: 1n } },
    ]);
    expect(sequences).toEqual(sequences.toSorted((a, b) => a - b));
    expect(opened.registry.bundle(OWN)).toMatchObject({ refreshHint: 9 });
  });

  it("takes an entry that went and came back under its id for another entry", async () => {
    const { entries } = opened.registry;
    await entries.create([draft("a"), draft("b")]);
    // Both in one look at the log.
    await Promise.all([opened.store.entries.delete(["a"]), opened.store.entries.create([newEntry("a")])]);
    await opened.registry.catchUp();
    expect(entries.list({}, {}).items.map((entry) => entry.id)).toEqual(["b", "a"]);
    expect(entries.list({ parentId: newEntry("a").content.parentId }, {}).items).toHaveLength(2);
    expect(entries.list({ spiffeId: newEntry("a").content.spiffeId }, {}).items).toHaveLength(1);
  });

  it("takes a node that went and came back for the same node in another place", async () => {
    await opened.registry.nodes.attested(node("a"));
    await opened.registry.nodes.attested(node("b"));
    await Promise.all([opened.store.nodes.delete([node("a").id]), opened.store.nodes.attested(node("a"))]);
    await opened.registry.catchUp();
    const listed = opened.registry.nodes.list({}, {}).items.map((one) => one.id);
    expect(listed).toEqual([node("b").id, node("a").id]);
  });

  it("reads everything anew where the log has forgotten what it has not seen, and tells the difference", async () => {
    const { registry, store } = opened;
    await registry.entries.create([draft("stays"), draft("goes"), draft("changes")]);
    await registry.nodes.attested(node("goes"));
    const { changes } = collected();
    const writes = [
      store.entries.delete(["goes"]),
      store.entries.update([{ id: "changes", content: { ...newEntry("x").content, hint: "new" } }]),
      store.entries.create([newEntry("comes")]),
      store.nodes.delete([node("goes").id]),
      store.bundles.put(foreignBundle(), "set"),
    ];
    await Promise.all([...writes, store.changes.prune(1000)]);
    await registry.catchUp();
    expect(changes).toMatchObject([
      { kind: "bundle", trustDomain: FOREIGN },
      { kind: "node", after: undefined },
      { kind: "entry", id: "goes", after: undefined },
      { kind: "entry", id: "changes", after: { hint: "new" } },
      { kind: "entry", id: "comes", before: undefined },
    ]);
    expect(registry.entries.list({}, {}).items.map((entry) => entry.id)).toEqual([
      "stays",
      "changes",
      "comes",
    ]);
    expect(registry.sequence).toBe(await store.changes.latest());
  });

  it("reads long logs in parts", async () => {
    const many = Array.from({ length: 2500 }, (_, n) => newEntry(`n${n}`));
    await opened.store.entries.create(many);
    await opened.registry.catchUp();
    expect(opened.registry.entries.count({})).toBe(2500);
  });
});

describe("a registry whose store fails", () => {
  it("says so, tries again by itself, and loses no change", async () => {
    let failing = false;
    const faulty: Store = {
      ...opened.store,
      entries: {
        ...opened.store.entries,
        async get(ids) {
          if (failing) throw new AssayError("STORE_UNAVAILABLE", "the disk is away");
          return opened.store.entries.get(ids);
        },
      },
      [Symbol.asyncDispose]: async () => {},
    };
    const faults: unknown[] = [];
    let wake = () => {};
    const fault = new Promise<void>((resolve) => {
      wake = resolve;
    });
    const { clock } = opened;
    using registry = await openRegistry({
      store: faulty,
      trustDomain: OWN,
      clock,
      onFault(error) {
        faults.push(error);
        wake();
      },
    });
    const told: RegistryChange[] = [];
    registry.subscribe((changes) => told.push(...changes));
    failing = true;
    await expect(registry.entries.create([draft("a")])).rejects.toThrowCode("STORE_UNAVAILABLE");
    await fault;
    expect(faults[0]).toMatchObject({ code: "STORE_UNAVAILABLE" });
    expect(registry.entries.get("a")).toBeUndefined();
    const recovered = new Promise<void>((resolve) => {
      registry.subscribe(() => resolve());
    });
    failing = false;
    await clock.advance(1000);
    await recovered;
    expect(registry.entries.get("a")).toBeDefined();
    expect(told).toMatchObject([{ kind: "entry", id: "a", before: undefined }]);
  });
});
