import { createServer } from "node:net";
import { systemClock } from "../../src/clock.ts";
import { SpiffeWorkloadAPI } from "../../src/proto/gen/spiffe/workload/workload_pb.ts";
import { FrontedSocket } from "../../src/rpc/authority/fronted-socket.ts";
import { RpcServer } from "../../src/rpc/server.ts";
import { sniffProtocol } from "../../src/rpc/sniff.ts";

/**
 * Run by `authority-front.bench.ts` in a process of its own: a server on the Unix socket that is its argument, which
 * answers at once with messages of the usual size. Told "front" or "native" it treats connections so from then on;
 * each message is answered with the processor time that the process has used, in seconds.
 */
const rpc = new RpcServer<null>({ clock: systemClock, before: () => undefined });
const svid = { spiffeId: "spiffe://example.org/billing/api", hint: "" };
const x509Svid = Buffer.alloc(700, 1);
const x509SvidKey = Buffer.alloc(138, 2);
const bundle = Buffer.alloc(500, 3);
const token = "x".repeat(400);

rpc.register(SpiffeWorkloadAPI, {
  async *fetchX509SVID(_request, { signal }) {
    yield { svids: [{ ...svid, x509Svid, x509SvidKey, bundle }] };
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    throw signal.reason;
  },
  fetchJWTSVID: () => ({ svids: [{ ...svid, svid: token }] }),
});

let mode = "native";
const server = createServer((socket) => {
  socket.on("error", () => undefined);
  const front = mode === "front";
  void sniffProtocol(socket, { clock: systemClock, timeout: 10_000 }).then((protocol) => {
    if (protocol === "h2") rpc.injectConnection(front ? new FrontedSocket(socket) : socket, null);
  });
});
server.listen({ path: process.argv[2], backlog: 4096 }, () => process.send?.(0));
process.on("message", (message: string) => {
  mode = message;
  const { user, system } = process.cpuUsage();
  process.send?.((user + system) / 1e6);
});
process.on("disconnect", () => process.exit(0));
