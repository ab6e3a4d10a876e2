import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ABUSES } from "./abuses.ts";

/**
 * `node test/abuse/run.ts [seconds] [words of a name]` — abuses a local endpoint in every known way, each for some
 * seconds and against a server of its own, and prints what an honest client and the server's memory noticed.
 */
const seconds = Number(process.argv[2] ?? 5);
const wanted = process.argv.slice(3).join(" ");
const folder = mkdtempSync(join(tmpdir(), "abuse-"));

console.log(
  "| abuse | bystander: served (failed) | p50 / p99 / max ms | RSS MiB before, peak, after | CPU | what became of it |",
);
console.log("|---|---|---|---|---|---|");
for (const [i, abuse] of ABUSES.filter(({ name }) => name.includes(wanted)).entries()) {
  const path = join(folder, String(i));
  const server = await start("server.ts", path);
  const bystander = await start("bystander.ts", path);
  await pause(500);
  await asked(bystander);
  const before = (await asked(server)) as ServerState;

  const controller = new AbortController();
  const started = performance.now();
  const ended = abuse.run(path, controller.signal);
  let peak = before.rss;
  let last = before;
  while (performance.now() - started < seconds * 1000) {
    await pause(100);
    last = (await asked(server)) as ServerState;
    peak = Math.max(peak, last.rss);
  }
  const seen = (await asked(bystander)) as BystanderState;
  const cpu = (last.cpu - before.cpu) / (performance.now() - started);
  controller.abort();
  const outcome = await ended;
  await pause(1500);
  const after = (await asked(server)) as ServerState;
  const mib = [before.rss, peak, after.rss].map((bytes) => (bytes / 2 ** 20).toFixed(0)).join(", ");
  const times = [seen.p50, seen.p99, seen.max].map((time) => time.toFixed(1)).join(" / ");
  const share = `${(100 * cpu).toFixed(0)} %`;
  console.log(
    `| ${abuse.name} | ${seen.served} (${seen.failed}) | ${times} | ${mib} | ${share} | ${outcome} |`,
  );
  bystander.disconnect();
  server.disconnect();
  await Promise.all([gone(server), gone(bystander)]);
}
rmSync(folder, { recursive: true });

async function start(script: string, path: string): Promise<ChildProcess> {
  const child = fork(join(import.meta.dirname, script), [path]);
  await once(child, "message");
  return child;
}

async function asked(child: ChildProcess): Promise<unknown> {
  child.send(0);
  const [answer] = (await once(child, "message")) as [unknown];
  return answer;
}

async function gone(child: ChildProcess): Promise<void> {
  if (child.exitCode === null) await once(child, "exit");
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

interface ServerState {
  readonly rss: number;
  readonly cpu: number;
}

interface BystanderState {
  readonly served: number;
  readonly failed: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}
