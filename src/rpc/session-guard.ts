import { constants, type ServerHttp2Session } from "node:http2";
import type { Clock } from "../clock.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { SessionOptions } from "./session-options.ts";

/**
 * Ends a session that floods us with frames which cost work and ask for nothing, where the platform has no limit of its
 * own, and one on which no call was begun in time. The limits are far above what clients do: gRPC clients send a PING
 * to measure their bandwidth after a message, SETTINGS once and rarely again. Who goes beyond is told
 * ENHANCE_YOUR_CALM (RFC 9113 §10.5).
 */
export function guardSession(session: ServerHttp2Session, options: SessionOptions, clock: Clock): void {
  const calm = (allowed: () => boolean) => (): void => {
    if (!allowed()) calmDown(session);
  };
  session.on("ping", calm(allowance(PINGS, clock)));
  session.on("remoteSettings", calm(allowance(SETTINGS, clock)));

  const timer = clock.schedule(options.firstCallTimeout, () => session.destroy());
  const begun = (): void => timer[Symbol.dispose]();
  session.once("stream", begun);
  session.once("close", begun);
}

/** Ends a session at once and tells its client to go easy, which it may not live to read. */
export function calmDown(session: ServerHttp2Session): void {
  session.destroy(new AssayError("RATE_LIMITED", "calm down"), constants.NGHTTP2_ENHANCE_YOUR_CALM);
}

/** Says whether one more is within a limit. Nothing is kept but two numbers, and no timer runs. */
function allowance({ burst, perSecond }: FrameLimit, clock: Clock): () => boolean {
  let left = burst;
  let last = clock.now();
  return () => {
    const now = clock.now();
    left = Math.min(burst, left + ((now - last) * perSecond) / 1000);
    last = now;
    if (left < 1) return false;
    left--;
    return true;
  };
}

interface FrameLimit {
  readonly burst: number;
  readonly perSecond: number;
}

const PINGS: FrameLimit = { burst: 10_000, perSecond: 1000 };
const SETTINGS: FrameLimit = { burst: 100, perSecond: 10 };
