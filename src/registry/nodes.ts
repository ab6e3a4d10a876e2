import { type Clock, unixSeconds } from "../clock.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { SpiffeId } from "../spiffe/id.ts";
import { serverId } from "../spiffe/reserved.ts";
import { formatSelector, type Selector } from "../spiffe/selector.ts";
import type { EntryContent, NodeRecord } from "../store/records.ts";
import type { EntryStore, NodeStore } from "../store/store.ts";
import type { Directory } from "./directory.ts";
import { validateEntry } from "./entry-rules.ts";
import { ownSelector } from "./node-directory.ts";
import { type Page, type PageRequest, pageOf } from "./paging.ts";
import { type SetMatch, setTest } from "./set-match.ts";

/** Which nodes; all that is set must hold. */
export interface NodeFilter {
  readonly attestationType?: string | undefined;
  readonly banned?: boolean | undefined;
  readonly canReattest?: boolean | undefined;
  /** Unix seconds: nodes whose SVID ends before. */
  readonly expiresBefore?: number | undefined;
  readonly selectors?: { readonly selectors: readonly Selector[]; readonly match: SetMatch } | undefined;
}

/** Attested nodes as the registry serves them: read from memory, written through the store. */
export interface NodeRegistry {
  get(id: SpiffeId): NodeRecord | undefined;
  /** @throws AssayError `INVALID_PAGE_TOKEN`, `INVALID_REQUEST`. */
  list(filter: NodeFilter, page: PageRequest): Page<NodeRecord>;
  /** @throws AssayError `INVALID_REQUEST`. */
  count(filter: NodeFilter): number;
  /**
   * Writes a node as it stands after an attestation. With `aliasId`, an entry gives the node that alias; it belongs to
   * the node and goes with it.
   * @throws AssayError `AGENT_BANNED`.
   */
  attested(node: Omit<NodeRecord, "ordinal" | "banned">, aliasId?: SpiffeId): Promise<NodeRecord>;
  /** Writes the serial of a renewal; the active one stays until the new one is used. @throws `AGENT_NOT_FOUND`. */
  renewed(id: SpiffeId, serial: string, expiresAt: number): Promise<NodeRecord>;
  /** Makes the serial of a renewal the active one; `undefined` if it is not the pending one (any more). */
  activatePending(id: SpiffeId, serial: string): Promise<NodeRecord | undefined>;
  /** Writes the version that an agent reports, if it is another one. @throws AssayError `AGENT_NOT_FOUND`. */
  reported(id: SpiffeId, agentVersion: string): Promise<NodeRecord>;
  /** Forgets a node and its alias; its agent has to attest again. @throws AssayError `AGENT_NOT_FOUND`. */
  evict(id: SpiffeId): Promise<void>;
  /** Shuts a node out until it is evicted; its serials are emptied. @throws AssayError `AGENT_NOT_FOUND`. */
  ban(id: SpiffeId): Promise<NodeRecord>;
  /** Forgets nodes whose SVID ended before a time; gives their IDs. Banned nodes are kept. */
  purge(which: NodePurge): Promise<readonly SpiffeId[]>;
}

/** Which nodes a purge forgets. */
export interface NodePurge {
  /** Unix seconds. */
  readonly expiredBefore: number;
  /** Also nodes that cannot attest again with the same evidence: whoever forgets them lets that evidence in anew. */
  readonly includeNonReattestable?: boolean | undefined;
}

/** What the nodes of the registry stand on. */
export interface NodeRegistryOptions {
  readonly nodes: NodeStore;
  readonly entries: EntryStore;
  readonly directory: Directory;
  readonly clock: Clock;
  readonly randomUuid: () => string;
  readonly catchUp: () => Promise<void>;
}

/** Makes the nodes' part of a registry. */
export function nodeRegistry(options: NodeRegistryOptions): NodeRegistry {
  const { nodes, directory, catchUp } = options;

  async function written(id: SpiffeId, write: Promise<NodeRecord | undefined>): Promise<NodeRecord> {
    const node = await write;
    await catchUp();
    if (node === undefined) throw notFound(id);
    return node;
  }

  return {
    get: (id) => directory.nodes.get(id),
    list: (filter, page) => pageOf(directory.nodes.all, page, nodeTest(filter)),
    count: (filter) => directory.nodes.all.filter(nodeTest(filter)).length,

    async attested(node, aliasId) {
      const record = await nodes.attested(node);
      if (aliasId !== undefined) await createAlias(options, record.id, aliasId);
      await catchUp();
      return record;
    },

    renewed: (id, serial, expiresAt) =>
      written(id, nodes.update(id, { pendingSerial: serial, pendingExpiresAt: expiresAt })),

    async activatePending(id, serial) {
      const node = await nodes.activatePending(id, serial);
      await catchUp();
      return node;
    },

    async reported(id, agentVersion) {
      const known = directory.nodes.get(id);
      if (known?.agentVersion === agentVersion) return known;
      return written(id, nodes.update(id, { agentVersion }));
    },

    async evict(id) {
      const [there] = await nodes.delete([id]);
      await catchUp();
      if (there !== true) throw notFound(id);
    },

    ban: (id) =>
      written(id, nodes.update(id, { banned: true, serial: "", pendingSerial: "", pendingExpiresAt: 0 })),

    async purge({ expiredBefore, includeNonReattestable = false }) {
      await catchUp();
      const keeps = nodeTest({
        banned: false,
        expiresBefore: expiredBefore,
        ...(includeNonReattestable ? {} : { canReattest: true }),
      });
      const ids = directory.nodes.all.filter(keeps).map((node) => node.id);
      const gone = ids.length === 0 ? [] : await nodes.delete(ids);
      await catchUp();
      return ids.filter((_, n) => gone[n] === true);
    },
  };
}

async function createAlias(options: NodeRegistryOptions, agent: SpiffeId, aliasId: SpiffeId): Promise<void> {
  const { directory, clock, entries, randomUuid } = options;
  const content: EntryContent = validateEntry(
    { spiffeId: aliasId, parentId: serverId(directory.trustDomain), selectors: [ownSelector(agent)] },
    directory.trustDomain,
  );
  const entry = { id: randomUuid(), createdAt: unixSeconds(clock), content, ownerNode: agent };
  // An alias that is there already is as good as a new one.
  await entries.create([entry]);
}

function nodeTest(filter: NodeFilter): (node: NodeRecord) => boolean {
  const { attestationType, banned, canReattest, expiresBefore, selectors } = filter;
  const hasSelectors =
    selectors && setTest("selectors", selectors.selectors.map(formatSelector), selectors.match);
  return (node) =>
    (attestationType === undefined || node.attestationType === attestationType) &&
    (banned === undefined || node.banned === banned) &&
    (canReattest === undefined || node.canReattest === canReattest) &&
    (expiresBefore === undefined || node.expiresAt < expiresBefore) &&
    (hasSelectors === undefined || hasSelectors(node.selectors.map(formatSelector)));
}

function notFound(id: SpiffeId): AssayError {
  return new AssayError("AGENT_NOT_FOUND", `there is no agent ${id}`);
}
