import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { connect, type Server } from "node:tls";
import type { AssayError } from "../../src/errors/assay-error.ts";
import { toAssayError } from "../../src/errors/assay-error.ts";
import { type Authorizer, authorizeAny } from "../../src/workload/authorize.ts";
import { tlsClientOptions } from "../../src/workload/tls-client.ts";
import { createTlsServer } from "../../src/workload/tls-server.ts";
import { peerOf } from "../../src/workload/tls-peer.ts";
import type { TestX509Source } from "./x509-source.ts";

/** How one handshake between two workloads of ours ended. */
export interface Handshake {
  /** What the client read: the server's greeting, which names the client's ID, or nothing. */
  readonly heard: string;
  /** Why the client gave up, if it did. */
  readonly clientError: Error | undefined;
  /** Why the server turned the client away, if it did. */
  readonly refusal: AssayError | undefined;
  /** What reached the server's program. */
  readonly reached: string;
}

/** Lets one workload call another over mTLS, both by this package, and tells how it went. */
export async function shakeHands(
  server: TestX509Source,
  client: TestX509Source,
  policy: { readonly server?: Authorizer; readonly client?: Authorizer } = {},
): Promise<Handshake> {
  let refusal: AssayError | undefined;
  let reached = "";
  const listener = createTlsServer(
    server,
    { authorize: policy.server ?? authorizeAny(), onRefused: (reason) => (refusal = reason) },
    (socket) => {
      socket.on("error", () => undefined);
      socket.on("data", (bytes) => {
        reached += bytes.toString();
        socket.end(`hello ${peerOf(socket)?.spiffeId ?? "nobody"}`);
      });
    },
  );
  try {
    const port = await listen(listener);
    const outcome = await call(port, client, policy.client ?? authorizeAny());
    return { ...outcome, refusal, reached };
  } finally {
    listener.close();
  }
}

/** Listens on a free port of the loopback and gives it. */
export async function listen(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

async function call(
  port: number,
  client: TestX509Source,
  authorize: Authorizer,
): Promise<{ heard: string; clientError: Error | undefined }> {
  let heard = "";
  const socket = connect({ host: "127.0.0.1", port, ...tlsClientOptions(client, { authorize }) });
  socket.setEncoding("utf8");
  socket.on("data", (text: string) => (heard += text));
  socket.write("call");
  let clientError: Error | undefined;
  socket.on("error", (error) => (clientError = toError(error)));
  // `once` would reject with the very error that is wanted here.
  await new Promise((resolve) => socket.once("close", resolve));
  return { heard, clientError };
}

function toError(error: unknown): Error {
  return error instanceof Error ? error : toAssayError(error);
}
