// Rates of the store with 1,000 tasks that all do the same at once, and of the registry with 20,000 entries of one task
// attestor. The bounds are a tenth of what an ordinary machine shows.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { openRegistry } from "../../src/registry/registry.ts";
import { openSqliteStore } from "../../src/store/sqlite/open.ts";
import type { Store } from "../../src/store/store.ts";
import { credential, OWN, selectors, task } from "../contract/store-samples.ts";

const TASKS = 1000;
const ENTRIES = 20_000;
let folder: string;
let store: Store;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "assay-bench-"));
  store = await openSqliteStore({ folder, trustDomain: OWN, clock: systemClock });
});
afterAll(async () => {
  await store[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

test("writes of 1,000 tasks at once", { timeout: 60_000 }, async () => {
  const { tasks, credentials } = store;
  const steps: readonly (readonly [string, (name: string) => Promise<unknown>])[] = [
    ["opened", (name) => tasks.open(task(name), { replayKey: name, until: 1000 })],
    ["credentials written, one by one", (name) => credentials.record([credential(name, { taskId: name })])],
    ["leases extended", (name) => tasks.extend(name, 200)],
    ["places in status lists", () => credentials.reserveStatus(1000)],
    ["ended with what was issued to them", (name) => tasks.end(name, "job", 60)],
    ["closed", (name) => tasks.close(name)],
  ];
  for (const [step, work] of steps) {
    await expectRate(`tasks ${step}`, TASKS, 400, () =>
      Promise.all(Array.from({ length: TASKS }, (_, n) => work(`t${n}`))),
    );
  }
});

test("identities of a task", { timeout: 60_000 }, async () => {
  using registry = await openRegistry({ store, trustDomain: OWN, clock: systemClock });
  for (let at = 0; at < ENTRIES; at += 100) {
    await registry.entries.create(
      Array.from({ length: 100 }, (_, n) => ({
        spiffeId: "",
        parentId: `spiffe://${OWN}/spire/task/github-acme`,
        idTemplate: "/ci/{repository_id}/run/{run_id}",
        selectors: selectors(`github:repository_id:${at + n}`, "github:ref:refs/heads/main"),
      })),
    );
  }
  const identitiesOf = (n: number) =>
    registry.entries.taskIdentities("github-acme", {
      selectors: selectors(`github:repository_id:${n}`, "github:ref:refs/heads/main", "github:event:push"),
      guarded: [],
      claims: { repository_id: String(n), run_id: "7" },
    });
  await expectRate("matched among 20,000 entries", ENTRIES, 4000, () => {
    for (let n = 0; n < ENTRIES; n++) expect(identitiesOf(n).identities).toHaveLength(1);
  });
  await expectRate("nearest of 20,000 entries", 50, 8, () => {
    for (let n = 0; n < 50; n++) expect(identitiesOf(-1).nearest).toHaveLength(5);
  });
});

async function expectRate(name: string, count: number, least: number, work: () => unknown): Promise<void> {
  const start = performance.now();
  await work();
  const rate = count / ((performance.now() - start) / 1000);
  process.stdout.write(`${name}: ${Math.round(rate)}/s\n`);
  expect(rate).toBeGreaterThan(least);
}
