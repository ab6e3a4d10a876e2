import { systemClock } from "../../src/clock.ts";
import { LocalEndpoint } from "../../src/endpoint/local-endpoint.ts";
import { silentLog } from "../../src/observe/log.ts";
import { SpiffeWorkloadAPI } from "../../src/proto/gen/spiffe/workload/workload_pb.ts";
import { RpcServer } from "../../src/rpc/server.ts";

/**
 * Run by `run.ts` in a process of its own: a local endpoint on the Unix socket that is its argument, as the agent opens
 * it, with handlers that answer as the Workload API's do. Streams get an update of 16 KiB each 20 ms. Each message is
 * answered with what the process holds and has open.
 */
const rpc = new RpcServer<unknown>({
  clock: systemClock,
  before: () => undefined,
  maxReceiveMessageSize: 1024 * 1024,
});
rpc.register(SpiffeWorkloadAPI, {
  async *fetchX509Bundles(_request, { signal }) {
    const bundle = new Uint8Array(16 * 1024);
    while (!signal.aborted) {
      yield { bundles: { "spiffe://example.org": bundle } };
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw signal.reason;
  },
  async *fetchX509SVID(_request, { signal }) {
    yield { svids: [{ spiffeId: "spiffe://example.org/a", x509Svid: new Uint8Array(700) }] };
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    throw signal.reason;
  },
  fetchJWTSVID: () => ({ svids: [{ spiffeId: "spiffe://example.org/a", svid: "x".repeat(400) }] }),
});

const endpoint = new LocalEndpoint({
  path: process.argv[2] ?? "",
  mode: 0o600,
  clock: systemClock,
  log: silentLog,
  onGrpc: (socket, peer) => rpc.injectConnection(socket, peer),
  onHttp: (socket) => socket.destroy(),
});
await endpoint.listen();
process.on("message", () => {
  const { rss } = process.memoryUsage();
  const { user, system } = process.cpuUsage();
  const { connections } = endpoint;
  process.send?.({ rss, connections, streams: rpc.streams, cpu: (user + system) / 1000 });
});
process.on("disconnect", () => process.exit(0));
process.send?.(0);
