import type { Socket } from "node:net";
import type { Clock } from "../clock.ts";

/** What a client speaks on a connection without TLS. */
export type SniffedProtocol = "h2" | "http/1.1";

/** How long to wait for the first bytes. */
export interface SniffOptions {
  readonly clock: Clock;
  /** Milliseconds until a connection that has not said what it speaks is destroyed. */
  readonly timeout: number;
}

/**
 * Tells HTTP/2 from HTTP/1.1 by the first bytes (RFC 9113 §3.4) and puts them back, so that the connection can be
 * handed to a server as if nothing had been read. At most the preface's 24 bytes are waited for.
 *
 * Resolves with undefined if the connection ended, failed or stayed silent; it is destroyed then. The socket must
 * not have been read from, and has to be handed over in the same turn in which the promise resolves.
 */
export function sniffProtocol(socket: Socket, options: SniffOptions): Promise<SniffedProtocol | undefined> {
  return new Promise((resolve) => {
    if (socket.destroyed) {
      resolve(undefined);
      return;
    }
    let seen: Buffer = Buffer.alloc(0);

    const settle = (protocol: SniffedProtocol | undefined): void => {
      socket.off("readable", onReadable);
      socket.off("end", giveUp);
      socket.off("close", giveUp);
      timer[Symbol.dispose]();
      if (protocol === undefined) {
        // Errors of a socket that is being thrown away have no reader.
        socket.destroy();
      } else {
        socket.off("error", giveUp);
        socket.unshift(seen);
      }
      resolve(protocol);
    };
    const giveUp = (): void => settle(undefined);
    const onReadable = (): void => {
      for (let chunk = read(socket); chunk !== undefined; chunk = read(socket)) {
        seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk]);
        const protocol = judge(seen);
        if (protocol !== undefined) {
          settle(protocol);
          return;
        }
      }
    };

    const timer = options.clock.schedule(options.timeout, giveUp);
    socket.on("error", giveUp);
    socket.once("end", giveUp);
    socket.once("close", giveUp);
    socket.on("readable", onReadable);
  });
}

function read(socket: Socket): Buffer | undefined {
  return (socket.read() as Buffer | null) ?? undefined;
}

function judge(seen: Buffer): SniffedProtocol | undefined {
  const length = Math.min(seen.length, PREFACE.length);
  if (seen.compare(PREFACE, 0, length, 0, length) !== 0) return "http/1.1";
  return length === PREFACE.length ? "h2" : undefined;
}

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");
