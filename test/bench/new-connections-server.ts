import { createServer } from "node:net";
import { Server, ServerCredentials, type ServerWritableStream } from "@grpc/grpc-js";
import { systemClock } from "../../src/clock.ts";
import { LocalEndpoint } from "../../src/endpoint/local-endpoint.ts";
import { silentLog } from "../../src/observe/log.ts";
import {
  SpiffeWorkloadAPI,
  X509SVIDResponseSchema,
} from "../../src/proto/gen/spiffe/workload/workload_pb.ts";
import { FrontedSocket, type Turns } from "../../src/rpc/authority/fronted-socket.ts";
import { RpcServer } from "../../src/rpc/server.ts";
import { encode, serverMethod } from "../../src/rpc/service-definition.ts";
import { sniffProtocol } from "../../src/rpc/sniff.ts";

/**
 * Run by `new-connections.bench.ts` in a process of its own: the same handler behind each way to take a connection, each
 * on a Unix socket in the folder that is its argument. Any message is answered with the processor time that the
 * process has used, in seconds.
 */
const response = {
  svids: [
    {
      spiffeId: "spiffe://example.org/billing/api",
      hint: "",
      x509Svid: Buffer.alloc(700, 1),
      x509SvidKey: Buffer.alloc(138, 2),
      bundle: Buffer.alloc(500, 3),
    },
  ],
};
const folder = process.argv[2] ?? "";
const rpc = new RpcServer<unknown>({ clock: systemClock, before: () => undefined });
rpc.register(SpiffeWorkloadAPI, {
  async *fetchX509SVID(_request, { signal }) {
    yield response;
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    throw signal.reason;
  },
});

const library = new Server();
library.addService(
  { fetch: serverMethod(SpiffeWorkloadAPI.method.fetchX509SVID) },
  {
    fetch: (call: ServerWritableStream<unknown, Buffer>) => {
      call.write(encode(X509SVIDResponseSchema, response));
      call.on("cancelled", () => call.end());
    },
  },
);
const injector = library.createConnectionInjector(ServerCredentials.createInsecure());
const turns: Turns = { waiting: 0 };

const ways: Readonly<Record<string, (socket: Parameters<typeof sniffProtocol>[0]) => void>> = {
  library: (socket) => injector.injectConnection(socket),
  session: (socket) => rpc.injectConnection(socket, null),
  front: (socket) => rpc.injectConnection(new FrontedSocket(socket, turns), null),
};
for (const [name, take] of Object.entries(ways)) {
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    void sniffProtocol(socket, { clock: systemClock, timeout: 10_000 }).then((protocol) => {
      if (protocol === "h2") take(socket);
    });
  });
  await new Promise<void>((resolve) => server.listen({ path: `${folder}/${name}`, backlog: 4096 }, resolve));
}
const endpoint = new LocalEndpoint({
  path: `${folder}/endpoint`,
  mode: 0o600,
  clock: systemClock,
  log: silentLog,
  onGrpc: (socket, peer) => rpc.injectConnection(socket, peer),
  onHttp: (socket) => socket.destroy(),
});
await endpoint.listen();
process.on("message", () => {
  const { user, system } = process.cpuUsage();
  process.send?.((user + system) / 1e6);
});
process.on("disconnect", () => process.exit(0));
process.send?.(0);
