// Figures of store and registry on this machine: node test/bench/registry.ts
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/clock.ts";
import type { EntryDraft } from "../../src/registry/entry-rules.ts";
import { openRegistry } from "../../src/registry/registry.ts";
import { parseSpiffeId } from "../../src/spiffe/id.ts";
import { parseTrustDomain } from "../../src/spiffe/trust-domain.ts";
import { openSqliteStore } from "../../src/store/sqlite/open.ts";

const trustDomain = parseTrustDomain("example.org");
const agents = Array.from({ length: 1000 }, (_, n) =>
  parseSpiffeId(`spiffe://example.org/spire/agent/x509pop/${n}`),
);
const folder = await mkdtemp(join(tmpdir(), "assay-bench-"));
try {
  await using store = await openSqliteStore({ folder, trustDomain, clock: systemClock });
  {
    using registry = await openRegistry({ store, trustDomain, clock: systemClock });
    const crowd = (n: number): EntryDraft => ({
      spiffeId: `spiffe://example.org/crowd/${n}`,
      parentId: agents[0] ?? "",
      selectors: [{ type: "unix", value: "uid:0" }],
    });
    await rate("create, batches of 100, one parent and selector", 36_000, async () => {
      for (let at = 0; at < 36_000; at += 100) await registry.entries.create(batch(at, 100, crowd));
    });
    await rate("create, one at a time, beside those 36,000", 1000, async () => {
      for (let n = 0; n < 1000; n++) await registry.entries.create([crowd(36_000 + n)]);
    });
    const spread = (n: number): EntryDraft => ({
      spiffeId: `spiffe://example.org/spread/${n}`,
      parentId: agents[n % agents.length] ?? "",
      selectors: [
        { type: "k8s", value: `ns:${n % 50}` },
        { type: "k8s", value: `sa:${n}` },
      ],
    });
    await rate("create, batches of 100, 1,000 parents", 63_000, async () => {
      for (let at = 0; at < 63_000; at += 100) await registry.entries.create(batch(at, 100, spread));
    });
    await rate("list in pages of 500", registry.entries.count({}), () => {
      for (let pageToken: string | undefined; pageToken !== ""; ) {
        pageToken = registry.entries.list({}, { pageSize: 500, pageToken }).nextPageToken;
      }
    });
    const any = { selectors: { selectors: [{ type: "k8s", value: "sa:62999" }], match: "any" as const } };
    await rate(
      "filter by selector, entries looked at",
      registry.entries.count({}),
      () => void registry.entries.list(any, {}),
    );
    await rate("crawl of an agent with 63 entries", agents.length - 1, () => {
      for (const agent of agents.slice(1)) registry.entries.authorized(agent);
    });
    const [some] = registry.entries.authorized(agents[7] ?? parseSpiffeId("spiffe://example.org/x"));
    await rate("one authorised entry by id", 100_000, () => {
      for (let n = 0; n < 100_000; n++)
        registry.entries.authorizedEntry(agents[7] ?? trustDomainId(), some?.id ?? "");
    });
    const change = { kind: "entry" as const, id: some?.id ?? "", before: undefined, after: some };
    await rate("agents affected by one entry", 100_000, () => {
      for (let n = 0; n < 100_000; n++) registry.agentsAffectedBy([change]);
    });
  }
  const heap = process.memoryUsage().rss;
  await rate("open over 100,000 entries", 100_000, async () => {
    using _registry = await openRegistry({ store, trustDomain, clock: systemClock });
  });
  process.stdout.write(`resident memory at the end: ${Math.round(heap / 2 ** 20)} MiB\n`);
} finally {
  await rm(folder, { recursive: true });
}

function batch(start: number, count: number, make: (n: number) => EntryDraft): EntryDraft[] {
  return Array.from({ length: count }, (_, n) => make(start + n));
}

function trustDomainId() {
  return parseSpiffeId("spiffe://example.org/nobody");
}

async function rate(name: string, count: number, work: () => void | Promise<void>): Promise<void> {
  const start = performance.now();
  await work();
  const seconds = (performance.now() - start) / 1000;
  process.stdout.write(`${name}: ${Math.round(count / seconds)}/s (${Math.round(seconds * 1000)} ms)\n`);
}
