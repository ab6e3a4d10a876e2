import type { SpiffeId } from "../spiffe/id.ts";
import { formatSelector, type Selector } from "../spiffe/selector.ts";
import type { NodeRecord } from "../store/records.ts";
import { putOrdered, removeOrdered } from "./ordered-records.ts";

/** The selector that every agent has without attestation: its own SPIFFE ID. */
export function ownSelector(id: SpiffeId): Selector {
  return { type: OWN_TYPE, value: id };
}

/** What aliases are matched against: what attestation found, and the agent's own ID. */
export function nodeSelectors(node: Pick<NodeRecord, "id" | "selectors">): readonly Selector[] {
  return [...node.selectors, ownSelector(node.id)];
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

  /** Nodes that have all of these selectors; none for no selectors. Costs what the rarest selector's nodes cost. */
  having(selectors: readonly Selector[]): readonly NodeRecord[] {
    let candidates: Iterable<SpiffeId> | undefined;
    let fewest = Number.POSITIVE_INFINITY;
    const attested: string[] = [];
    for (const selector of selectors) {
      if (selector.type === OWN_TYPE) {
        const node = this.#byId.get(selector.value as SpiffeId);
        return node !== undefined && hasAll(node, selectors) ? [node] : [];
      }
      const text = formatSelector(selector);
      const ids = this.#bySelector.get(text);
      if (ids === undefined) return [];
      attested.push(text);
      if (ids.size < fewest) {
        fewest = ids.size;
        candidates = ids;
      }
    }
    const found: NodeRecord[] = [];
    for (const id of candidates ?? []) {
      const node = this.#byId.get(id);
      if (node !== undefined && attested.every((text) => this.#bySelector.get(text)?.has(id)))
        found.push(node);
    }
    return found;
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

  #unindex(node: NodeRecord): void {
    for (const selector of node.selectors) {
      const text = formatSelector(selector);
      const ids = this.#bySelector.get(text);
      ids?.delete(node.id);
      if (ids?.size === 0) this.#bySelector.delete(text);
    }
  }
}

function hasAll(node: NodeRecord, selectors: readonly Selector[]): boolean {
  const has = new Set(nodeSelectors(node).map(formatSelector));
  return selectors.every((selector) => has.has(formatSelector(selector)));
}

const OWN_TYPE = "spiffe_id";
