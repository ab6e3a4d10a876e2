import { startAgent } from "../../src/agent/agent.ts";
import type { RunningAgent } from "../../src/agent/agent-options.ts";
import { systemClock } from "../../src/clock.ts";
import { openAuditLog } from "../../src/observe/audit-log.ts";
import { silentLog } from "../../src/observe/log.ts";
import { createMetrics } from "../../src/observe/metrics.ts";
import { emptyBundle } from "../../src/spiffe/bundle.ts";
import { type ServerBench, trustDomain } from "./server-bench.ts";

/** A real agent in the folder of a server's bench, attested by a join token; its Workload API is at `w.sock`. */
export async function startBenchAgent(bench: ServerBench): Promise<RunningAgent> {
  const { value: token } = await bench.agents.createJoinToken({ ttl: 60 });
  const authorities = await bench.authorities();
  const agent = await startAgent(
    {
      trustDomain,
      server: bench.addresses.api,
      dataDir: bench.path("agent"),
      socketPath: bench.path("w.sock"),
      adminSocketPath: bench.path("a.sock"),
      trustBundle: {
        kind: "bundle",
        bundle: {
          ...emptyBundle(trustDomain),
          x509Authorities: authorities.map((certificate) => ({ certificate, tainted: false })),
        },
      },
      nodeAttestor: { name: "join_token", config: { token } },
      workloadAttestors: [{ name: "unix" }],
      rateLimit: "off",
    },
    {
      clock: systemClock,
      log: silentLog,
      metrics: createMetrics({ process: false }),
      version: "test",
      openAudit: () => openAuditLog({ path: bench.path("agent.jsonl"), clock: systemClock, fsync: "never" }),
    },
  );
  await agent.ready;
  return agent;
}
