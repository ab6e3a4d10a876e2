import { type CountedSocket, OpenCount } from "../../endpoint/open-count.ts";
import type { SpiffeId } from "../../spiffe/id.ts";

/**
 * Counts the connections of each broker. Any member of the trust domain may connect and be told that it is no broker;
 * those count all together, so that they can take neither the agent's descriptors nor the brokers' place.
 */
export class ConnectionCount {
  readonly #brokers: ReadonlySet<SpiffeId>;
  readonly #open = new OpenCount<SpiffeId | undefined>();

  constructor(brokers: Iterable<SpiffeId>) {
    this.#brokers = new Set(brokers);
  }

  /** Counts a connection until it closes; false, and nothing counted, where there are too many of its kind. */
  take(socket: CountedSocket, id: SpiffeId | undefined): boolean {
    const key = id !== undefined && this.#brokers.has(id) ? id : undefined;
    if (this.#open.of(key) >= (key === undefined ? MAX_OF_OTHERS : MAX_OF_BROKER)) return false;
    this.#open.add(key, socket);
    return true;
  }
}

// A broker needs one, and another while it shows a newer SVID.
const MAX_OF_BROKER = 256;
const MAX_OF_OTHERS = 64;
