import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { EntryDraft } from "../../src/registry/entry-rules.ts";
import { openRegistry, type Registry, type RegistryOptions } from "../../src/registry/registry.ts";
import { openSqliteStore } from "../../src/store/sqlite/open.ts";
import type { Store } from "../../src/store/store.ts";
import { FakeClock } from "../fakes/clock.ts";
import { OWN } from "./store-samples.ts";

/** A registry over a real store in a folder of its own, with a clock that stands still. */
export interface OpenedRegistry extends AsyncDisposable {
  readonly registry: Registry;
  readonly store: Store;
  readonly clock: FakeClock;
  /** Where the store's files are. */
  readonly folder: string;
  /** Another registry over the same store, as another server would have. */
  another(options?: Partial<RegistryOptions>): Promise<Registry>;
}

/** Opens a registry; disposing it removes everything. */
export async function openTestRegistry(options: Partial<RegistryOptions> = {}): Promise<OpenedRegistry> {
  const folder = await mkdtemp(join(tmpdir(), "assay-registry-"));
  const clock = new FakeClock();
  const store = await openSqliteStore({ folder, trustDomain: OWN, clock });
  const opened: Registry[] = [];
  const another = async (more: Partial<RegistryOptions> = {}) => {
    const registry = await openRegistry({ store, trustDomain: OWN, clock, ...more });
    opened.push(registry);
    return registry;
  };
  return {
    registry: await another(options),
    store,
    clock,
    folder,
    another,
    async [Symbol.asyncDispose]() {
      for (const registry of opened) registry[Symbol.dispose]();
      await store[Symbol.asyncDispose]();
      await rm(folder, { recursive: true });
    },
  };
}

/** A small valid draft. */
export function draft(name: string, change: Partial<EntryDraft> = {}): EntryDraft {
  return {
    id: name,
    spiffeId: `spiffe://${OWN}/workload/${name}`,
    parentId: `spiffe://${OWN}/spire/agent/x509pop/1`,
    selectors: [{ type: "unix", value: "uid:1000" }],
    ...change,
  };
}
