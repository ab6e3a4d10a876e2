import type { ServerOptions } from "node:http2";

/** What of a server's limits concerns the HTTP/2 sessions. */
export interface SessionOptions {
  /** Calls at once on one connection; further ones wait at the client. */
  readonly maxConcurrentStreams: number;
  /** Calls at once on all connections; beyond it a connection may have few. */
  readonly maxStreams: number;
  /** Octets of incomplete requests on all connections; beyond it the connection with the most is ended. */
  readonly maxUnfinished: number;
  /** How often a client may take back a call on one connection. */
  readonly resets: { readonly burst: number; readonly perSecond: number };
  /** Milliseconds until a connection on which no call was ever begun is closed. */
  readonly firstCallTimeout: number;
}

/**
 * The limits of one HTTP/2 session. What is not named here stays as the platform has it, which suffices: 64 KiB and
 * 128 fields a header block, 8 CONTINUATION frames a block, 32 settings a SETTINGS frame, 1000 answers (to PING,
 * SETTINGS) that wait for a client which does not read, 100 refused streams, and 10,000 oddities with 330 a second
 * after that (nghttp2's glitches).
 */
export function sessionOptions({ maxConcurrentStreams, resets }: SessionOptions): ServerOptions {
  return {
    settings: { maxConcurrentStreams },
    maxSessionMemory: MAX_SESSION_MEGABYTES,
    maxSessionInvalidFrames: MAX_INVALID_FRAMES,
    streamResetBurst: resets.burst,
    streamResetRate: resets.perSecond,
  };
}

/**
 * Memory that the platform holds for one session: streams, headers and what waits to be sent. The library switches the
 * limit off; a client that opens streams and reads nothing would then take all there is. Beyond it new streams are
 * refused with ENHANCE_YOUR_CALM.
 */
const MAX_SESSION_MEGABYTES = 64;
/** Streams of one connection that break HTTP's rules before the connection ends; no client in its senses has one. */
const MAX_INVALID_FRAMES = 100;
