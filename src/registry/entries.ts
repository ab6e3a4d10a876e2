import { type Clock, unixSeconds } from "../clock.ts";
import { AssayError, toAssayError } from "../errors/assay-error.ts";
import type { SpiffeId } from "../spiffe/id.ts";
import type { EntryRecord } from "../store/records.ts";
import type { EntryCreation, EntryStore, NewEntry } from "../store/store.ts";
import { aliasesOf, authorizedEntries, authorizedEntry } from "./authorized.ts";
import { type Directory, hasExpired } from "./directory.ts";
import { unknownBundle } from "./entry-faults.ts";
import { type EntryFilter, filteredEntries } from "./entry-filter.ts";
import { checkedEntryId, type EntryDraft, validateEntry } from "./entry-rules.ts";
import { type EntryUpdateDraft, type EntryUpdateResult, updateEntries } from "./entry-updates.ts";
import type { NearMiss } from "./match.ts";
import { type Page, type PageRequest, pageOf } from "./paging.ts";
import { type TaskFacts, type TaskIdentities, taskIdentities } from "./task-identities.ts";

/** Registration entries as the registry serves them: read from memory, written through the store. */
export interface EntryRegistry {
  /**
   * Creates entries, each with its own outcome, in order and in one transaction: `similar` and `conflict` give the
   * entry that stood in the way, `invalid` the rule that was broken.
   */
  create(drafts: readonly EntryDraft[]): Promise<readonly EntryCreationResult[]>;
  /** Changes entries, each with its own outcome, in order. */
  update(updates: readonly EntryUpdateDraft[]): Promise<readonly EntryUpdateResult[]>;
  /** Deletes entries; tells for each id whether it was there. */
  delete(ids: readonly string[]): Promise<readonly boolean[]>;
  get(id: string): EntryRecord | undefined;
  /** @throws AssayError `INVALID_PAGE_TOKEN`, `INVALID_REQUEST`. */
  list(filter: EntryFilter, page: PageRequest): Page<EntryRecord>;
  /** @throws AssayError `INVALID_REQUEST`. */
  count(filter: EntryFilter): number;
  /** Deletes what has expired; gives the ids. Expired entries earn nothing in any case. */
  pruneExpired(): Promise<readonly string[]>;
  /** Whether an unexpired entry gives this ID the flag. */
  hasFlag(id: SpiffeId, flag: "admin" | "downstream"): boolean;
  /** The entries whose SVIDs the agent may hand out now, in order of creation. */
  authorized(agent: SpiffeId): readonly EntryRecord[];
  /** One of `authorized`, by its id, without looking at the others. */
  authorizedEntry(agent: SpiffeId, entryId: string): EntryRecord | undefined;
  /** The unexpired aliases the agent's node has. */
  aliases(agent: SpiffeId): readonly EntryRecord[];
  /** The aliases that came nearest to the agent's node, best first, at most `limit`. */
  nearestAliases(agent: SpiffeId, limit: number): readonly NearMiss<EntryRecord>[];
  /**
   * What a task earns now: the identities of the entries below `/spire/task/<instance>`.
   * @throws AssayError `INVALID_SPIFFE_ID` where the instance's name is none.
   */
  taskIdentities(instance: string, facts: TaskFacts): TaskIdentities;
}

/** What became of one draft. */
export type EntryCreationResult =
  | { readonly outcome: "created" | "similar" | "conflict"; readonly entry: EntryRecord }
  | { readonly outcome: "invalid"; readonly error: AssayError };

/** What the entries of the registry stand on. */
export interface EntryRegistryOptions {
  readonly store: EntryStore;
  readonly directory: Directory;
  readonly clock: Clock;
  readonly randomUuid: () => string;
  readonly catchUp: () => Promise<void>;
  readonly selectorsOf: (agent: SpiffeId) => EntryRecord["selectors"];
}

/** Makes the entries' part of a registry. */
export function entryRegistry(options: EntryRegistryOptions): EntryRegistry {
  const { store, directory, clock, catchUp } = options;
  const now = () => unixSeconds(clock);
  return {
    async create(drafts) {
      const checked = drafts.map((draft) => checkedDraft(draft, options));
      const valid = checked.flatMap((item) => (item instanceof AssayError ? [] : item));
      const creations = valid.length === 0 ? [] : await store.create(valid);
      await catchUp();
      const results = creations.values();
      return checked.map((item) =>
        item instanceof AssayError
          ? { outcome: "invalid", error: item }
          : creationResult(results.next().value),
      );
    },

    async update(updates) {
      const results = await updateEntries(store, directory, updates, catchUp);
      await catchUp();
      return results;
    },

    async delete(ids) {
      const deleted = await store.delete(ids);
      await catchUp();
      return deleted;
    },

    get: (id) => directory.entries.get(id),

    list(filter, page) {
      const { list, keeps } = filteredEntries(directory.entries, filter);
      return pageOf(list, page, keeps);
    },

    count(filter) {
      const { list, keeps } = filteredEntries(directory.entries, filter);
      let count = 0;
      for (const entry of list) if (keeps(entry)) count++;
      return count;
    },

    async pruneExpired() {
      // The store deletes what expired before a time; what expires in this very second has expired too.
      const ids = await store.deleteExpired(now() + 1);
      await catchUp();
      return ids;
    },

    hasFlag: (id, flag) =>
      directory.entries.ofSpiffeId(id).some((entry) => entry[flag] && !hasExpired(entry, now())),
    authorized: (agent) => authorizedEntries(directory, agent, now()),
    authorizedEntry: (agent, entryId) => authorizedEntry(directory, agent, entryId, now()),
    aliases: (agent) => aliasesOf(directory, agent, now()),
    nearestAliases: (agent, limit) => directory.entries.nearestAliases(options.selectorsOf(agent), limit),
    taskIdentities: (instance, facts) => taskIdentities(directory, instance, facts, now()),
  };
}

function checkedDraft(draft: EntryDraft, options: EntryRegistryOptions): NewEntry | AssayError {
  try {
    return {
      id: draft.id === undefined || draft.id === "" ? options.randomUuid() : checkedEntryId(draft.id),
      createdAt: unixSeconds(options.clock),
      content: validateEntry(draft, options.directory.trustDomain),
    };
  } catch (error) {
    return toAssayError(error);
  }
}

function creationResult(creation: EntryCreation | undefined): EntryCreationResult {
  if (creation === undefined) throw new AssayError("INTERNAL", "the store left out an outcome");
  if (creation.outcome === "unknownBundle") {
    return { outcome: "invalid", error: unknownBundle(creation.trustDomain) };
  }
  return creation;
}
