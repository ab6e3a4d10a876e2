import type { DescMethod, Message, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { type CallOptions as LibraryCallOptions, Client, Metadata } from "@grpc/grpc-js";
import { systemClock } from "../clock.ts";
import { AssayError } from "../errors/assay-error.ts";
import { type BidiCall, CallOutcome, type CallOptions, LibraryBidiCall, messagesOf } from "./client-call.ts";
import { libraryTarget, type RpcTarget } from "./client-target.ts";
import {
  type AnyMessageInit,
  decode,
  encode,
  methodPath,
  type TypedMethod,
  type TypedService,
} from "./service-definition.ts";
import { RpcError, rpcErrorFrom } from "./status.ts";

/** Settings of a client. Sizes are bytes, times milliseconds. */
export interface RpcClientOptions {
  readonly target: RpcTarget;
  /** Largest message to accept. 4 MiB unless told. */
  readonly maxReceiveMessageSize?: number;
  /** A connection that is silent this long is pinged. Never unless told. */
  readonly keepaliveTime?: number;
  /** A ping that is unanswered this long ends the connection. 20 s unless told. */
  readonly keepaliveTimeout?: number;
  /** First and longest pause before connecting again. 200 ms and 5 s unless told. */
  readonly reconnect?: { readonly first: number; readonly longest: number };
}

/** The function that calls a method of this kind. */
export type CallOf<Method extends TypedMethod> = Method["methodKind"] extends "unary"
  ? (
      request: MessageInitShape<Method["input"]>,
      options?: CallOptions,
    ) => Promise<MessageShape<Method["output"]>>
  : Method["methodKind"] extends "server_streaming"
    ? (
        request: MessageInitShape<Method["input"]>,
        options?: CallOptions,
      ) => AsyncGenerator<MessageShape<Method["output"]>, void, undefined>
    : Method["methodKind"] extends "bidi_streaming"
      ? (options?: CallOptions) => BidiCall<MessageInitShape<Method["input"]>, MessageShape<Method["output"]>>
      : never;

/** The methods of a service as functions, by local name. They fail with {@link RpcError}. */
export type ServiceClient<Service extends TypedService> = {
  readonly [Name in keyof Service["method"]]: CallOf<Service["method"][Name]>;
};

/**
 * A connection to one server with one set of credentials; whoever has new ones makes a new client. Connects on the
 * first call and again after a loss; a call that cannot connect fails with UNAVAILABLE at once.
 */
export class RpcClient implements Disposable {
  readonly #client: Client;
  readonly #active = new Set<{ cancel(): void }>();
  #closed = false;

  /** Throws INVALID_REQUEST if the target cannot be one. */
  constructor(options: RpcClientOptions) {
    const target = libraryTarget(options.target);
    this.#client = new Client(target.address, target.credentials, {
      ...target.options,
      "grpc.enable_channelz": 0,
      // Nothing of the environment decides where we connect, and nobody else shares the connection.
      "grpc.enable_http_proxy": 0,
      "grpc.service_config_disable_resolution": 1,
      "grpc.use_local_subchannel_pool": 1,
      "grpc.enable_retries": 0,
      "grpc.max_receive_message_length": options.maxReceiveMessageSize ?? DEFAULT_MAX_MESSAGE,
      "grpc.initial_reconnect_backoff_ms": options.reconnect?.first ?? 200,
      "grpc.max_reconnect_backoff_ms": options.reconnect?.longest ?? 5000,
      ...(options.keepaliveTime === undefined
        ? {}
        : { "grpc.keepalive_time_ms": options.keepaliveTime, "grpc.keepalive_permit_without_calls": 1 }),
      ...(options.keepaliveTimeout === undefined
        ? {}
        : { "grpc.keepalive_timeout_ms": options.keepaliveTimeout }),
    });
  }

  /** How many calls are under way. */
  get active(): number {
    return this.#active.size;
  }

  /** The methods of a service, as functions. */
  service<Service extends TypedService>(service: Service): ServiceClient<Service> {
    return Object.fromEntries(
      service.methods.map((method) => [method.localName, this.#caller(method)]),
    ) as ServiceClient<Service>;
  }

  /** Takes no more calls; those under way may finish, and with the last the connection closes. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#client.close();
  }

  /** Closes, and cancels what is under way. */
  [Symbol.dispose](): void {
    this.close();
    for (const call of this.#active) call.cancel();
  }

  #caller(method: DescMethod): unknown {
    switch (method.methodKind) {
      case "unary":
        return (request: AnyMessageInit, options?: CallOptions) => this.#unary(method, request, options);
      case "server_streaming":
        return (request: AnyMessageInit, options?: CallOptions) =>
          this.#serverStream(method, request, options);
      case "bidi_streaming":
        return (options?: CallOptions) => this.#bidi(method, options);
      default:
        return () => {
          throw new AssayError(
            "UNIMPLEMENTED",
            `method ${methodPath(method)} must be unary, server streaming or bidi`,
          );
        };
    }
  }

  #unary(method: DescMethod, request: AnyMessageInit, options: CallOptions = {}): Promise<Message> {
    return new Promise((resolve, reject) => {
      this.#admit(options);
      const call = this.#client.makeUnaryRequest(
        methodPath(method),
        (message: AnyMessageInit) => encode(method.input, message),
        (bytes) => decode(method.output, bytes),
        request,
        metadataOf(options),
        libraryCallOptions(options),
        (error, response) => {
          finished();
          if (error !== null) reject(rpcErrorFrom(error));
          else if (response === undefined)
            reject(new RpcError("INTERNAL", "the answer is missing", "INTERNAL"));
          else resolve(response);
        },
      );
      const finished = this.#track(call, options);
    });
  }

  // Begins with the first message asked for, so a stream that nobody reads costs nothing.
  async *#serverStream(
    method: DescMethod,
    request: AnyMessageInit,
    options: CallOptions = {},
  ): AsyncGenerator<Message, void, undefined> {
    this.#admit(options);
    const call = this.#client.makeServerStreamRequest(
      methodPath(method),
      (message: AnyMessageInit) => encode(method.input, message),
      (bytes) => decode(method.output, bytes),
      request,
      metadataOf(options),
      libraryCallOptions(options),
    );
    const outcome = new CallOutcome(call);
    outcome.whenEnded(this.#track(call, options));
    yield* messagesOf<Message>(call, outcome);
  }

  #bidi(method: DescMethod, options: CallOptions = {}): BidiCall<AnyMessageInit, Message> {
    this.#admit(options);
    const call = this.#client.makeBidiStreamRequest(
      methodPath(method),
      (message: AnyMessageInit) => encode(method.input, message),
      (bytes) => decode(method.output, bytes),
      metadataOf(options),
      libraryCallOptions(options),
    );
    const outcome = new CallOutcome(call);
    outcome.whenEnded(this.#track(call, options));
    return new LibraryBidiCall<AnyMessageInit, Message>(call, outcome);
  }

  #admit(options: CallOptions): void {
    if (this.#closed) throw new RpcError("SERVER_UNAVAILABLE", "the client is closed", "UNAVAILABLE");
    if (options.signal?.aborted === true)
      throw new RpcError("CANCELLED", "the call was cancelled", "CANCELLED");
  }

  /** Remembers a call until the function it returns is called. */
  #track(call: { cancel(): void }, { signal }: CallOptions): () => void {
    const cancel = (): void => call.cancel();
    this.#active.add(call);
    signal?.addEventListener("abort", cancel, { once: true });
    return () => {
      this.#active.delete(call);
      signal?.removeEventListener("abort", cancel);
    };
  }
}

function metadataOf({ headers }: CallOptions): Metadata {
  const metadata = new Metadata();
  if (headers !== undefined) for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
  return metadata;
}

function libraryCallOptions({ timeout }: CallOptions): LibraryCallOptions {
  // The library runs the deadline by the machine's own clock, whatever clock the caller lives by.
  return timeout === undefined ? {} : { deadline: systemClock.now() + timeout };
}

const DEFAULT_MAX_MESSAGE = 4 * 1024 * 1024;
