import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Clock } from "../../clock.ts";
import {
  AgentSync,
  type WatchAuthorizedEntriesResponseSchema,
} from "../../proto/gen/assay/api/server/v1/agent_sync_pb.ts";
import type { Registry } from "../../registry/registry.ts";
import type { ServiceHandlers } from "../../rpc/handlers.ts";
import type { RevokedToken } from "../../revocation/revoked-table.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import type { SpiffeId } from "../../spiffe/id.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import type { EntryRecord } from "../../store/records.ts";
import type { Access } from "../access/access.ts";
import { agentOf, type ServerCall } from "../call.ts";
import { bundleToWire } from "../wire/bundle.ts";
import { agentEntryToWire } from "../../wire/entry.ts";
import { RevokedTokenNews } from "./revoked-token-news.ts";

type Message = MessageInitShape<typeof WatchAuthorizedEntriesResponseSchema>;

/** The registry, as far as agents are told of it. */
export interface WatchedRegistry
  extends Pick<Registry, "bundle" | "crls" | "agentsAffectedBy" | "subscribe" | "sequence"> {
  readonly trustDomain: TrustDomain;
  readonly entries: Pick<Registry["entries"], "authorized">;
}

/** What `assay.api.server.v1.AgentSync` is served with. */
export interface AgentSyncServiceOptions {
  readonly registry: WatchedRegistry;
  readonly access: Access;
  readonly clock: Clock;
  /** The tokens that are revoked; none where absent. */
  readonly revoked?: RevokedTokenFeed | undefined;
}

/** The tokens that agents refuse though they have not expired. */
export interface RevokedTokenFeed {
  /** All of them. */
  revokedTokens(): readonly RevokedToken[];
  /** Calls the listener with those that are new, until disposed; it asks how many agents follow. */
  onRevokedTokens(listener: (fresh: readonly RevokedToken[]) => void, howMany: () => number): Disposable;
}

/** The service and what belongs to it for as long as the server runs. */
export interface AgentSyncService extends Disposable {
  readonly handlers: ServiceHandlers<typeof AgentSync, ServerCall>;
  /** How many agents are following. */
  readonly watchers: number;
}

/**
 * Makes the service that tells agents of changes as they happen. One subscription to the registry serves all open
 * streams; a change wakes only the streams it concerns, and each then sends what differs from what it sent before.
 */
export function agentSyncService(options: AgentSyncServiceOptions): AgentSyncService {
  const { registry, access, clock, revoked } = options;
  const bells = new Map<SpiffeId, Set<Bell>>();
  const ringAll = (): void => {
    for (const set of bells.values()) for (const bell of set) bell.ring();
  };

  const subscription = registry.subscribe((changes) => {
    const { everyone, agents } = registry.agentsAffectedBy(changes);
    if (everyone) {
      ringAll();
      return;
    }
    for (const agent of agents) for (const bell of bells.get(agent) ?? []) bell.ring();
    // A ban, an eviction or a renewal may end a stream even where it changes no entry.
    for (const change of changes) {
      if (change.kind === "node") for (const bell of bells.get(change.id) ?? []) bell.ring();
    }
  });

  const tokenNews = new RevokedTokenNews();
  const revocations = revoked?.onRevokedTokens(
    (fresh) => {
      tokenNews.add(fresh);
      ringAll();
    },
    () => bells.size,
  );
  const tokens: TokenSource = {
    get position() {
      return tokenNews.position;
    },
    since: (position) => tokenNews.since(position),
    all: () => revoked?.revokedTokens() ?? [],
  };

  async function* watch(context: ServerCall): AsyncGenerator<Message, void, undefined> {
    const agent = agentOf(context.caller).svid;
    using bell = hang(bells, agent.spiffeId);
    const onAbort = () => bell.ring();
    context.signal.addEventListener("abort", onAbort, { once: true });
    const told = new Told();
    let complete = true;
    for (;;) {
      context.signal.throwIfAborted();
      await access.authorize(context.method, context.peer.caller());
      yield* told.news(registry, agent.spiffeId, complete, tokens);
      complete = false;
      // The stream lives no longer than the SVID that opened it. Set anew each time, for a timer may fire a moment
      // early and cannot be set for longer than some weeks.
      using _expiry = clock.schedule(agent.notAfter * 1000 - clock.now(), () => bell.ring());
      await bell.rung();
    }
  }

  return {
    handlers: { watchAuthorizedEntries: (_request, context) => watch(context) },
    get watchers() {
      return bells.size;
    },
    [Symbol.dispose]() {
      subscription[Symbol.dispose]();
      revocations?.[Symbol.dispose]();
    },
  };
}

/** The revoked tokens, for streams of which each has heard of some. */
interface TokenSource extends Pick<RevokedTokenNews, "position" | "since"> {
  all(): readonly RevokedToken[];
}

/** What one stream has told its agent. */
class Told {
  readonly #entries = new Map<string, EntryRecord>();
  readonly #bundles = new Map<TrustDomain, SpiffeBundle>();
  #crls: readonly (readonly Uint8Array[])[] = [];
  #toldTokens = 0;

  /** The messages that bring the agent up to date; none where nothing changed, at least one for a complete state. */
  *news(
    registry: WatchedRegistry,
    agent: SpiffeId,
    complete: boolean,
    tokens: TokenSource,
  ): Generator<Message> {
    const sequence = BigInt(registry.sequence);
    const entries = registry.entries.authorized(agent);
    const upserted = entries.filter((entry) => this.#entries.get(entry.id) !== entry);
    const present = new Set(entries.map(({ id }) => id));
    const deleted = [...this.#entries.keys()].filter((id) => !present.has(id));
    for (const entry of upserted) this.#entries.set(entry.id, entry);
    for (const id of deleted) this.#entries.delete(id);

    const own = this.#changedBundle(registry, registry.trustDomain);
    const foreign = new Set(entries.flatMap(({ federatesWith }) => federatesWith));
    const federatedBundles = [...foreign].flatMap((name) => this.#changedBundle(registry, name) ?? []);
    const deletedFederatedBundles = [...this.#bundles.keys()].filter((name) => {
      return name !== registry.trustDomain && (!foreign.has(name) || registry.bundle(name) === undefined);
    });
    for (const name of deletedFederatedBundles) this.#bundles.delete(name);

    const names = [registry.trustDomain, ...this.#bundles.keys()];
    const trustDomains = [...new Set(names)].toSorted();
    const crls = trustDomains.map((name) => registry.crls(name)).filter((lists) => lists.length > 0);
    // The registry gives the same array while nothing changed.
    const sameCrls = crls.length === this.#crls.length && crls.every((lists, n) => lists === this.#crls[n]);
    this.#crls = crls;

    const [firstTokens, ...moreTokens] = this.#changedTokens(tokens, complete);
    const head: Message = {
      sequence,
      complete,
      deleted,
      federatedBundles: federatedBundles.map((bundle) => bundleToWire(bundle)),
      deletedFederatedBundles,
      ...(own === undefined ? {} : { bundle: bundleToWire(own) }),
      ...(firstTokens === undefined ? {} : { revokedTokens: firstTokens }),
      ...(sameCrls && !complete
        ? {}
        : {
            revocationLists: {
              lists: trustDomains.flatMap((trustDomain) =>
                registry.crls(trustDomain).map((crl) => ({ trustDomain, crl })),
              ),
            },
          }),
    };
    const isNews =
      upserted.length + deleted.length + federatedBundles.length + deletedFederatedBundles.length > 0 ||
      own !== undefined ||
      firstTokens !== undefined ||
      !sameCrls;
    if (!isNews && !complete) return;
    for (const revokedTokens of moreTokens) yield { sequence, complete, revokedTokens, more: true };
    const chunks = chunked(upserted);
    for (const [index, chunk] of chunks.entries()) {
      yield {
        ...(index === 0 ? head : { sequence, complete }),
        upserted: chunk.map((entry) => agentEntryToWire(entry)),
        more: index < chunks.length - 1,
      };
    }
  }

  /** Those that are new, or all of them, in messages that stay well below what a client accepts; none where nothing is new. */
  #changedTokens(source: TokenSource, complete: boolean) {
    const fresh = complete ? undefined : source.since(this.#toldTokens);
    this.#toldTokens = source.position;
    const tokens = fresh ?? source.all();
    const count = Math.max(fresh === undefined ? 1 : 0, Math.ceil(tokens.length / CHUNK_TOKENS));
    return Array.from({ length: count }, (_, n) => ({
      complete: fresh === undefined,
      tokens: tokens
        .slice(n * CHUNK_TOKENS, (n + 1) * CHUNK_TOKENS)
        .map(({ id, expiresAt }) => ({ id, expiresAt: BigInt(expiresAt) })),
    }));
  }

  #changedBundle(registry: WatchedRegistry, name: TrustDomain): SpiffeBundle | undefined {
    const bundle = registry.bundle(name);
    if (bundle === undefined || this.#bundles.get(name) === bundle) return undefined;
    this.#bundles.set(name, bundle);
    return bundle;
  }
}

/** Entries in messages that stay well below what a client accepts; at least one message. */
function chunked(entries: readonly EntryRecord[]): readonly (readonly EntryRecord[])[] {
  const chunks: EntryRecord[][] = [[]];
  let bytes = 0;
  for (const entry of entries) {
    const size = estimatedBytes(entry);
    const last = chunks.at(-1) ?? [];
    if (last.length > 0 && (bytes + size > CHUNK_BYTES || last.length >= CHUNK_ENTRIES)) {
      chunks.push([entry]);
      bytes = size;
    } else {
      last.push(entry);
      bytes += size;
    }
  }
  return chunks;
}

function estimatedBytes(entry: EntryRecord): number {
  const lengths = [
    ...entry.selectors.map(({ type, value }) => type.length + value.length + 8),
    ...entry.dnsNames.map((name) => name.length + 2),
    ...entry.federatesWith.map((name) => name.length + 2),
  ];
  return lengths.reduce(
    (sum, length) => sum + 3 * length,
    128 + entry.spiffeId.length + entry.parentId.length,
  );
}

/** Wakes one stream. Rings while nobody waits count as one. */
class Bell implements Disposable {
  readonly #remove: (bell: Bell) => void;
  #rung = false;
  #wake: (() => void) | undefined;

  constructor(remove: (bell: Bell) => void) {
    this.#remove = remove;
  }

  ring(): void {
    this.#rung = true;
    this.#wake?.();
  }

  async rung(): Promise<void> {
    if (!this.#rung) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await promise;
      this.#wake = undefined;
    }
    this.#rung = false;
  }

  [Symbol.dispose](): void {
    this.#remove(this);
  }
}

function hang(bells: Map<SpiffeId, Set<Bell>>, agent: SpiffeId): Bell {
  const set = bells.get(agent) ?? new Set<Bell>();
  bells.set(agent, set);
  const bell = new Bell((gone) => {
    set.delete(gone);
    if (set.size === 0) bells.delete(agent);
  });
  set.add(bell);
  return bell;
}

const CHUNK_BYTES = 1024 * 1024;
const CHUNK_ENTRIES = 1000;
const CHUNK_TOKENS = 10_000;
