// A thousand jobs at once, on a machine that does nothing else:  node test/bench/tasks-load.ts [JOBS] [apart]
//
// `assay dev` with its default limits (with `apart` a server and an agent, each a process of its own), and here as many jobs,
// each with an address and a connection of its own. All open their task at once, then all get an X509-SVID, and so on; nine of ten end
// theirs at once, and the others are gone without a word, so that the lease ends theirs. Ends with status 1 if a call fails,
// a task outlives its lease, or what was left behind is accepted for longer than the bound.
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { setTimeout as wait } from "node:timers/promises";
import { mockPlatform } from "../../src/cli/ci-mock-platforms.ts";
import { beginMockRun } from "../../src/cli/ci-mock-tokens.ts";
import { systemClock } from "../../src/clock.ts";
import { openX509BundleSource } from "../../src/workload/bundle-sources.ts";
import { openJwtSource } from "../../src/workload/jwt-source.ts";
import { makeScratch } from "../e2e/scratch.ts";
import { LoadJob } from "./tasks-load-job.ts";
import { startApartWorld, startDevWorld } from "./tasks-load-world.ts";

const JOBS = Number(process.argv[2] ?? 1000);
/** Jobs before the measured ones, so that code is compiled. */
const WARM_UP = 50;
const LEASE = 60;
/** Milliseconds from an end to its refusal, and from the end of a lease to that of its task. */
const BOUND = 5000;
const AUDIENCE = "spiffe://example.org/database";

const faults: string[] = [];
await using scratch = await makeScratch();
await using world = await (process.argv[3] === "apart" ? startApartWorld : startDevWorld)(scratch);
await using bundles = await openX509BundleSource({ address: world.endpoint });
await using jwts = await openJwtSource({ address: world.endpoint });

/** When each serial number was first seen in a list that came over the Workload API. */
const listed = new Map<string, number>();
bundles.onUpdate(() => {
  const now = performance.now();
  for (const { revoked } of bundles.crls()) {
    for (const serial of revoked) if (!listed.has(serial)) listed.set(serial, now);
  }
});

const warming = await makeJobs(WARM_UP, 50_000);
await Promise.all(warming.map((job) => whole(job)));

const jobs = await makeJobs(JOBS, 0);
const ending = jobs.filter((_, number) => number % 10 !== 0);
const leaving = jobs.filter((_, number) => number % 10 === 0);
const before = usage();
const start = performance.now();
print(`${JOBS} jobs at once, each step by all of them together`);
await step("open, with the round for the nonce", jobs, (job) => job.open());
await step("X509-SVID", jobs, (job) => job.x509Svid());
await step("JWT-SVID", jobs, (job) => job.jwtSvid(AUDIENCE));
await step("heartbeat", jobs, (job) => job.heartbeat());
const lastBeat = performance.now();
const ends = new Map<LoadJob, number>();
const refused: number[] = [];
const answered: number[] = [];
await step(`end and be refused, ${ending.length} of them`, ending, async (job) => {
  const from = performance.now();
  ends.set(job, from);
  await job.end();
  answered.push(performance.now() - from);
  const code = await job.refusal();
  if (code === undefined) faults.push("an access token is good after its task's end");
  refused.push(performance.now() - from);
});
await seen(ending, BOUND * 4);
const worked = performance.now();
const after = usage();

print(`all of it: ${((worked - start) / 1000).toFixed(1)} s`);
print(`end → its answer: ${quantiles(answered)}`);
print(`end → access token refused by the next call: ${quantiles(refused)}`);
const toList = ending.map((job) => (listed.get(job.spoils.serial) ?? Infinity) - (ends.get(job) ?? 0));
print(`end → serial number in the CRL of the Workload API: ${quantiles(toList)}`);
bound("end → CRL, p99", quantile(toList, 0.99));
bound("end → access token, p99", quantile(refused, 0.99));
const stillGood = await Promise.all(ending.map((job) => isGood(job.spoils.jwtSvid)));
const good = stillGood.filter(Boolean).length;
print(`JWT-SVIDs of ended tasks that the agent still validates: ${good} of ${ending.length}`);
if (good > 0) faults.push(`${good} JWT-SVIDs are good after their task's end`);
for (const [name, seconds] of Object.entries(after)) {
  const each = ((seconds - (before[name] ?? 0)) / JOBS) * 1000;
  print(`processor time of ${name}: ${each.toFixed(1)} ms a task`);
}
for (const [name, pid] of Object.entries(world.processes)) {
  print(`memory of ${name}: ${Math.round(peakMemory(pid) / 1024)} MiB at most`);
}

print(`${leaving.length} jobs are gone without a word`);
await wait(Math.max(0, LEASE * 1000 - (performance.now() - lastBeat)));
await seen(leaving, BOUND * 4);
const tasks = await world.ask<readonly TaskLife[]>("tasks", "list", `--limit=${JOBS + WARM_UP}`);
if (tasks.length !== JOBS + WARM_UP) faults.push(`${tasks.length} tasks are known`);
const reasons = new Map<string, number>();
const late: number[] = [];
for (const { state, end_reason: reason, ended_at: ended, lease_expires_at: lease } of tasks) {
  const how = `${state}: ${reason ?? "not"}`;
  reasons.set(how, (reasons.get(how) ?? 0) + 1);
  if (reason === "lease") late.push(Date.parse(ended ?? "") - Date.parse(lease));
  else if (Date.parse(ended ?? "") > Date.parse(lease))
    faults.push("a task that its job ended outlived its lease");
}
print(`how tasks ended: ${[...reasons].map(([reason, count]) => `${count} ${reason}`).join(", ")}`);
if (reasons.get("ended: lease") !== leaving.length) faults.push("a lease did not end its task");
print(`end of the lease → task ended: ${quantiles(late)} (in whole seconds)`);
bound("end of the lease → task ended, at most", Math.max(...late));
const offset = performance.timeOrigin;
const leases = new Map(tasks.map(({ id, lease_expires_at: lease }) => [id, Date.parse(lease)]));
const afterLease = leaving.map(
  ({ spoils }) => (listed.get(spoils.serial) ?? Infinity) + offset - (leases.get(spoils.taskId) ?? 0),
);
print(`end of the lease → serial number in the CRL of the Workload API: ${quantiles(afterLease)}`);
bound("end of the lease → CRL, p99", quantile(afterLease, 0.99));

for (const job of [...warming, ...jobs]) job[Symbol.dispose]();
for (const fault of faults) print(`FAULT: ${fault}`);
process.exitCode = faults.length === 0 ? 0 : 1;

interface TaskLife {
  readonly id: string;
  readonly state: string;
  readonly end_reason: string | null;
  readonly ended_at: string | null;
  readonly lease_expires_at: string;
}

async function makeJobs(count: number, from: number): Promise<LoadJob[]> {
  const { place } = world;
  const ca = await readFile(place.trustBundle, "utf8");
  const platform = mockPlatform("github");
  return Array.from({ length: count }, (_, number) => {
    const token = beginMockRun(platform, place, [], systemClock).token(place.server);
    return new LoadJob(place.server, ca, from + number, token);
  });
}

async function whole(job: LoadJob): Promise<void> {
  await job.open();
  await job.x509Svid();
  await job.jwtSvid(AUDIENCE);
  await job.heartbeat();
  await job.end();
}

/** Has all jobs do the same at once and prints how long it took each. */
async function step(
  name: string,
  all: readonly LoadJob[],
  work: (job: LoadJob) => Promise<void>,
): Promise<void> {
  const from = performance.now();
  const used = ours();
  const took = await Promise.all(
    all.map(async (job) => {
      const begun = performance.now();
      try {
        await work(job);
      } catch (error) {
        faults.push(`${name}: ${String(error)}`);
      }
      return performance.now() - begun;
    }),
  );
  if (faults.length > 0) throw new Error(`${faults.length} calls failed, such as ${faults[0] ?? ""}`);
  const rate = all.length / ((performance.now() - from) / 1000);
  const each = ((ours() - used) / all.length) * 1000;
  print(`  ${name}: ${quantiles(took)}, ${Math.round(rate)}/s, ${each.toFixed(1)} ms of our processor time`);
}

/** Waits until the X509-SVIDs of all are in the list. */
async function seen(all: readonly LoadJob[], patience: number): Promise<void> {
  const deadline = performance.now() + patience;
  while (!all.every((job) => listed.has(job.spoils.serial))) {
    if (performance.now() > deadline) {
      const missing = all.filter((job) => !listed.has(job.spoils.serial)).length;
      faults.push(`${missing} X509-SVIDs are in no list after ${patience} ms`);
      return;
    }
    await wait(20);
  }
}

async function isGood(token: string): Promise<boolean> {
  try {
    await jwts.validateRemotely(token, AUDIENCE);
    return true;
  } catch {
    return false;
  }
}

function bound(what: string, milliseconds: number): void {
  if (!(milliseconds <= BOUND)) faults.push(`${what}: ${milliseconds.toFixed(0)} ms is above ${BOUND} ms`);
}

function quantiles(values: readonly number[]): string {
  const [half, most] = [quantile(values, 0.5), quantile(values, 0.99)];
  return `p50 ${half.toFixed(0)} ms, p99 ${most.toFixed(0)} ms`;
}

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** Seconds of processor time that each process has used. */
function usage(): Readonly<Record<string, number>> {
  const { user, system } = process.cpuUsage();
  const theirs = Object.entries(world.processes).map(([name, pid]) => [name, cpuSeconds(pid)] as const);
  return { ...Object.fromEntries(theirs), "the jobs themselves": (user + system) / 1e6 };
}

function ours(): number {
  return Object.values(world.processes).reduce((sum, pid) => sum + cpuSeconds(pid), 0);
}

/** proc(5): the 14th and 15th field of stat, in hundredths of a second; the name before them may hold anything. */
function cpuSeconds(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function peakMemory(pid: number): number {
  return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0);
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
