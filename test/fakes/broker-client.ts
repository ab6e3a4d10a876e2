import {
  create,
  type DescMessage,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import type { KeyObject } from "node:crypto";
import { once } from "node:events";
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect as connectHttp2,
  type OutgoingHttpHeaders,
} from "node:http2";
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";
import { ErrorInfoSchema } from "../../src/proto/gen/google/rpc/error_details_pb.ts";
import { StatusSchema } from "../../src/proto/gen/google/rpc/status_pb.ts";
import {
  API,
  KubernetesObjectReferenceSchema,
  WorkloadPIDReferenceSchema,
} from "../../src/proto/gen/spiffe/broker/api_pb.ts";

/** Who a broker is: certificates in DER, leaf first, and the leaf's key. */
export interface BrokerIdentity {
  readonly chain: readonly Uint8Array[];
  readonly key: KeyObject;
}

/** How a call ended. */
export interface BrokerStatus {
  /** Number of the gRPC status. */
  readonly code: number;
  readonly message: string;
  /** Reason and domain of `google.rpc.ErrorInfo`, where there is one. */
  readonly info: { readonly reason: string; readonly domain: string } | undefined;
}

type Method = keyof typeof API.method;
type Request<Name extends Method> = MessageInitShape<(typeof API.method)[Name]["input"]>;
type Answer<Name extends Method> = MessageShape<(typeof API.method)[Name]["output"]>;

/** A client of the Broker Endpoint that sends what it is told, right or wrong, over TLS on any socket. */
export class BrokerClient implements Disposable {
  readonly socket: TLSSocket;
  readonly #session: ClientHttp2Session;

  private constructor(socket: TLSSocket) {
    this.socket = socket;
    this.#session = connectHttp2("https://localhost", { createConnection: () => socket });
    this.#session.on("error", () => {});
  }

  /** Connects; rejects where the handshake fails on this side. Who the server is plays no part. */
  static async connect(
    target: { readonly path: string } | { readonly port: number },
    identity: BrokerIdentity | undefined,
    options: ConnectionOptions = {},
  ): Promise<BrokerClient> {
    const socket = connect({
      ...target,
      ALPNProtocols: ["h2"],
      rejectUnauthorized: false,
      ...(identity === undefined
        ? {}
        : {
            cert: identity.chain.map(pem).join(""),
            key: identity.key.export({ format: "pem", type: "pkcs8" }),
          }),
      ...options,
    });
    await once(socket, "secureConnect");
    socket.on("error", () => {});
    return new BrokerClient(socket);
  }

  /** Makes a call and reads it as it goes. */
  open<Name extends Method>(
    name: Name,
    request: Request<Name>,
    headers: OutgoingHttpHeaders = SECURED,
  ): BrokerCall<Answer<Name>> {
    const { input, output, name: rpc } = API.method[name];
    return this.openAny(
      `/${API.typeName}/${rpc}`,
      toBinary(input as DescMessage, create(input as DescMessage, request as Record<string, unknown>)),
      (bytes) => fromBinary(output as DescMessage, bytes) as Answer<Name>,
      headers,
    );
  }

  /** Makes a call of any method, with any bytes as its message. */
  openAny<Answer>(
    path: string,
    message: Uint8Array,
    decode: (bytes: Uint8Array) => Answer,
    headers: OutgoingHttpHeaders = SECURED,
  ): BrokerCall<Answer> {
    const stream = this.#session.request({
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers",
      ...headers,
    });
    return new BrokerCall(stream, message, decode);
  }

  /** Makes a call, takes its first message and leaves; gives how it ended where there is none. */
  async first<Name extends Method>(
    name: Name,
    request: Request<Name>,
    headers?: OutgoingHttpHeaders,
  ): Promise<{ readonly message?: Answer<Name>; readonly status?: BrokerStatus }> {
    const call = this.open(name, request, headers);
    const message = await call.next();
    if (message === undefined) return { status: await call.status };
    call.leave();
    return { message };
  }

  [Symbol.dispose](): void {
    this.#session.destroy();
    this.socket.destroy();
  }
}

/** One call at work. */
export class BrokerCall<Answer> {
  /** How it ended, once it has; rejects where the connection was lost. */
  readonly status: Promise<BrokerStatus>;
  readonly #stream: ClientHttp2Stream;
  readonly #messages: Answer[] = [];
  #wake: () => void = () => {};
  #ended = false;

  constructor(stream: ClientHttp2Stream, request: Uint8Array, decode: (bytes: Uint8Array) => Answer) {
    this.#stream = stream;
    let rest = Buffer.alloc(0);
    let head: Record<string, unknown> = {};
    let trailers: Record<string, unknown> = {};
    const { promise, resolve, reject } = Promise.withResolvers<BrokerStatus>();
    this.status = promise;
    promise.catch(() => {});
    stream.on("response", (received) => (head = received));
    stream.on("trailers", (received) => (trailers = received));
    stream.on("data", (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk]);
      while (rest.length >= 5 && rest.length >= 5 + rest.readUInt32BE(1)) {
        const length = rest.readUInt32BE(1);
        this.#messages.push(decode(rest.subarray(5, 5 + length)));
        rest = rest.subarray(5 + length);
      }
      this.#wake();
    });
    stream.on("error", () => {});
    stream.on("close", () => {
      this.#ended = true;
      this.#wake();
      const fields = head["grpc-status"] === undefined ? trailers : head;
      if (fields["grpc-status"] === undefined) reject(new Error("the connection was lost"));
      else resolve(statusOf(fields));
    });
    const frame = Buffer.alloc(5 + request.length);
    frame.writeUInt32BE(request.length, 1);
    frame.set(request, 5);
    stream.end(frame);
  }

  /** The next message; `undefined` where the call has ended. */
  async next(): Promise<Answer | undefined> {
    while (this.#messages.length === 0 && !this.#ended) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.#messages.shift();
  }

  leave(): void {
    this.#stream.close();
  }
}

/** What names a process. */
export function pidReference(pid: number) {
  return { reference: anyPack(WorkloadPIDReferenceSchema, create(WorkloadPIDReferenceSchema, { pid })) };
}

/** What names an object of Kubernetes. */
export function objectReference(init: MessageInitShape<typeof KubernetesObjectReferenceSchema>) {
  return {
    reference: anyPack(KubernetesObjectReferenceSchema, create(KubernetesObjectReferenceSchema, init)),
  };
}

function statusOf(fields: Record<string, unknown>): BrokerStatus {
  const details = fields["grpc-status-details-bin"];
  const info =
    typeof details === "string"
      ? fromBinary(StatusSchema, Buffer.from(details, "base64"))
          .details.filter(({ typeUrl }) => typeUrl === "type.googleapis.com/google.rpc.ErrorInfo")
          .map(({ value }) => fromBinary(ErrorInfoSchema, value))[0]
      : undefined;
  return {
    code: Number(fields["grpc-status"]),
    message: decodeURIComponent(String(fields["grpc-message"] ?? "")),
    info: info === undefined ? undefined : { reason: info.reason, domain: info.domain },
  };
}

function pem(der: Uint8Array): string {
  const text = Buffer.from(der).toString("base64");
  return `-----BEGIN CERTIFICATE-----\n${text.match(/.{1,64}/g)?.join("\n") ?? ""}\n-----END CERTIFICATE-----\n`;
}

/** What every request to the Broker Endpoint carries. */
export const SECURED = { "broker.spiffe.io": "true" } as const;

/** Every call of the Broker API. */
export const BROKER_CALLS = [
  "subscribeToX509SVID",
  "subscribeToX509Bundles",
  "fetchJWTSVID",
  "subscribeToJWTBundles",
] as const;
