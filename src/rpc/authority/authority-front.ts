import { HeaderBlocks } from "./header-blocks.ts";

/**
 * Makes every `:authority` acceptable that real clients send on a Unix socket. grpc-java sends the socket's raw path,
 * proxies the name of a cluster; the platform's HTTP/2 resets a stream whose `:authority` has a `/` (and some other
 * octets) in it, and no option says otherwise. Nothing here reads `:authority`, so its value may change.
 *
 * The front looks at the octets of one connection from the client to the server. It reads the frames' headers (RFC 9113
 * §4.1), walks the header blocks in HEADERS and CONTINUATION, and turns single bits of an unacceptable `:authority` in
 * place: no octet is added, removed, copied or held back, however the octets are cut into chunks. An `:authority` that
 * is missing or empty stays so and is refused. It keeps a few numbers and at most 128 entries about the header table.
 * When the client breaks the protocol the front stops looking for good: the platform ends the connection at the same
 * octet.
 */
export class AuthorityFront {
  readonly #blocks = new HeaderBlocks();
  readonly #header = new Uint8Array(FRAME_HEADER);
  #headerOctets = 0;
  #state: State = "preface";
  /** Octets that are left of what the state names. */
  #left = PREFACE_LENGTH;
  /** Of the frame that is being read. */
  #type = 0;
  #flags = 0;
  #padding = 0;
  /** Octets of the frame's payload that have not been read yet. */
  #payload = 0;
  /** The stream whose header block goes on in the next frame; 0 where none does. */
  #unfinished = 0;
  #stream = 0;
  /** What the frames of this turn cost. */
  #work = 0;

  /** Whether the client has broken the protocol, so that nothing is looked at any more. */
  get isBlind(): boolean {
    return this.#state === "blind";
  }

  /** Takes the next octets, rewrites in place what must be rewritten, and returns the same buffer. Never throws. */
  push<Chunk extends Uint8Array>(chunk: Chunk): Chunk {
    for (let at = 0; at < chunk.length; ) at = this.take(chunk, at, Number.POSITIVE_INFINITY);
    return chunk;
  }

  /**
   * The same for no more octets than are so much work for whoever reads them: a call is 32, RST_STREAM, SETTINGS and
   * PING are 4, any other frame is 1. Returns where to go on; everything before it may be passed on. It is always further than `start`.
   */
  take(chunk: Uint8Array, start: number, work: number): number {
    let at = start;
    this.#work = 0;
    while (at < chunk.length && this.#work < work) {
      if (this.#state === "blind") return chunk.length;
      at = this.#step(chunk, at);
    }
    return at;
  }

  #step(chunk: Uint8Array, at: number): number {
    switch (this.#state) {
      case "frameHeader":
        return this.#frameHeader(chunk, at);
      case "padLength":
        this.#padding = chunk[at] ?? 0;
        this.#payload--;
        this.#begin(this.#flags & PRIORITY ? "priority" : "fragment");
        return at + 1;
      default:
        return this.#part(chunk, at);
    }
  }

  /** A part whose length is known: goes over as much of it as there is. */
  #part(chunk: Uint8Array, at: number): number {
    const end = Math.min(chunk.length, at + this.#left);
    if (this.#state === "fragment" && !this.#blocks.walk(chunk, at, end)) {
      this.#state = "blind";
      return end;
    }
    this.#left -= end - at;
    if (this.#left === 0) this.#partRead();
    return end;
  }

  #partRead(): void {
    switch (this.#state) {
      case "priority":
        this.#payload -= PRIORITY_LENGTH;
        this.#begin("fragment");
        break;
      case "fragment":
        this.#fragmentRead();
        break;
      default:
        this.#state = "frameHeader";
    }
  }

  #frameHeader(chunk: Uint8Array, start: number): number {
    let at = start;
    while (this.#headerOctets < FRAME_HEADER && at < chunk.length) {
      this.#header[this.#headerOctets++] = chunk[at++] ?? 0;
    }
    if (this.#headerOctets < FRAME_HEADER) return at;
    this.#headerOctets = 0;
    this.#payload = (this.#field(0) << 16) | (this.#field(1) << 8) | this.#field(2);
    this.#type = this.#field(3);
    this.#flags = this.#field(4);
    this.#padding = 0;
    this.#stream =
      ((this.#field(5) & 0x7f) << 24) | (this.#field(6) << 16) | (this.#field(7) << 8) | this.#field(8);
    this.#frameBegun();
    return at;
  }

  #field(octet: number): number {
    return this.#header[octet] ?? 0;
  }

  #frameBegun(): void {
    this.#work += WORK[this.#type] ?? 1;
    const continues = this.#unfinished !== 0;
    const isContinuation = this.#type === CONTINUATION;
    if (continues !== isContinuation || (continues && this.#stream !== this.#unfinished))
      this.#state = "blind";
    else if (this.#payload > MAX_FRAME_SIZE) this.#state = "blind";
    else if (isContinuation) this.#begin("fragment");
    else if (this.#type !== HEADERS) this.#begin("skipped");
    else if (this.#stream === 0) this.#state = "blind";
    else if (this.#flags & PADDED) this.#begin("padLength");
    else this.#begin(this.#flags & PRIORITY ? "priority" : "fragment");
  }

  #begin(state: "padLength" | "priority" | "fragment" | "skipped"): void {
    this.#state = state;
    this.#left = lengthOf(state, this.#payload, this.#padding);
    if (this.#left < 0 || this.#left > this.#payload) this.#state = "blind";
    else if (this.#left === 0) this.#partRead();
  }

  #fragmentRead(): void {
    if (this.#flags & END_HEADERS) {
      this.#unfinished = 0;
      if (!this.#blocks.finish()) {
        this.#state = "blind";
        return;
      }
    } else {
      this.#unfinished = this.#stream;
    }
    this.#left = this.#padding;
    this.#state = this.#padding === 0 ? "frameHeader" : "skipped";
  }
}

function lengthOf(state: State, payload: number, padding: number): number {
  switch (state) {
    case "padLength":
      return 1;
    case "priority":
      return PRIORITY_LENGTH;
    case "fragment":
      return payload - padding;
    default:
      return payload;
  }
}

type State = "preface" | "frameHeader" | "padLength" | "priority" | "fragment" | "skipped" | "blind";

const PREFACE_LENGTH = 24;
const FRAME_HEADER = 9;
const PRIORITY_LENGTH = 5;
/** What the server says that it takes (RFC 9113 §4.2); it never asks for more. */
const MAX_FRAME_SIZE = 16_384;

const HEADERS = 1;
const RST_STREAM = 3;
const SETTINGS = 4;
const PING = 6;
const CONTINUATION = 9;
const END_HEADERS = 0x4;
const PADDED = 0x8;
const PRIORITY = 0x20;

/** About what a frame costs whoever reads it, by its type; 1 where it is not named. */
const WORK: Readonly<Record<number, number>> = { [HEADERS]: 32, [RST_STREAM]: 4, [SETTINGS]: 4, [PING]: 4 };
