import { connect, type Socket } from "node:net";

/** One HTTP/2 frame (RFC 9113 §4.1). */
export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

/** Numbers of frame types. */
export const FRAME = {
  data: 0,
  headers: 1,
  reset: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
} as const;

/** A connection that sends HTTP/2 frames as they are given, right or wrong, and keeps those that come. */
export class RawFrames implements Disposable {
  readonly frames: Frame[] = [];
  /** Whether the other side has closed. */
  closed = false;
  readonly #socket: Socket;
  #rest = Buffer.alloc(0);
  readonly #waiting = new Set<() => void>();

  /** Connects to a Unix socket and sends preface and empty settings. */
  constructor(path: string) {
    this.#socket = connect(path);
    this.#socket.on("error", () => {});
    this.#socket.on("data", (chunk) => this.#take(Buffer.from(chunk)));
    this.#socket.on("close", () => {
      this.closed = true;
      this.#wake();
    });
    this.#socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    this.send({ type: FRAME.settings, flags: 0, stream: 0, payload: Buffer.alloc(0) });
  }

  /** Sends one frame. */
  send({ type, flags, stream, payload }: Frame): void {
    const head = Buffer.alloc(9);
    head.writeUIntBE(payload.length, 0, 3);
    head[3] = type;
    head[4] = flags;
    head.writeUInt32BE(stream, 5);
    this.#socket.write(Buffer.concat([head, payload]));
  }

  /** Sends a whole gRPC request on a stream: these header fields as literals, then one message and the end. */
  request(stream: number, fields: readonly (readonly [string, string])[], message: Buffer): void {
    this.send({ type: FRAME.headers, flags: 0x4, stream, payload: literals(fields) });
    this.send({ type: FRAME.data, flags: 0x1, stream, payload: message });
  }

  /** The first frame that passes, waiting for it; rejects where the connection ends or five seconds pass first. */
  async until(passes: (frame: Frame) => boolean): Promise<Frame> {
    const deadline = performance.now() + 5000;
    for (;;) {
      const found = this.frames.find(passes);
      if (found !== undefined) return found;
      const left = deadline - performance.now();
      if (this.closed || left <= 0) throw new Error(`no such frame among ${this.frames.length}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#waiting.add(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    while (this.#rest.length >= 9 && this.#rest.length >= 9 + this.#rest.readUIntBE(0, 3)) {
      const end = 9 + this.#rest.readUIntBE(0, 3);
      const frame: Frame = {
        type: this.#rest[3] ?? 0,
        flags: this.#rest[4] ?? 0,
        stream: this.#rest.readUInt32BE(5),
        payload: this.#rest.subarray(9, end),
      };
      this.#rest = this.#rest.subarray(end);
      this.frames.push(frame);
      if (frame.type === FRAME.settings && (frame.flags & 1) === 0) {
        this.send({ type: FRAME.settings, flags: 1, stream: 0, payload: Buffer.alloc(0) });
      }
    }
    this.#wake();
  }

  #wake(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }
}

/** A header block of literals without indexing and without Huffman coding; names and values below 127 octets. */
export function literals(fields: readonly (readonly [string, string])[]): Buffer {
  return Buffer.concat(
    fields.flatMap(([name, value]) => [
      Buffer.from([0, name.length]),
      Buffer.from(name, "latin1"),
      Buffer.from([value.length]),
      Buffer.from(value, "latin1"),
    ]),
  );
}
