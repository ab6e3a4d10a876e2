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
 *
 * In return every connection gets its turn: the platform reads from a socket as long as there is something, up to 2 MiB
 * and tens of thousands of calls, before it looks at another. Here a connection that has had one turn's work waits
 * until the others have had theirs, and the more of them wait, the shorter a turn.
 */
export class FrontedSocket extends EventEmitter {
  readonly readable = true;
  readonly writable = true;
  readonly readableObjectMode = false;
  readonly #socket: Socket;
  readonly #turns: Turns;
  readonly #front = new AuthorityFront();
  /** Whether the reader wants more. */
  #wanted = false;
  /** Whether the others have their turn. */
  #waits = false;
  /** What was read and is for a later turn. */
  #rest: Buffer | undefined;
  /** Whether the client has nothing more to say; it may have been read before the last turn. */
  #ended = false;
  #toldEnd = false;

  /** The socket must have no other reader. */
  constructor(socket: Socket, turns: Turns = { waiting: 0 }) {
    super();
    this.#socket = socket;
    this.#turns = turns;
    socket.pause();
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
    socket.once("end", () => {
      this.#ended = true;
      this.#goOn();
    });
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
    this.#wanted = false;
    this.#socket.pause();
    return this;
  }

  resume(): this {
    this.#wanted = true;
    this.#goOn();
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

  #take(chunk: Buffer): void {
    const end = this.#front.take(chunk, 0, TURN / (1 + this.#turns.waiting));
    const isWhole = end === chunk.length;
    this.#rest = isWhole ? undefined : chunk.subarray(end);
    // A chunk that fills the platform's buffer is not the last one.
    if (!isWhole || chunk.length >= FULL_CHUNK) this.#letOthers();
    this.emit("data", isWhole ? chunk : chunk.subarray(0, end));
  }

  #letOthers(): void {
    this.#waits = true;
    this.#turns.waiting++;
    this.#socket.pause();
    setImmediate(() => {
      this.#waits = false;
      this.#turns.waiting--;
      this.#goOn();
    });
  }

  #isWaiting(): boolean {
    return this.#waits || !this.#wanted;
  }

  #goOn(): void {
    if (this.#isWaiting() || this.#socket.destroyed) return;
    if (this.#rest !== undefined) this.#take(this.#rest);
    // The reader may have had enough of it, or it was more than a turn's work.
    if (this.#isWaiting()) return;
    if (!this.#ended) this.#socket.resume();
    else if (!this.#toldEnd) {
      this.#toldEnd = true;
      this.emit("end");
    }
  }
}

/** What the connections of one endpoint know of each other. */
export interface Turns {
  /** How many have had their turn and want another. */
  waiting: number;
}

const FULL_CHUNK = 65_536;
/** 16 calls, 128 PINGs or 512 frames that cost nothing but being read, where nobody else waits; one call at least. */
const TURN = 512;
