/**
 * rpc/ — gRPC, served and called, in our own words. The only importer of the gRPC library.
 *
 * Must never know what a method means, who may call it or where connections come from: its owner says so by hooks.
 * Called by server/, agent/ and cli/.
 */
import type { DescMethod, Message } from "@bufbuild/protobuf";
import {
  type sendUnaryData,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type UntypedHandleCall,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { AssayError, toAssayError } from "../errors/assay-error.ts";
import { type CallContext, ServerCallContext } from "./call-context.ts";
import { Connections, type RpcSocket } from "./connections.ts";
import type { BidiHandler, ServerStreamHandler, ServiceHandlers, UnaryHandler } from "./handlers.ts";
import { libraryOptions, type RpcServerOptions, sessionLimits } from "./server-options.ts";
import {
  type AnyMessageInit,
  encode,
  Malformed,
  methodPath,
  serverMethod,
  type TypedService,
} from "./service-definition.ts";
import { wireStatus } from "./status.ts";
import { StreamAnswer } from "./stream-answer.ts";

/**
 * A gRPC server without a listener: connections are accepted elsewhere and handed over with what is known about
 * them. Header blocks are limited to 64 KiB and 128 fields by the platform.
 */
export class RpcServer<Peer, Caller = undefined> {
  readonly #options: RpcServerOptions<Peer, Caller>;
  readonly #server: Server;
  readonly #connections: Connections<Peer>;
  readonly #services: TypedService[] = [];
  readonly #streams = new Set<StreamAnswer>();
  #closing: Promise<void> | undefined;

  constructor(options: RpcServerOptions<Peer, Caller>) {
    this.#options = options;
    this.#server = new Server(libraryOptions(options));
    this.#server.createConnectionInjector(ServerCredentials.createInsecure());
    this.#connections = new Connections(this.#server, sessionLimits(options), options.clock);
  }

  /** How many connections are open. */
  get connections(): number {
    return this.#connections.size;
  }

  /** How many streams are open. */
  get streams(): number {
    return this.#streams.size;
  }

  /** What is registered, in this order. */
  get services(): readonly TypedService[] {
    return this.#services;
  }

  /** Serves the methods for which there is a handler. A service is registered once. */
  register<Service extends TypedService>(
    service: Service,
    handlers: ServiceHandlers<Service, CallContext<Peer, Caller>>,
  ): void {
    const definition: Record<string, ReturnType<typeof serverMethod>> = {};
    const implementation: UntypedServiceImplementation = {};
    for (const method of service.methods) {
      const handler: unknown = (handlers as Readonly<Record<string, unknown>>)[method.localName];
      if (handler === undefined) continue;
      definition[method.localName] = serverMethod(method);
      implementation[method.localName] = this.#adapt(method, handler);
    }
    this.#server.addService(definition, implementation);
    this.#services.push(service);
  }

  /**
   * Speaks gRPC on an accepted connection: a plain socket, one with a front before it, or a TLS socket whose handshake
   * is done and which agreed on `h2`. The server owns the socket from here on. While shutting down the socket is destroyed.
   */
  injectConnection(socket: RpcSocket, peer: Peer): void {
    if (this.#closing !== undefined || socket.destroyed) {
      socket.destroy();
      return;
    }
    this.#connections.open(socket, peer);
  }

  /**
   * Stops: open streams end with UNAVAILABLE at once, other calls may finish, and what is left after `grace`
   * milliseconds is cut off. New calls are UNAVAILABLE. Resolves when every connection is closed.
   */
  shutdown(grace: number): Promise<void> {
    this.#closing ??= this.#shutdown(grace);
    return this.#closing;
  }

  async #shutdown(grace: number): Promise<void> {
    const reason = new AssayError("SHUTTING_DOWN", "shutting down");
    for (const stream of this.#streams) stream.fail(reason);
    const cut = this.#options.clock.schedule(grace, () => this.#connections.destroy());
    // The library asks every peer to go, but on newer platforms says that it is done before they are gone.
    this.#server.tryShutdown(ignore);
    await this.#connections.drained();
    cut[Symbol.dispose]();
  }

  #adapt(method: DescMethod, handler: unknown): UntypedHandleCall {
    const path = methodPath(method);
    switch (method.methodKind) {
      case "unary": {
        const unary = handler as UnaryHandler<
          typeof method.input,
          typeof method.output,
          Context<Peer, Caller>
        >;
        return (call: UnaryCall, respond: sendUnaryData<Buffer>) => {
          this.#unary(path, call, respond, (request, context) =>
            encodeResult(method, unary(request, context)),
          );
        };
      }
      case "server_streaming": {
        const stream = handler as ServerStreamHandler<
          typeof method.input,
          typeof method.output,
          Context<Peer, Caller>
        >;
        return (call: WritableCall) => {
          this.#stream(path, method, call, (context) => {
            if (call.request instanceof Malformed) throw call.request.error;
            return stream(call.request, context);
          });
        };
      }
      case "bidi_streaming": {
        const bidi = handler as BidiHandler<typeof method.input, typeof method.output, Context<Peer, Caller>>;
        return (call: DuplexCall) => {
          this.#stream(path, method, call, (context) => bidi(this.#requestsOf(call, context), context));
        };
      }
      default:
        throw new AssayError("INTERNAL", `method ${path} must be unary, server streaming or bidirectional`);
    }
  }

  #unary(
    path: string,
    call: UnaryCall,
    respond: sendUnaryData<Buffer>,
    answer: (request: Message, context: Context<Peer, Caller>) => Buffer | Promise<Buffer>,
  ): void {
    const startedAt = this.#options.clock.now();
    const context = this.#open(path, call);
    if (context instanceof AssayError) {
      respond(wireStatus(context));
      return;
    }
    const succeed = (bytes: Buffer): void => {
      // The library has told the caller already why there is no answer.
      const error = call.cancelled ? context.cancelled() : undefined;
      context.finish();
      respond(null, bytes);
      this.#finished(context, startedAt, error);
    };
    const fail = (thrown: unknown): void => {
      const error = call.cancelled ? context.cancelled() : toAssayError(thrown);
      context.finish();
      respond(wireStatus(error));
      this.#finished(context, startedAt, error);
    };
    const run = (caller: Caller): Buffer | Promise<Buffer> => {
      context.caller = caller;
      if (call.request instanceof Malformed) throw call.request.error;
      return answer(call.request, context);
    };
    let result: Buffer | Promise<Buffer>;
    try {
      const caller = this.#options.before(context as unknown as CallContext<Peer, undefined>);
      result = caller instanceof Promise ? caller.then(run) : run(caller);
    } catch (error) {
      fail(error);
      return;
    }
    // An answer that is there already leaves without waiting for the promise queue.
    if (result instanceof Promise) void result.then(succeed, fail);
    else succeed(result);
  }

  #stream(
    path: string,
    method: DescMethod,
    call: WritableCall | DuplexCall,
    start: (context: Context<Peer, Caller>) => AsyncIterable<AnyMessageInit>,
  ): void {
    const startedAt = this.#options.clock.now();
    const context = this.#open(path, call);
    if (context instanceof AssayError) {
      call.emit("error", wireStatus(context));
      return;
    }
    const answer = new StreamAnswer(
      call,
      context,
      (message) => encode(method.output, message),
      (error) => {
        this.#streams.delete(answer);
        this.#finished(context, startedAt, error);
      },
    );
    this.#streams.add(answer);
    const run = (caller: Caller): void => {
      context.caller = caller;
      answer.run(() => start(context));
    };
    try {
      const caller = this.#options.before(context as unknown as CallContext<Peer, undefined>);
      if (caller instanceof Promise)
        caller.then(run).catch((error: unknown) => answer.fail(toAssayError(error)));
      else run(caller);
    } catch (error) {
      answer.fail(toAssayError(error));
    }
  }

  async *#requestsOf(
    call: DuplexCall,
    context: ServerCallContext<Peer, Caller>,
  ): AsyncGenerator<Message, void, undefined> {
    try {
      // The answer goes on when the handler has read enough.
      for await (const request of call.iterator({ destroyOnReturn: false })) {
        if (request instanceof Malformed) throw request.error;
        this.#connections.messageRead(call.getHost());
        yield request as Message;
      }
      // The platform shows a cancelled stream first as one that ended well, and as cancelled some ticks later.
      await new Promise((resolve) => setImmediate(resolve));
      if (call.cancelled) throw context.cancelled();
    } catch (error) {
      if (call.cancelled) throw context.cancelled();
      throw context.reason ?? error;
    }
  }

  #open(
    path: string,
    call: UnaryCall | WritableCall | DuplexCall,
  ): ServerCallContext<Peer, Caller> | AssayError {
    if (this.#closing !== undefined) return new AssayError("SHUTTING_DOWN", "shutting down");
    const connection = this.#connections.peer(call.getHost());
    // Its connection is gone: nobody will read this.
    if (connection === undefined) return new AssayError("CANCELLED", "the connection is closed");
    return new ServerCallContext<Peer, Caller>(path, connection.peer, call, this.#options.clock);
  }

  #finished(
    context: ServerCallContext<Peer, Caller>,
    startedAt: number,
    error: AssayError | undefined,
  ): void {
    this.#options.onCall?.({
      method: context.method,
      peer: context.peer,
      error,
      duration: this.#options.clock.now() - startedAt,
    });
  }
}

function encodeResult(
  method: DescMethod,
  result: AnyMessageInit | Promise<AnyMessageInit>,
): Buffer | Promise<Buffer> {
  if (result instanceof Promise) return result.then((message) => encode(method.output, message));
  return encode(method.output, result);
}

function ignore(): void {
  // The connections tell when they are gone.
}

type Context<Peer, Caller> = ServerCallContext<Peer, Caller>;
type UnaryCall = ServerUnaryCall<Message | Malformed, Buffer>;
type WritableCall = ServerWritableStream<Message | Malformed, Buffer>;
type DuplexCall = ServerDuplexStream<Message | Malformed, Buffer>;
