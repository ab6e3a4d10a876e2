import type { Socket } from "node:net";

/** Tells a client on the HTTP face that it may not be there, and ends the connection whatever the client does. */
export function refuseHttp(socket: Socket): void {
  // What nobody reads would keep the connection, also after the client has gone.
  socket.resume();
  socket.end(FORBIDDEN, () => socket.destroy());
}

// Delegates speak gRPC.
const FORBIDDEN = "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
