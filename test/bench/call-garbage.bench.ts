import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, test } from "vitest";
import { Agent } from "../../src/proto/gen/spire/api/server/agent/v1/agent_pb.ts";
import { RpcClient } from "../../src/rpc/client.ts";
import type { Collections } from "./call-garbage-server.ts";

/**
 * What finished calls leave behind among a server's old objects, and how long small collections take for it, by what the
 * launcher tells the engine (`src/launch/collector.cjs`) and without it. Servers take turns, because the machine's other
 * processes slow both.
 */
const folder = mkdtempSync(join(tmpdir(), "call-garbage-"));
const servers = new Map<Way, { readonly child: ChildProcess; readonly client: RpcClient }>();

beforeAll(async () => {
  for (const [way, flags] of Object.entries(WAYS)) {
    const path = join(folder, way);
    const child = fork(new URL("./call-garbage-server.ts", import.meta.url), [path], {
      execArgv: [...process.execArgv, ...flags],
    });
    await once(child, "message");
    servers.set(way as Way, { child, client: new RpcClient({ target: { kind: "unix", path } }) });
  }
});
afterAll(() => {
  for (const { child, client } of servers.values()) {
    client[Symbol.dispose]();
    child.disconnect();
  }
  rmSync(folder, { recursive: true });
});

describe("a finished call", () => {
  test("leaves little behind", async () => {
    const rounds = new Map<Way, Collections[]>();
    for (let round = 0; round < WARM_UP + ROUNDS; round++) {
      for (const [way, { child, client }] of servers) {
        const before = await collections(child);
        await calls(client);
        const after = await collections(child);
        if (round < WARM_UP) continue;
        const done = {
          count: after.count - before.count,
          duration: after.duration - before.duration,
          promoted: after.promoted - before.promoted,
        };
        rounds.set(way, [...(rounds.get(way) ?? []), done]);
      }
    }
    for (const [way, of] of rounds) {
      const octets = median(of.map(({ promoted }) => promoted / CALLS)).toFixed(0);
      const each = median(of.map(({ count, duration }) => duration / count)).toFixed(1);
      process.stdout.write(`${way}: ${octets} octets a call become old, ${each} ms a small collection\n`);
    }
    const ratio = (of: (round: Collections) => number) => {
      const [tuned = [], untuned = []] = [rounds.get("launched"), rounds.get("untuned")];
      return median(tuned.map((round, n) => of(round) / of(untuned[n] ?? round))).toFixed(2);
    };
    process.stdout.write(
      `launched to untuned, median: octets ${ratio((r) => r.promoted)}, time ${ratio((r) => r.duration)}\n`,
    );
  });
});

async function calls(client: RpcClient): Promise<void> {
  const agents = client.service(Agent);
  let left = CALLS;
  const caller = async () => {
    while (left-- > 0) await agents.countAgents({});
  };
  await Promise.all(Array.from({ length: AT_ONCE }, caller));
}

async function collections(child: ChildProcess): Promise<Collections> {
  child.send("");
  const [done] = (await once(child, "message")) as [Collections];
  return done;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

const { FLAGS } = createRequire(import.meta.url)("../../src/launch/collector.cjs") as {
  FLAGS: readonly string[];
};
const WAYS = { launched: FLAGS, untuned: [] } as const;
type Way = keyof typeof WAYS;
const AT_ONCE = 16;
const CALLS = 5000;
const WARM_UP = 3;
const ROUNDS = 9;
