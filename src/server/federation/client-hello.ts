import type { Socket } from "node:net";

/**
 * Whether a connection begins with a ClientHello that asks for the protocol `acme-tls/1` and no other, as a CA does
 * that validates a name (RFC 8737 §3). What was read is given back to the socket; at most one TLS record is waited for.
 */
export async function asksForChallenge(socket: Socket, timeout: AbortSignal): Promise<boolean> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    while (size < needed(chunks, size)) {
      const chunk = await nextChunk(socket, timeout);
      if (chunk === undefined) break;
      chunks.push(chunk);
      size += chunk.length;
    }
  } finally {
    if (size > 0 && !socket.destroyed) socket.unshift(Buffer.concat(chunks, size));
  }
  return Buffer.concat(chunks, size).includes(CHALLENGE_EXTENSION);
}

/** How many bytes the record has that the ClientHello is in; enough to know that, until it is known. */
function needed(chunks: readonly Buffer[], size: number): number {
  if (size < RECORD_HEADER) return RECORD_HEADER;
  const header = Buffer.concat(chunks).subarray(0, RECORD_HEADER);
  return header[0] === HANDSHAKE_RECORD ? Math.min(RECORD_HEADER + header.readUInt16BE(3), MAX_RECORD) : 0;
}

function nextChunk(socket: Socket, timeout: AbortSignal): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const settle = (chunk: Buffer | undefined) => {
      socket.pause();
      socket.removeListener("data", settle);
      socket.removeListener("close", end);
      socket.removeListener("end", end);
      timeout.removeEventListener("abort", end);
      resolve(chunk);
    };
    const end = () => settle(undefined);
    if (timeout.aborted || socket.destroyed) {
      resolve(undefined);
      return;
    }
    socket.once("data", settle);
    socket.once("close", end);
    socket.once("end", end);
    timeout.addEventListener("abort", end, { once: true });
    socket.resume();
  });
}

const RECORD_HEADER = 5;
const HANDSHAKE_RECORD = 22;
const MAX_RECORD = RECORD_HEADER + 16_384;
// The extension has one spelling only: its type, its length, the list's, and the one name with its own.
const CHALLENGE_EXTENSION = Buffer.concat([
  Buffer.from([0x00, 0x10, 0x00, 0x0d, 0x00, 0x0b, 0x0a]),
  Buffer.from("acme-tls/1", "latin1"),
]);
