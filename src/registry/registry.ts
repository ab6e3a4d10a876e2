/**
 * registry/ — which selectors, seen by which node, earn which SPIFFE ID: entries, nodes, aliases and join tokens.
 *
 * Must never know evidence, keys, policy or a wire format. Reads come from memory, which follows the store's change log.
 * Called by issuance and by the server's services.
 */
import { randomBytes, randomUUID } from "node:crypto";
import type { Clock } from "../clock.ts";
import type { SpiffeBundle } from "../spiffe/bundle.ts";
import type { SpiffeId } from "../spiffe/id.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import { ChangeReader } from "../store/change-reader.ts";
import type { Store } from "../store/store.ts";
import { type AffectedAgents, agentsAffectedBy } from "./affected.ts";
import { emptyDirectory } from "./directory.ts";
import { type EntryRegistry, entryRegistry } from "./entries.ts";
import { DirectoryMemory } from "./directory-memory.ts";
import { type JoinTokenRegistry, joinTokenRegistry } from "./join-tokens.ts";
import { nodeSelectors, ownSelector } from "./node-directory.ts";
import { type NodeRegistry, nodeRegistry } from "./nodes.ts";
import type { RegistryChange } from "./registry-change.ts";

/** The registry of one trust domain. A write is visible in memory before its promise resolves. */
export interface Registry extends Disposable {
  readonly entries: EntryRegistry;
  readonly nodes: NodeRegistry;
  readonly joinTokens: JoinTokenRegistry;
  /** The bundle of a trust domain, own or federated. */
  bundle(trustDomain: TrustDomain): SpiffeBundle | undefined;
  /** The revocation lists of a trust domain's authorities, DER; the same array as before where nothing changed. */
  crls(trustDomain: TrustDomain): readonly Uint8Array[];
  /** How far in the store's change log this memory is. */
  readonly sequence: number;
  /** Brings the memory at least to where the store is now. @throws AssayError `STORE_UNAVAILABLE`. */
  catchUp(): Promise<void>;
  /**
   * Calls the listener with changes once the memory shows them, in the order of the log, until disposed. It must not
   * throw; a promise it returns is not waited for.
   */
  subscribe(listener: (changes: readonly RegistryChange[], sequence: number) => void): Disposable;
  /** Which agents changes concern, at the cost of what changed. */
  agentsAffectedBy(changes: readonly RegistryChange[]): AffectedAgents;
}

/** What a registry stands on. */
export interface RegistryOptions {
  readonly store: Store;
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  /** Ids of entries whose creators chose none. */
  readonly randomUuid?: (() => string) | undefined;
  /** Join tokens. */
  readonly randomBytes?: ((count: number) => Uint8Array) | undefined;
  /** Told when the memory could not follow the store; it is tried again by itself. */
  readonly onFault?: ((error: unknown) => void) | undefined;
}

/**
 * Opens the registry over a store, with everything in memory.
 * @throws AssayError `STORE_UNAVAILABLE`.
 */
export async function openRegistry(options: RegistryOptions): Promise<Registry> {
  const { store, trustDomain, clock, onFault } = options;
  const directory = emptyDirectory(trustDomain);
  const listeners = new Set<(changes: readonly RegistryChange[], sequence: number) => void>();
  const memory = new DirectoryMemory(store, directory, (changes) => {
    for (const listener of listeners) listener(changes, follower.sequence);
  });
  const follower = new ChangeReader(store.changes, memory);
  await follower.catchUp();

  let retry: Disposable | undefined;
  let closed = false;
  const follow = () => {
    retry?.[Symbol.dispose]();
    retry = undefined;
    follower.catchUp().catch((error: unknown) => {
      if (closed) return;
      onFault?.(error);
      retry ??= clock.schedule(RETRY, follow);
    });
  };
  const subscription = store.changes.subscribe(follow);

  const catchUp = () => follower.catchUp();
  const randomUuid = options.randomUuid ?? (() => randomUUID());
  const selectorsOf = (agent: SpiffeId) => {
    const node = directory.nodes.get(agent);
    return node === undefined ? [ownSelector(agent)] : nodeSelectors(node);
  };
  return {
    entries: entryRegistry({ store: store.entries, directory, clock, randomUuid, catchUp, selectorsOf }),
    nodes: nodeRegistry({
      nodes: store.nodes,
      entries: store.entries,
      directory,
      clock,
      randomUuid,
      catchUp,
    }),
    joinTokens: joinTokenRegistry({
      store: store.joinTokens,
      trustDomain,
      clock,
      randomBytes: options.randomBytes ?? randomBytes,
    }),
    bundle: (name) => directory.bundles.get(name),
    crls: (name) => directory.crls.get(name) ?? NO_CRLS,
    get sequence() {
      return follower.sequence;
    },
    catchUp,
    subscribe(listener) {
      const own: typeof listener = (changes, sequence) => listener(changes, sequence);
      listeners.add(own);
      return { [Symbol.dispose]: () => void listeners.delete(own) };
    },
    agentsAffectedBy: (changes) => agentsAffectedBy(directory, changes),
    [Symbol.dispose]() {
      closed = true;
      retry?.[Symbol.dispose]();
      subscription[Symbol.dispose]();
      listeners.clear();
    },
  };
}

const NO_CRLS: readonly Uint8Array[] = [];
// Milliseconds until the store is asked again after it failed.
const RETRY = 1000;
