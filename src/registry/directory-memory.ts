import { isDeepStrictEqual } from "node:util";
import type { SpiffeBundle } from "../spiffe/bundle.ts";
import type { SpiffeId } from "../spiffe/id.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type { FollowingMemory } from "../store/change-reader.ts";
import type { ChangeRecord, CrlRecord, EntryRecord, NodeRecord } from "../store/records.ts";
import type { Store } from "../store/store.ts";
import type { Directory } from "./directory.ts";
import type { RegistryChange } from "./registry-change.ts";

/** Puts into a directory what the store has, and says what of it changed. */
export class DirectoryMemory implements FollowingMemory {
  readonly #store: Store;
  readonly #directory: Directory;
  readonly #emit: (changes: readonly RegistryChange[]) => void;

  constructor(store: Store, directory: Directory, emit: (changes: readonly RegistryChange[]) => void) {
    this.#store = store;
    this.#directory = directory;
    this.#emit = emit;
  }

  async load(): Promise<() => void> {
    const entries = await allPages((after) => this.#store.entries.list(after, PAGE));
    const nodes = await allPages((after) => this.#store.nodes.list(after, PAGE));
    const bundles = await this.#store.bundles.list();
    const crls = await this.#store.crls.list();
    const known = this.#directory;
    return () =>
      this.#tell([
        ...this.#bundleChanges(
          [...known.bundles.keys(), ...bundles.map((bundle) => bundle.trustDomain)],
          bundles,
        ),
        ...this.#nodeChanges(
          [...known.nodes.all, ...nodes].map((node) => node.id),
          nodes,
        ),
        ...this.#entryChanges(
          [...known.entries.all, ...entries].map((entry) => entry.id),
          entries,
        ),
        ...this.#crlChanges([...known.crls.keys(), ...crls.map((list) => list.trustDomain)], crls),
      ]);
  }

  async read(rows: readonly ChangeRecord[]): Promise<() => void> {
    if (rows.every(({ kind }) => kind === "task" || kind === "credential")) return () => undefined;
    const keys = (kind: ChangeRecord["kind"]) =>
      rows.filter((row) => row.kind === kind).map((row) => row.key);
    const entryIds = keys("entry");
    const nodeIds = keys("node") as SpiffeId[];
    const trustDomains = keys("bundle") as TrustDomain[];
    const entries = await this.#store.entries.get([...new Set(entryIds)]);
    const nodes = await this.#store.nodes.get([...new Set(nodeIds)]);
    const bundles = trustDomains.length === 0 ? [] : await this.#store.bundles.list();
    const revoking = keys("crl") as TrustDomain[];
    const crls = revoking.length === 0 ? [] : await this.#store.crls.list();
    return () =>
      this.#tell([
        ...[...new Set(keys("authority"))].map((id): RegistryChange => ({ kind: "authority", id })),
        ...[...new Set(keys("federation_relationship") as TrustDomain[])].map(
          (trustDomain): RegistryChange => ({ kind: "federation_relationship", trustDomain }),
        ),
        ...this.#bundleChanges(trustDomains, bundles),
        ...this.#nodeChanges(nodeIds, nodes),
        ...this.#entryChanges(entryIds, entries),
        ...this.#crlChanges(revoking, crls),
      ]);
  }

  #tell(changes: readonly RegistryChange[]): void {
    if (changes.length > 0) this.#emit(changes);
  }

  #entryChanges(ids: readonly string[], found: readonly EntryRecord[]): RegistryChange[] {
    const { entries } = this.#directory;
    const byId = new Map(found.map((entry) => [entry.id, entry]));
    return [...new Set(ids)].flatMap((id): RegistryChange[] => {
      const before = entries.get(id);
      const after = byId.get(id);
      if (before?.ordinal === after?.ordinal && before?.revision === after?.revision) return [];
      // The same id with another ordinal is another entry: the old one goes first.
      if (before !== undefined && before.ordinal !== after?.ordinal) entries.delete(id);
      if (after !== undefined) entries.put(after);
      return [{ kind: "entry", id, before, after }];
    });
  }

  #nodeChanges(ids: readonly SpiffeId[], found: readonly NodeRecord[]): RegistryChange[] {
    const { nodes } = this.#directory;
    const byId = new Map(found.map((node) => [node.id, node]));
    return [...new Set(ids)].flatMap((id): RegistryChange[] => {
      const before = nodes.get(id);
      const after = byId.get(id);
      if (isDeepStrictEqual(before, after)) return [];
      if (after === undefined) nodes.delete(id);
      else nodes.put(after);
      return [{ kind: "node", id, before, after }];
    });
  }

  #bundleChanges(names: readonly TrustDomain[], found: readonly SpiffeBundle[]): RegistryChange[] {
    const { bundles } = this.#directory;
    const byName = new Map(found.map((bundle) => [bundle.trustDomain, bundle]));
    return [...new Set(names)].flatMap((trustDomain): RegistryChange[] => {
      const before = bundles.get(trustDomain);
      const after = byName.get(trustDomain);
      if (isDeepStrictEqual(before, after)) return [];
      if (after === undefined) bundles.delete(trustDomain);
      else bundles.set(trustDomain, after);
      return [{ kind: "bundle", trustDomain, before, after }];
    });
  }

  #crlChanges(names: readonly TrustDomain[], found: readonly CrlRecord[]): RegistryChange[] {
    const { crls } = this.#directory;
    return [...new Set(names)].flatMap((trustDomain): RegistryChange[] => {
      const after = found.filter((list) => list.trustDomain === trustDomain).map(({ crl }) => crl);
      if (isDeepStrictEqual(crls.get(trustDomain) ?? [], after)) return [];
      if (after.length === 0) crls.delete(trustDomain);
      else crls.set(trustDomain, after);
      return [{ kind: "crl", trustDomain }];
    });
  }
}

async function allPages<T extends { readonly ordinal: number }>(
  read: (after: number) => Promise<readonly T[]>,
): Promise<T[]> {
  const all: T[] = [];
  for (let last: T | undefined; ; ) {
    const page = await read(last?.ordinal ?? 0);
    for (const record of page) all.push(record);
    last = page.at(-1);
    if (last === undefined) return all;
  }
}

const PAGE = 10_000;
