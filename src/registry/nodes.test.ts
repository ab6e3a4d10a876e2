import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { draft, type OpenedRegistry, openTestRegistry } from "../../test/contract/registry-samples.ts";
import { id, node, selectors } from "../../test/contract/store-samples.ts";
import { serverId } from "../spiffe/reserved.ts";
import type { NodeFilter } from "./nodes.ts";

let opened: OpenedRegistry;
beforeEach(async () => {
  opened = await openTestRegistry();
});
afterEach(() => opened[Symbol.asyncDispose]());

describe("an attested node", () => {
  it("is known as soon as it is written, with its alias", async () => {
    const { nodes, entries } = opened.registry;
    const record = await nodes.attested(node("a"), id("/alias"));
    expect(nodes.get(record.id)).toEqual(record);
    const [alias] = entries.aliases(record.id);
    expect(alias).toMatchObject({
      spiffeId: id("/alias"),
      parentId: serverId("example.org" as never),
      selectors: [{ type: "spiffe_id", value: record.id }],
    });
    await entries.create([draft("w", { parentId: id("/alias") })]);
    expect(entries.authorized(record.id).map((entry) => entry.id)).toEqual(["w"]);
  });

  it("takes its alias along when it is evicted, and keeps the alias over another attestation", async () => {
    const { nodes, entries } = opened.registry;
    const { id: agent } = await nodes.attested(node("a"), id("/alias"));
    await nodes.attested(node("a"), id("/alias"));
    expect(entries.aliases(agent)).toHaveLength(1);
    await nodes.evict(agent);
    expect(nodes.get(agent)).toBeUndefined();
    expect(entries.count({})).toBe(0);
    await expect(nodes.evict(agent)).rejects.toThrowCode("AGENT_NOT_FOUND", agent);
  });

  it("does not get an alias that is no legal ID of an entry", async () => {
    const attested = opened.registry.nodes.attested(node("a"), id("/spire/server"));
    await expect(attested).rejects.toThrowCode("INVALID_ENTRY", /reserved/);
  });

  it("renews in two steps, the first use of the new serial ending the old one", async () => {
    const { nodes } = opened.registry;
    const { id: agent } = await nodes.attested(node("a"));
    expect(await nodes.renewed(agent, "0b", 99)).toMatchObject({
      serial: "0a",
      pendingSerial: "0b",
      pendingExpiresAt: 99,
    });
    expect(await nodes.activatePending(agent, "0c")).toBeUndefined();
    expect(await nodes.activatePending(agent, "0b")).toMatchObject({
      serial: "0b",
      expiresAt: 99,
      pendingSerial: "",
    });
    expect(nodes.get(agent)).toMatchObject({ serial: "0b" });
    expect(await nodes.activatePending(agent, "0b")).toBeUndefined();
    await expect(nodes.renewed(node("x").id, "0b", 99)).rejects.toThrowCode("AGENT_NOT_FOUND");
  });

  it("reports its version, and the same one again costs no write", async () => {
    const { nodes } = opened.registry;
    const { id: agent } = await nodes.attested(node("a"));
    expect(await nodes.reported(agent, "2.0")).toMatchObject({ agentVersion: "2.0" });
    const sequence = await opened.store.changes.latest();
    await nodes.reported(agent, "2.0");
    expect(await opened.store.changes.latest()).toBe(sequence);
    await expect(nodes.reported(node("x").id, "2.0")).rejects.toThrowCode("AGENT_NOT_FOUND");
  });

  it("has no serial, no entries and no way back once it is banned, until it is evicted", async () => {
    const { nodes, entries } = opened.registry;
    const { id: agent } = await nodes.attested(node("1"));
    await entries.create([draft("w")]);
    expect(entries.authorized(agent)).toHaveLength(1);
    expect(await nodes.ban(agent)).toMatchObject({ banned: true, serial: "", pendingSerial: "" });
    expect(entries.authorized(agent)).toEqual([]);
    await expect(nodes.attested(node("1"))).rejects.toThrowCode("AGENT_BANNED");
    await expect(nodes.ban(node("x").id)).rejects.toThrowCode("AGENT_NOT_FOUND");
    await nodes.evict(agent);
    await nodes.attested(node("1"));
    expect(entries.authorized(agent)).toHaveLength(1);
  });
});

describe("nodes together", () => {
  beforeEach(async () => {
    const { nodes } = opened.registry;
    await nodes.attested(node("a", { expiresAt: 100 }));
    await nodes.attested(node("b", { expiresAt: 200, canReattest: false, attestationType: "join_token" }));
    await nodes.attested(node("c", { expiresAt: 300, selectors: selectors("x:1", "x:2") }));
    await nodes.attested(node("d", { expiresAt: 50 }));
    await nodes.ban(node("d").id);
  });

  function listed(filter: NodeFilter): string {
    const items = opened.registry.nodes.list(filter, {}).items;
    expect(opened.registry.nodes.count(filter)).toBe(items.length);
    return items.map((record) => record.id.slice(-1)).join("");
  }

  it("are filtered by every field, and by several at once", () => {
    expect(listed({})).toBe("abcd");
    expect(listed({ attestationType: "join_token" })).toBe("b");
    expect(listed({ banned: true })).toBe("d");
    expect(listed({ banned: false })).toBe("abc");
    expect(listed({ canReattest: false })).toBe("b");
    expect(listed({ expiresBefore: 200 })).toBe("ad");
    expect(listed({ expiresBefore: 200, banned: false })).toBe("a");
    expect(listed({ selectors: { selectors: selectors("x:1"), match: "superset" } })).toBe("c");
    expect(listed({ selectors: { selectors: selectors("x:1"), match: "exact" } })).toBe("");
    const empty: NodeFilter = { selectors: { selectors: [], match: "any" } };
    expect(() => opened.registry.nodes.list(empty, {})).toThrowCode("INVALID_REQUEST");
  });

  it("are listed in pages", () => {
    const first = opened.registry.nodes.list({ banned: false }, { pageSize: 2 });
    const second = opened.registry.nodes.list(
      { banned: false },
      { pageSize: 2, pageToken: first.nextPageToken },
    );
    expect([...first.items, ...second.items].map((record) => record.id.slice(-1))).toEqual(["a", "b", "c"]);
    expect(() => opened.registry.nodes.list({}, { pageToken: "x" })).toThrowCode("INVALID_PAGE_TOKEN");
  });

  it("are purged when expired, but not the banned, and the one-time ones only on demand", async () => {
    const { nodes } = opened.registry;
    expect(await nodes.purge({ expiredBefore: 250 })).toEqual([node("a").id]);
    expect(await nodes.purge({ expiredBefore: 250 })).toEqual([]);
    expect(await nodes.purge({ expiredBefore: 250, includeNonReattestable: true })).toEqual([node("b").id]);
    expect(listed({})).toBe("cd");
  });
});
