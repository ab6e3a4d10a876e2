/**
 * federation/ — fetching the bundles of foreign trust domains and keeping them fresh.
 *
 * Must never know who stores relationships and bundles, nor who uses them; it asks for the newest and hands over newer.
 * Called by the server's composition, which tells it which relationships there are.
 */
import { isDeepStrictEqual } from "node:util";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type { FederationRelationshipRecord } from "../store/records.ts";
import {
  BundlePoller,
  type BundlePollerOptions,
  type FederationEvent,
  type FederationStatus,
} from "./bundle-poller.ts";
import { Slots } from "./slots.ts";

/** What the client works with. */
export type BundleClientOptions = Omit<BundlePollerOptions, "slots">;

/** Keeps the bundles of all relationships fresh, each by itself: one that hangs or fails holds no other up for long. */
export class BundleClient implements AsyncDisposable {
  readonly #options: BundlePollerOptions;
  readonly #pollers = new Map<TrustDomain, BundlePoller>();
  readonly #ending = new Set<Promise<void>>();
  #closed = false;

  constructor(options: BundleClientOptions) {
    this.#options = { ...options, slots: new Slots(AT_ONCE) };
  }

  /**
   * Takes these for all relationships there are: asks new and changed ones at once, goes on with those that are the
   * same, and forgets the rest.
   */
  setRelationships(relationships: readonly FederationRelationshipRecord[]): void {
    if (this.#closed) return;
    const wanted = new Map(relationships.map((one) => [one.trustDomain, one]));
    for (const [trustDomain, poller] of this.#pollers) {
      if (isDeepStrictEqual(wanted.get(trustDomain), poller.status.relationship)) wanted.delete(trustDomain);
      else this.#forget(trustDomain, poller);
    }
    for (const relationship of wanted.values()) {
      const poller = new BundlePoller(relationship, this.#options);
      this.#pollers.set(relationship.trustDomain, poller);
      void poller.refresh();
    }
  }

  /** Fetches the bundle of a trust domain now; `undefined` where there is no relationship with it. */
  async refresh(trustDomain: TrustDomain): Promise<FederationEvent | undefined> {
    return this.#pollers.get(trustDomain)?.refresh();
  }

  /** To be told when a bundle was set: endpoints that could not be verified without it are asked again at once. */
  bundleChanged(trustDomain: TrustDomain): void {
    for (const poller of this.#pollers.values()) {
      if (poller.mayBeMendedBy(trustDomain)) void poller.refresh();
    }
  }

  /** How each relationship fares, by trust domain. */
  statuses(): readonly FederationStatus[] {
    return [...this.#pollers.values()]
      .map(({ status }) => status)
      .toSorted((a, b) => (a.relationship.trustDomain < b.relationship.trustDomain ? -1 : 1));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    for (const [trustDomain, poller] of this.#pollers) this.#forget(trustDomain, poller);
    await Promise.all(this.#ending);
  }

  #forget(trustDomain: TrustDomain, poller: BundlePoller): void {
    this.#pollers.delete(trustDomain);
    const ending = poller[Symbol.asyncDispose]().finally(() => this.#ending.delete(ending));
    this.#ending.add(ending);
  }
}

const AT_ONCE = 16;
