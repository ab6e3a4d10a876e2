import { connect as connectHttp2, type ClientHttp2Session, type OutgoingHttpHeaders } from "node:http2";
import { connect } from "node:net";
import type { Duplex } from "node:stream";

/** How a gRPC call looked on the wire. */
export interface RawAnswer {
  readonly httpStatus: number;
  /** Number of the gRPC status; undefined where the call was left before it ended or was reset. */
  readonly grpcStatus: number | undefined;
  readonly grpcMessage: string;
  /** Messages without their frames. */
  readonly messages: readonly Buffer[];
  /** Whether the status came in the first header block, with no data at all. */
  readonly trailersOnly: boolean;
}

/** One call. */
export interface RawCall {
  /** Such as `/SpiffeWorkloadAPI/FetchX509SVID`. */
  readonly path: string;
  /** Added to what every gRPC request has; a list makes several header lines. Absent: just the security header. */
  readonly headers?: OutgoingHttpHeaders;
  /** The message; the empty one unless given. */
  readonly message?: Uint8Array;
  /** The call is left after so many messages; it is waited to its end unless given. */
  readonly leaveAfter?: number;
}

/** A gRPC client with nothing in it that could put right what a test sends wrong. Plaintext HTTP/2, prior knowledge. */
export class RawGrpc implements Disposable {
  readonly #session: ClientHttp2Session;

  /** On a Unix socket, or on a connection that somebody else has made. */
  constructor(target: string | Duplex) {
    const createConnection = () => (typeof target === "string" ? connect(target) : target);
    this.#session = connectHttp2("http://localhost", { createConnection });
    this.#session.on("error", () => {});
  }

  /** Makes a call and says how it went; rejects only where the stream was reset or the connection lost. */
  call({ path, headers = SECURITY, message, leaveAfter }: RawCall): Promise<RawAnswer> {
    return new Promise((resolve, reject) => {
      const stream = this.#session.request({
        ":method": "POST",
        ":path": path,
        "content-type": "application/grpc",
        te: "trailers",
        ...headers,
      });
      let head: Record<string, unknown> = {};
      let trailers: Record<string, unknown> = {};
      let rest = Buffer.alloc(0);
      const messages: Buffer[] = [];
      const answer = (): RawAnswer => {
        const status = trailers["grpc-status"] ?? head["grpc-status"];
        const text = trailers["grpc-message"] ?? head["grpc-message"] ?? "";
        return {
          httpStatus: Number(head[":status"]),
          grpcStatus: status === undefined ? undefined : Number(status),
          grpcMessage: decodeURIComponent(String(text)),
          messages,
          trailersOnly: head["grpc-status"] !== undefined,
        };
      };
      stream.on("response", (received) => (head = received));
      stream.on("trailers", (received) => (trailers = received));
      stream.on("data", (chunk: Buffer) => {
        rest = Buffer.concat([rest, chunk]);
        while (rest.length >= 5 && rest.length >= 5 + rest.readUInt32BE(1)) {
          const length = rest.readUInt32BE(1);
          messages.push(rest.subarray(5, 5 + length));
          rest = rest.subarray(5 + length);
        }
        if (leaveAfter !== undefined && messages.length >= leaveAfter) {
          resolve(answer());
          stream.close();
        }
      });
      stream.on("error", reject);
      stream.on("close", () => resolve(answer()));
      stream.end(grpcFrame(message ?? new Uint8Array()));
    });
  }

  [Symbol.dispose](): void {
    this.#session.destroy();
  }
}

/** A message with the five octets that gRPC puts before it. */
export function grpcFrame(message: Uint8Array): Buffer {
  const frame = Buffer.alloc(5 + message.length);
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, 5);
  return frame;
}

/** What every call of the Workload API must carry. */
export const SECURITY = { "workload.spiffe.io": "true" } as const;
