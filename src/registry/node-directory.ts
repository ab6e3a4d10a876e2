import type { SpiffeId } from "../spiffe/id.ts";
import { formatSelector, type Selector } from "../spiffe/selector.ts";
import type { NodeRecord } from "../store/records.ts";
import { putOrdered, removeOrdered } from "./ordered-records.ts";

/** The selector that every agent has without attestation: its own SPIFFE ID. */
export function ownSelector(id: SpiffeId): Selector {
  return { type: OWN_TYPE, value: id };
}

/**
 * What aliases are matched against: what attestation found, and the agent's own ID. Nothing that attestation found can
 * stand for another agent's ID.
 */
export function nodeSelectors(node: Pick<NodeRecord, "id" | "selectors">): readonly Selector[] {
  return [...node.selectors.filter((selector) => selector.type !== OWN_TYPE), ownSelector(node.id)];
}

/** All attested nodes in memory, by ID, in order of first attestation, and by selector. */
export class NodeDirectory {
  readonly #all: NodeRecord[] = [];
  readonly #byId = new Map<SpiffeId, NodeRecord>();
  readonly #bySelector = new Map<string, Set<NodeRecord["id"]>>();

  /** Every node, in order; belongs to the directory and changes with it. */
  get all(): readonly NodeRecord[] {
    return this.#all;
  }

  get(id: SpiffeId): NodeRecord | undefined {
    return this.#byId.get(id);
  }

  /**
   * IDs of the agents that have all of these selectors; none for no selectors. Costs what the rarest selector's nodes
   * cost. An agent whose node is not known has only the selector of its own ID.
   */
  having(selectors: readonly Selector[]): readonly SpiffeId[] {
    const own = selectors.find((selector) => selector.type === OWN_TYPE);
    if (own !== undefined) {
      const id = own.value as SpiffeId;
      return this.#has(id, selectors) ? [id] : [];
    }
    let rarest: ReadonlySet<SpiffeId> | undefined;
    for (const selector of selectors) {
      const ids = this.#bySelector.get(formatSelector(selector));
      if (ids === undefined) return [];
      if (rarest === undefined || ids.size < rarest.size) rarest = ids;
    }
    return [...(rarest ?? [])].filter((id) => this.#has(id, selectors));
  }

  /** Takes a node in, in place of the one with the same ID. */
  put(node: NodeRecord): void {
    const before = this.#byId.get(node.id);
    if (before !== undefined) this.#unindex(before);
    // Evicted and attested again between two looks at the log: the old place is not the new one.
    if (before !== undefined && before.ordinal !== node.ordinal) removeOrdered(this.#all, before.ordinal);
    this.#byId.set(node.id, node);
    putOrdered(this.#all, node);
    for (const selector of node.selectors) {
      const text = formatSelector(selector);
      const ids = this.#bySelector.get(text);
      if (ids === undefined) this.#bySelector.set(text, new Set([node.id]));
      else ids.add(node.id);
    }
  }

  /** Takes a node out. */
  delete(id: SpiffeId): void {
    const before = this.#byId.get(id);
    if (before === undefined) return;
    this.#unindex(before);
    this.#byId.delete(id);
    removeOrdered(this.#all, before.ordinal);
  }

  #has(id: SpiffeId, selectors: readonly Selector[]): boolean {
    return selectors.every((selector) =>
      selector.type === OWN_TYPE
        ? selector.value === id
        : this.#bySelector.get(formatSelector(selector))?.has(id),
    );
  }

  #unindex(node: NodeRecord): void {
    for (const selector of node.selectors) {
      const text = formatSelector(selector);
      const ids = this.#bySelector.get(text);
      ids?.delete(node.id);
      if (ids?.size === 0) this.#bySelector.delete(text);
    }
  }
}

const OWN_TYPE = "spiffe_id";
