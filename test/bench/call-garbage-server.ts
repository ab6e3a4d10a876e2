import { createServer } from "node:net";
import { PerformanceObserver, constants } from "node:perf_hooks";
import { getHeapSpaceStatistics } from "node:v8";
import { systemClock } from "../../src/clock.ts";
import { Agent } from "../../src/proto/gen/spire/api/server/agent/v1/agent_pb.ts";
import { RpcServer } from "../../src/rpc/server.ts";

/**
 * Run by `call-garbage.bench.ts` in a process of its own: a handler that does nothing, on the Unix socket that is its
 * argument. Any message is answered with what small collections have done since the start.
 */
export interface Collections {
  readonly count: number;
  /** Milliseconds in all of them. */
  readonly duration: number;
  /** Octets that were moved among the old objects. */
  readonly promoted: number;
}

const oldObjects = () =>
  getHeapSpaceStatistics().find(({ space_name }) => space_name === "old_space")?.space_used_size ?? 0;
let [count, duration, promoted, last] = [0, 0, 0, oldObjects()];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    const now = oldObjects();
    if ((entry as { detail?: { kind?: number } }).detail?.kind === constants.NODE_PERFORMANCE_GC_MINOR) {
      count++;
      duration += entry.duration;
      promoted += Math.max(0, now - last);
    }
    last = now;
  }
}).observe({ entryTypes: ["gc"] });

const rpc = new RpcServer<undefined>({ clock: systemClock, before: () => undefined });
rpc.register(Agent, { countAgents: () => ({ count: 7 }) });
createServer((socket) => rpc.injectConnection(socket, undefined)).listen(process.argv[2], () =>
  process.send?.({ count, duration, promoted } satisfies Collections),
);
process.on("message", () => process.send?.({ count, duration, promoted } satisfies Collections));
process.on("disconnect", () => process.exit(0));
