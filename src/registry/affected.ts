import type { SpiffeId } from "../spiffe/id.ts";
import { isAgentId } from "../spiffe/reserved.ts";
import { formatSelector } from "../spiffe/selector.ts";
import type { EntryRecord, NodeRecord } from "../store/records.ts";
import type { Directory } from "./directory.ts";
import type { RegistryChange } from "./registry-change.ts";

/** Whom changes concern. */
export interface AffectedAgents {
  /** Every agent: the own bundle changed. */
  readonly everyone: boolean;
  /** The agents whose entries, or whose entries' bundles, may have changed; more than needed now and then, never fewer. */
  readonly agents: ReadonlySet<SpiffeId>;
}

/**
 * Which agents must be told of changes that are in the directory already. Costs what the changes and the agents they
 * concern cost, however many agents and entries there are beside them.
 */
export function agentsAffectedBy(directory: Directory, changes: readonly RegistryChange[]): AffectedAgents {
  const walk = new HolderWalk(directory);
  let everyone = false;
  for (const change of changes) {
    switch (change.kind) {
      case "entry":
        for (const entry of [change.before, change.after]) if (entry !== undefined) walk.entry(entry);
        break;
      case "node":
        if (entitlementChanged(change.before, change.after)) walk.agents.add(change.id);
        break;
      case "bundle":
      case "crl":
        if (change.trustDomain === directory.trustDomain) everyone = true;
        else for (const entry of directory.entries.federatingWith(change.trustDomain)) walk.entry(entry);
        break;
      case "authority":
      case "federation_relationship":
        break;
    }
  }
  return { everyone, agents: walk.agents };
}

/** Walks from entries up to the agents that hold them; every ID is climbed from once, however many changes lead to it. */
class HolderWalk {
  readonly agents = new Set<SpiffeId>();
  readonly #climbed = new Set<SpiffeId>();
  readonly #directory: Directory;

  constructor(directory: Directory) {
    this.#directory = directory;
  }

  entry(entry: EntryRecord): void {
    const { entries, nodes, trustDomain } = this.#directory;
    const waiting = [entry];
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      if (entries.isAlias(next)) {
        for (const agent of nodes.having(next.selectors)) this.agents.add(agent);
      } else if (isAgentId(next.parentId, trustDomain)) {
        this.agents.add(next.parentId);
      } else if (!this.#climbed.has(next.parentId)) {
        this.#climbed.add(next.parentId);
        for (const above of entries.ofSpiffeId(next.parentId)) waiting.push(above);
      }
    }
  }
}

function entitlementChanged(before: NodeRecord | undefined, after: NodeRecord | undefined): boolean {
  if (before === undefined || after === undefined || before.banned !== after.banned) return true;
  const had = before.selectors.map(formatSelector);
  const has = after.selectors.map(formatSelector);
  return had.length !== has.length || had.some((text, n) => text !== has[n]);
}
