import { type Clock, unixSeconds } from "../clock.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { AgentNodes } from "../issuance/agents.ts";
import type { EntryCreationResult } from "../registry/entries.ts";
import type { EntryField, EntryUpdateResult } from "../registry/entry-updates.ts";
import type { Registry } from "../registry/registry.ts";
import { pathOf, type SpiffeId } from "../spiffe/id.ts";
import type { EntryRecord } from "../store/records.ts";
import type { OperatedNodes } from "./operations/agent-operations.ts";
import type { EntryOutcome, OperatedEntries } from "./operations/entry-operations.ts";

/** The registry's entries as operations change them: its outcomes as entries and errors. */
export function operatedEntries(registry: Registry): OperatedEntries {
  return {
    async createEntries(drafts) {
      return (await registry.entries.create(drafts)).map(creationOutcome);
    },
    async updateEntries(updates) {
      const changes = updates.map(({ id, revision, ...draft }) => {
        return { id, draft, revision, mask: new Set(Object.keys(draft) as EntryField[]) };
      });
      const results = await registry.entries.update(changes);
      return results.map((result, n) => updateOutcome(result, updates[n]?.id ?? ""));
    },
    async deleteEntries(ids) {
      const deleted = await registry.entries.delete(ids);
      return ids.map((id, n) => (deleted[n] === true ? { id } : { id, error: absent(id) }));
    },
  };
}

/** The unexpired entries that make whoever has this ID a server below. */
export function downstreamEntries(registry: Registry, id: SpiffeId, clock: Clock): readonly EntryRecord[] {
  const { items } = registry.entries.list({ spiffeId: id, downstream: true }, {});
  return items.filter(({ expiresAt }) => expiresAt === 0 || expiresAt > unixSeconds(clock));
}

/** The registry's nodes and join tokens as operations change them. */
export function operatedNodes(registry: Registry): OperatedNodes {
  return {
    async evict(ids) {
      const there: boolean[] = [];
      for (const id of ids)
        there.push((await unlessAbsent(registry.nodes.evict(id).then(() => true))) ?? false);
      return there;
    },
    ban: (id) => unlessAbsent(registry.nodes.ban(id)),
    purge: ({ expiredBefore, includeNotReattestable }) =>
      registry.nodes.purge({ expiredBefore, includeNonReattestable: includeNotReattestable }),
    createJoinToken: (order) => registry.joinTokens.create(order),
  };
}

/** What issuing to agents and the `join_token` attestor need of the registry. */
export interface AttestedNodes extends AgentNodes {
  /** Uses up a join token. @throws AssayError `JOIN_TOKEN_INVALID`, whatever was wrong with it. */
  consumeJoinToken(token: string): Promise<void>;
}

/**
 * The registry's nodes as attestation fills them. The alias that an operator bound to a join token waits here between
 * the token's use and the node's record, which is all of one attestation.
 * @param onRefusedToken Told what was wrong with a token that was refused; the token itself is not.
 */
export function attestedNodes(registry: Registry, onRefusedToken: (outcome: string) => void): AttestedNodes {
  const aliases = new Map<string, SpiffeId>();
  return {
    node: (id) => registry.nodes.get(id),
    renewed: (id, serial, expiresAt) => registry.nodes.renewed(id, serial, expiresAt),
    forget: (id) => registry.nodes.evict(id),
    async attested(node) {
      const token = node.attestationType === JOIN_TOKEN ? lastSegment(node.id) : undefined;
      const aliasId = token === undefined ? undefined : aliases.get(token);
      if (token !== undefined) aliases.delete(token);
      return registry.nodes.attested(node, aliasId);
    },
    async consumeJoinToken(token) {
      const use = await registry.joinTokens.consume(token);
      if (use.outcome !== "consumed") {
        onRefusedToken(use.outcome);
        throw new AssayError("JOIN_TOKEN_INVALID", "join token does not exist or has already been used");
      }
      if (use.aliasId === undefined) return;
      // An attestation that failed after this point leaves its alias behind; the oldest of those go first.
      const [oldest] = aliases.keys();
      if (oldest !== undefined && aliases.size >= MAX_WAITING_ALIASES) aliases.delete(oldest);
      aliases.set(token, use.aliasId);
    },
  };
}

function creationOutcome(result: EntryCreationResult): EntryOutcome {
  switch (result.outcome) {
    case "created":
      return { entry: result.entry };
    case "similar":
      return { entry: result.entry, error: new AssayError("ALREADY_EXISTS", "similar entry already exists") };
    case "conflict":
      return {
        entry: result.entry,
        error: new AssayError("ALREADY_EXISTS", "entry with this id already exists"),
      };
    case "invalid":
      return { error: result.error };
  }
}

function updateOutcome(result: EntryUpdateResult, id: string): EntryOutcome {
  switch (result.outcome) {
    case "updated":
      return { entry: result.entry };
    case "similar":
      return { entry: result.entry, error: new AssayError("ALREADY_EXISTS", "similar entry already exists") };
    case "stale":
      return {
        entry: result.entry,
        error: new AssayError("STALE_REVISION", `entry has revision ${result.entry.revision}`),
      };
    case "absent":
      return { error: absent(id) };
    case "invalid":
      return { error: result.error };
  }
}

function absent(id: string): AssayError {
  return new AssayError("ENTRY_NOT_FOUND", `entry ${JSON.stringify(id)} not found`);
}

async function unlessAbsent<Value>(work: Promise<Value>): Promise<Value | undefined> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof AssayError && error.code === "AGENT_NOT_FOUND") return undefined;
    throw error;
  }
}

function lastSegment(id: SpiffeId): string {
  const path = pathOf(id);
  return path.slice(path.lastIndexOf("/") + 1);
}

const JOIN_TOKEN = "join_token";
const MAX_WAITING_ALIASES = 10_000;
