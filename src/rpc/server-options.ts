import type { ServerOptions } from "@grpc/grpc-js";
import type { Clock } from "../clock.ts";
import type { AssayError } from "../errors/assay-error.ts";
import type { CallContext } from "./call-context.ts";
import type { SessionOptions } from "./session-options.ts";

/** What one caller may take. Sizes are bytes, times milliseconds. */
export interface RpcServerLimits {
  /**
   * Largest request message; a larger one is RESOURCE_EXHAUSTED. 4 MiB unless told. Of requests that are not complete
   * 64 times as much is held at once, over all connections; beyond it the connection that has sent most is ended.
   */
  readonly maxReceiveMessageSize?: number;
  /** Calls at once on one connection; further ones wait at the client. 1000 unless told. */
  readonly maxConcurrentStreams?: number;
  /** Calls at once on all connections. Beyond it a connection gets 16, further ones are refused. 50,000 unless told. */
  readonly maxStreams?: number;
  /**
   * How often a client may take back a call on one connection before the connection is ended. 10,000 and then 1000 a
   * second unless told. The platform's own limits, 1000 and 33 a second, are met by honest clients: each one-shot fetch
   * over a stream of the Workload API ends with a reset by the client. A call that is taken back costs about as much as
   * one that is answered, so this does no more than bound what one connection gets done.
   */
  readonly resets?: { readonly burst: number; readonly perSecond: number };
  /** After this time a connection is asked to close once its calls are done. Without end unless told. */
  readonly maxConnectionAge?: number;
  /** After this time without a call a connection is closed. Without end unless told. */
  readonly maxConnectionIdle?: number;
  /** A connection that is silent this long is pinged. Never unless told. */
  readonly keepaliveTime?: number;
  /** A connection on which no call was begun for this long is asked to close. 60 s unless told. */
  readonly firstCallTimeout?: number;
  /** A ping that is unanswered this long ends the connection. 20 s unless told. */
  readonly keepaliveTimeout?: number;
}

/** How a call ended. */
export interface FinishedCall<Peer> {
  /** `/package.Service/Method`. */
  readonly method: string;
  /** What was known about the connection. */
  readonly peer: Peer;
  /** What went wrong; undefined after success. An unforeseen error is `INTERNAL` with the original as cause. */
  readonly error: AssayError | undefined;
  /** Milliseconds from the whole request (for a conversation: from its beginning) to the end of the answer. */
  readonly duration: number;
}

/** Limits and hooks of a server. */
export interface RpcServerOptions<Peer, Caller> extends RpcServerLimits {
  readonly clock: Clock;
  /**
   * Called before each handler: may refuse by throwing, and what it returns is the handler's `context.caller`.
   */
  readonly before: (context: CallContext<Peer, undefined>) => Caller | Promise<Caller>;
  /** Called once after each call that reached a handler or was refused before it. Must not throw. */
  readonly onCall?: (call: FinishedCall<Peer>) => void;
}

/** The limits as the gRPC library is told them. */
export function libraryOptions(options: RpcServerLimits): ServerOptions {
  return {
    "grpc.enable_channelz": 0,
    "grpc.max_receive_message_length": options.maxReceiveMessageSize ?? DEFAULT_MAX_MESSAGE,
    ...(options.maxConnectionAge === undefined
      ? {}
      : { "grpc.max_connection_age_ms": options.maxConnectionAge }),
    ...(options.maxConnectionIdle === undefined
      ? {}
      : { "grpc.max_connection_idle_ms": options.maxConnectionIdle }),
    ...(options.keepaliveTime === undefined ? {} : { "grpc.keepalive_time_ms": options.keepaliveTime }),
    ...(options.keepaliveTimeout === undefined
      ? {}
      : { "grpc.keepalive_timeout_ms": options.keepaliveTimeout }),
  };
}

/** The limits that hold for each HTTP/2 session. */
export function sessionLimits(options: RpcServerLimits): SessionOptions {
  return {
    maxStreams: options.maxStreams ?? DEFAULT_MAX_TOTAL_STREAMS,
    maxUnfinished: UNFINISHED_MESSAGES * (options.maxReceiveMessageSize ?? DEFAULT_MAX_MESSAGE),
    resets: options.resets ?? DEFAULT_RESETS,
    maxConcurrentStreams: options.maxConcurrentStreams ?? DEFAULT_MAX_STREAMS,
    firstCallTimeout: options.firstCallTimeout ?? DEFAULT_FIRST_CALL_TIMEOUT,
  };
}

const DEFAULT_MAX_MESSAGE = 4 * 1024 * 1024;
const DEFAULT_MAX_STREAMS = 1000;
const DEFAULT_MAX_TOTAL_STREAMS = 50_000;
const DEFAULT_RESETS = { burst: 10_000, perSecond: 1000 };
/** As many requests of the largest size may be on their way at once. Nearly all are far smaller. */
const UNFINISHED_MESSAGES = 64;
const DEFAULT_FIRST_CALL_TIMEOUT = 60_000;
