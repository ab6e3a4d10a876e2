import { once } from "node:events";
import { connect, type Socket } from "node:net";

/** HTTP/2 frames (RFC 9113 §4.1, §6) as a client that keeps no rules would write them. */
export const FRAME = {
  data: 0,
  headers: 1,
  priority: 2,
  rstStream: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const FLAG = { ack: 1, endStream: 1, endHeaders: 4, padded: 8, priority: 0x20 } as const;

export const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

/** One frame; nothing about it is checked. */
export function frame(type: number, flags: number, stream: number, payload: Uint8Array = EMPTY): Buffer {
  const header = Buffer.alloc(9);
  header.writeUIntBE(payload.length, 0, 3);
  header[3] = type;
  header[4] = flags;
  header.writeUInt32BE(stream, 5);
  return Buffer.concat([header, payload]);
}

/** A frame whose payload is one number. */
export function numberFrame(type: number, stream: number, value: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(value);
  return frame(type, 0, stream, payload);
}

/** SETTINGS with some values. */
export function settingsFrame(values: Readonly<Record<number, number>> = {}): Buffer {
  const entries = Object.entries(values);
  const payload = Buffer.alloc(6 * entries.length);
  for (const [i, [id, value]] of entries.entries()) {
    payload.writeUInt16BE(Number(id), 6 * i);
    payload.writeUInt32BE(value, 6 * i + 2);
  }
  return frame(FRAME.settings, 0, 0, payload);
}

/** A gRPC message (without compression) in DATA that ends the request. */
export function messageFrame(stream: number, message: Uint8Array = EMPTY): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return frame(FRAME.data, FLAG.endStream, stream, Buffer.concat([prefix, message]));
}

/** One frame as received. */
export interface ReceivedFrame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

/** A raw connection to a Unix socket, which says what came back. */
export class RawConnection implements Disposable {
  readonly socket: Socket;
  readonly frames: ReceivedFrame[] = [];
  /** Octets received. */
  received = 0;
  closed = false;
  readonly #keep: boolean;
  #rest: Buffer = Buffer.alloc(0);
  #wake: () => void = () => undefined;

  private constructor(socket: Socket, keep: boolean) {
    this.socket = socket;
    this.#keep = keep;
    // Several may wait for one and the same connection.
    socket.setMaxListeners(0);
    socket.on("error", () => undefined);
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
    socket.once("close", () => {
      this.closed = true;
      this.#wake();
    });
  }

  /** Connects; with `preface` false nothing is sent. */
  static async open(
    path: string,
    { preface = true, settings = {}, keep = true }: OpenOptions = {},
  ): Promise<RawConnection> {
    const socket = connect(path);
    await once(socket, "connect");
    const connection = new RawConnection(socket, keep);
    if (preface) connection.socket.write(Buffer.concat([PREFACE, settingsFrame(settings)]));
    return connection;
  }

  write(...frames: readonly Uint8Array[]): boolean {
    return this.socket.write(Buffer.concat(frames));
  }

  /** Waits until a condition holds for what was received, or the connection is closed. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition() && !this.closed) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** The first answer on a stream: its first HEADERS or RST_STREAM, or undefined if the connection ended before. */
  async answer(stream: number): Promise<ReceivedFrame | undefined> {
    const find = () =>
      this.frames.find(
        (one) => one.stream === stream && (one.type === FRAME.headers || one.type === FRAME.rstStream),
      );
    await this.until(() => find() !== undefined);
    return find();
  }

  /** The error code of the GOAWAY that was received. */
  get goaway(): number | undefined {
    return this.frames.findLast(({ type }) => type === FRAME.goaway)?.payload.readUInt32BE(4);
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }

  #take(chunk: Buffer): void {
    this.received += chunk.length;
    if (this.#keep) {
      this.#rest = Buffer.concat([this.#rest, chunk]);
      while (this.#rest.length >= 9) {
        const end = 9 + this.#rest.readUIntBE(0, 3);
        if (this.#rest.length < end) break;
        const [type = 0, flags = 0] = this.#rest.subarray(3, 5);
        const stream = this.#rest.readUInt32BE(5);
        this.frames.push({ type, flags, stream, payload: this.#rest.subarray(9, end) });
        this.#rest = this.#rest.subarray(end);
      }
    }
    this.#wake();
  }
}

interface OpenOptions {
  readonly preface?: boolean;
  readonly settings?: Readonly<Record<number, number>>;
  /** Whether to keep the frames that come back. */
  readonly keep?: boolean;
}

const EMPTY = new Uint8Array(0);
