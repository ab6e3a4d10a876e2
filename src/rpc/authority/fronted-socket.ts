import { EventEmitter } from "node:events";
import type { Socket } from "node:net";
import { AuthorityFront } from "./authority-front.ts";

/**
 * A Unix socket with an {@link AuthorityFront} before it, to be handed to the HTTP/2 server instead of the socket.
 *
 * Every connection gets one, not only those whose first `:authority` needs it: one connection may carry several, and
 * once the platform reads a socket by itself nothing can come in between any more. That costs the platform's short
 * cut, by which a socket's octets never pass through JavaScript: `test/bench/authority-front.bench.ts` says how much.
 * So that it costs no more than that, this is no stream of its own with its own buffers but the little of one that the
 * platform uses: it hands each chunk and each call straight on. The socket's backpressure is the caller's.
 */
export class FrontedSocket extends EventEmitter {
  readonly readable = true;
  readonly writable = true;
  readonly readableObjectMode = false;
  readonly #socket: Socket;

  /** The socket must have no other reader. */
  constructor(socket: Socket) {
    super();
    this.#socket = socket;
    const front = new AuthorityFront();
    socket.pause();
    socket.on("data", (chunk: Buffer) => this.emit("data", front.push(chunk)));
    socket.once("end", () => this.emit("end"));
    socket.once("error", (error) => {
      // Where nobody listens any more it would be an unhandled error of the process.
      if (this.listenerCount("error") > 0) this.emit("error", error);
    });
    socket.once("close", () => this.emit("close"));
  }

  get destroyed(): boolean {
    return this.#socket.destroyed;
  }

  pause(): this {
    this.#socket.pause();
    return this;
  }

  resume(): this {
    this.#socket.resume();
    return this;
  }

  cork(): void {
    this.#socket.cork();
  }

  uncork(): void {
    this.#socket.uncork();
  }

  write(octets: Uint8Array, written: (error?: Error | null) => void): boolean {
    return this.#socket.write(octets, written);
  }

  end(ended: () => void): this {
    this.#socket.end(ended);
    return this;
  }

  destroy(error?: Error): this {
    this.#socket.destroy(error);
    return this;
  }
}
