// Rates of store and registry with 100,000 entries. The bounds are a tenth of what an ordinary machine shows: they tell a
// cost that grows with the registry from a slow machine.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import type { EntryDraft } from "../../src/registry/entry-rules.ts";
import { openRegistry, type Registry } from "../../src/registry/registry.ts";
import { parseSpiffeId, type SpiffeId } from "../../src/spiffe/id.ts";
import { parseTrustDomain } from "../../src/spiffe/trust-domain.ts";
import { openSqliteStore } from "../../src/store/sqlite/open.ts";
import type { Store } from "../../src/store/store.ts";

const trustDomain = parseTrustDomain("example.org");
let folder: string;
let store: Store;
let registry: Registry;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "assay-bench-"));
  store = await openSqliteStore({ folder, trustDomain, clock: systemClock });
  registry = await openRegistry({ store, trustDomain, clock: systemClock });
});
afterAll(async () => {
  registry[Symbol.dispose]();
  await store[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

describe("a registry of 100,000 entries", () => {
  test("creates batches under one parent and one selector", { timeout: 120_000 }, async () => {
    await expectRate("create, batches of 100, one parent and selector", 36_000, 1000, async () => {
      for (let at = 0; at < 36_000; at += 100) await registry.entries.create(batch(at, crowd));
    });
    await expectRate("create, one at a time, beside those 36,000", 1000, 150, async () => {
      for (let n = 0; n < 1000; n++) await registry.entries.create([crowd(36_000 + n)]);
    });
  });

  test("creates batches under many parents", { timeout: 120_000 }, () =>
    expectRate("create, batches of 100, 1,000 parents", 63_000, 1000, async () => {
      for (let at = 0; at < 63_000; at += 100) await registry.entries.create(batch(at, spread));
    }),
  );

  test("lists pages and filters", async () => {
    await expectRate("list in pages of 500", 100_000, 1_000_000, () => {
      for (let pageToken: string | undefined; pageToken !== ""; ) {
        pageToken = registry.entries.list({}, { pageSize: 500, pageToken }).nextPageToken;
      }
    });
    const selectors = [{ type: "k8s", value: "sa:62999" }];
    await expectRate("filter by selector, entries looked at", 100_000, 100_000, () => {
      expect(registry.entries.count({ selectors: { selectors, match: "any" } })).toBe(1);
    });
  });

  test("finds an agent's entries, and the agents of an entry", async () => {
    await expectRate("crawl of an agent with 63 entries", 999, 2000, () => {
      for (let n = 1; n < 1000; n++) expect(registry.entries.authorized(agent(n))).toHaveLength(63);
    });
    const [some] = registry.entries.authorized(agent(7));
    const id = some?.id ?? "";
    await expectRate("one authorised entry by id", 100_000, 200_000, () => {
      for (let n = 0; n < 100_000; n++) registry.entries.authorizedEntry(agent(7), id);
    });
    const change = { kind: "entry" as const, id, before: undefined, after: some };
    await expectRate("agents affected by one entry", 100_000, 200_000, () => {
      for (let n = 0; n < 100_000; n++) registry.agentsAffectedBy([change]);
    });
  });

  test("opens", () =>
    expectRate("entries read at the start", 100_000, 10_000, async () => {
      using again = await openRegistry({ store, trustDomain, clock: systemClock });
      expect(again.entries.count({})).toBe(100_000);
    }));
});

function agent(n: number): SpiffeId {
  return parseSpiffeId(`spiffe://example.org/spire/agent/x509pop/${n}`);
}

function crowd(n: number): EntryDraft {
  return {
    spiffeId: `spiffe://example.org/crowd/${n}`,
    parentId: agent(0),
    selectors: [{ type: "unix", value: "uid:0" }],
  };
}

function spread(n: number): EntryDraft {
  return {
    spiffeId: `spiffe://example.org/spread/${n}`,
    parentId: agent(1 + (n % 1000)),
    selectors: [
      { type: "k8s", value: `ns:${n % 50}` },
      { type: "k8s", value: `sa:${n}` },
    ],
  };
}

function batch(start: number, make: (n: number) => EntryDraft): EntryDraft[] {
  return Array.from({ length: 100 }, (_, n) => make(start + n));
}

async function expectRate(
  name: string,
  count: number,
  least: number,
  work: () => void | Promise<void>,
): Promise<void> {
  const start = performance.now();
  await work();
  const rate = count / ((performance.now() - start) / 1000);
  process.stdout.write(`${name}: ${Math.round(rate)}/s\n`);
  expect(rate).toBeGreaterThan(least);
}
