import type { SpiffeId } from "../../spiffe/id.ts";

/** A socket, as far as counting needs it. */
export interface CountedSocket {
  once(event: "close", listener: () => void): unknown;
}

/**
 * Counts the connections of each broker. Any member of the trust domain may connect and be told that it is no broker;
 * those count all together, so that they can take neither the agent's descriptors nor the brokers' place.
 */
export class ConnectionCount {
  readonly #brokers: ReadonlySet<SpiffeId>;
  readonly #open = new Map<SpiffeId | undefined, number>();

  constructor(brokers: Iterable<SpiffeId>) {
    this.#brokers = new Set(brokers);
  }

  /** Counts a connection until it closes; false, and nothing counted, where there are too many of its kind. */
  take(socket: CountedSocket, id: SpiffeId | undefined): boolean {
    const key = id !== undefined && this.#brokers.has(id) ? id : undefined;
    const open = this.#open.get(key) ?? 0;
    if (open >= (key === undefined ? MAX_OF_OTHERS : MAX_OF_BROKER)) return false;
    this.#open.set(key, open + 1);
    socket.once("close", () => this.#open.set(key, (this.#open.get(key) ?? 1) - 1));
    return true;
  }
}

// A broker needs one, and another while it shows a newer SVID.
const MAX_OF_BROKER = 256;
const MAX_OF_OTHERS = 64;
