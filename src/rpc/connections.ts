import type { Duplex } from "node:stream";

/** The connections a server holds, with what their acceptor knew about each. */
export class Connections<Peer> {
  readonly #byKey = new Map<string, { readonly socket: Duplex; readonly peer: Peer }>();
  readonly #waiting: (() => void)[] = [];
  #next = 0;

  /** How many connections are open. */
  get size(): number {
    return this.#byKey.size;
  }

  /**
   * Remembers a connection until it closes. From here on the socket's `remoteAddress` is a key: it is the one thing
   * about a connection that the gRPC library hands to a handler.
   */
  add(socket: Duplex, peer: Peer): void {
    const key = `connection-${++this.#next}`;
    this.#byKey.set(key, { socket, peer });
    Object.defineProperty(socket, "remoteAddress", { value: key, configurable: true });
    // With a port the library would write "key:port".
    Object.defineProperty(socket, "remotePort", { value: undefined, configurable: true });
    socket.once("close", () => {
      this.#byKey.delete(key);
      if (this.#byKey.size > 0) return;
      for (const resolve of this.#waiting.splice(0)) resolve();
    });
  }

  /** What is known of the connection with this key; undefined once it is closed. */
  peer(key: string): { readonly peer: Peer } | undefined {
    return this.#byKey.get(key);
  }

  /** Resolves when no connection is open. */
  drained(): Promise<void> {
    if (this.#byKey.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Ends all connections at once. */
  destroy(): void {
    for (const { socket } of this.#byKey.values()) socket.destroy();
  }
}
