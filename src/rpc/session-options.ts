import type { ServerOptions } from "node:http2";

/** What of a server's limits concerns one HTTP/2 session. */
export interface SessionOptions {
  /** Calls at once on one connection; further ones wait at the client. */
  readonly maxConcurrentStreams: number;
  /** Milliseconds until a connection on which no call was ever begun is closed. */
  readonly firstCallTimeout: number;
}

/**
 * The limits of one HTTP/2 session. What is not named here stays as the platform has it, which suffices: 64 KiB and
 * 128 fields a header block, 8 CONTINUATION frames a block, 32 settings a SETTINGS frame, 1000 answers (to PING,
 * SETTINGS) that wait for a client which does not read, 100 refused streams, and 10,000 oddities with 330 a second
 * after that (nghttp2's glitches).
 */
export function sessionOptions({ maxConcurrentStreams }: SessionOptions): ServerOptions {
  return {
    settings: { maxConcurrentStreams },
    maxSessionMemory: MAX_SESSION_MEGABYTES,
    maxSessionInvalidFrames: MAX_INVALID_FRAMES,
    streamResetBurst: RESET_BURST,
    streamResetRate: RESETS_PER_SECOND,
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
/**
 * How often a client may take back a call. The platform's own limits, 1000 and 33 a second, are met by honest clients:
 * each one-shot fetch over a stream of the Workload API ends with a reset by the client. A call that is taken back
 * costs about as much as one that is answered, so this is no more than a limit on what one connection gets done.
 */
const RESET_BURST = 10_000;
const RESETS_PER_SECOND = 1000;
