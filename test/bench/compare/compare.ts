import { type Ceiling, between } from "./ceiling.ts";
import type { Finding, Order } from "./load-generator.ts";
import { type Latency, type Make, type Plan, type Throughput, turns } from "./plan.ts";

/** One server's turn at a measure of throughput. */
export interface Taken {
  readonly name: string;
  readonly make: Make;
  /** Counted from 0. */
  readonly round: number;
  readonly finding: Finding;
  /** Cores that were used by neither the server, the load generator nor this process. */
  readonly others: number;
  /** What the signatures alone would have allowed: the mean of right before and right after. */
  readonly ceiling: Ceiling;
}

/** One server's turn at a measure of latency. */
export interface TakenAtRate extends Omit<Taken, "ceiling"> {
  /** Calls a second. */
  readonly rate: number;
}

/** Everything that a comparison found. */
export interface Findings {
  readonly throughput: readonly Taken[];
  readonly latency: readonly TakenAtRate[];
}

/** A server as far as it is measured. */
export interface Measured {
  measure(order: Order): Promise<Finding>;
}

/** A figure at which others used more than this many cores is taken again, and said to be rough where that stays so. */
export const OTHERS_LIMIT = 0.1;

/**
 * Warms the servers up and takes every measure of the plan, round after round; `ceiling` measures what the signatures
 * alone allow at that moment, and `say` hears how it goes.
 */
export async function compare(
  plan: Plan,
  servers: Readonly<Partial<Record<Make, Measured>>>,
  ceiling: () => Promise<Ceiling>,
  say: (line: string) => void,
): Promise<Findings> {
  const at = (make: Make): Measured => {
    const server = servers[make];
    if (server === undefined) throw new Error(`${make} was not started`);
    return server;
  };
  for (const make of plan.makes) {
    for (const work of plan.throughput) {
      await at(make).measure({ ...orderOf(work), warmup: 0, seconds: plan.firstWarmup });
    }
  }
  const throughput: Taken[] = [];
  const latency: TakenAtRate[] = [];
  for (let round = 0; round < plan.rounds; round++) {
    let before = await ceiling();
    for (const work of plan.throughput) {
      for (const make of turns(plan.makes, round)) {
        const order = { ...orderOf(work), warmup: plan.warmup, seconds: plan.seconds };
        const { finding, others } = await quietly(plan, at(make), order, say);
        const after = await ceiling();
        throughput.push({
          name: work.name,
          make,
          round,
          finding,
          others,
          ceiling: between(before, after),
        });
        before = after;
        const rate = (finding.svids / finding.serverCpu).toFixed(0);
        say(
          `${round + 1}/${plan.rounds} ${work.name} ${make}: ${rate} SVIDs per CPU-second${remarks(finding, others)}`,
        );
      }
    }
    for (const work of plan.latency) {
      const rate = rateFor(
        work,
        throughput.filter((taken) => taken.round === round),
      );
      for (const make of turns(plan.makes, round)) {
        const order = {
          what: work.what,
          batch: work.batch,
          rate,
          warmup: plan.warmup,
          seconds: plan.seconds,
        };
        const { finding, others } = await quietly(plan, at(make), order, say);
        latency.push({ name: work.name, make, round, finding, others, rate });
        const times = `p50 ${finding.p50} ms, p99 ${finding.p99} ms at ${rate.toFixed(0)} calls a second`;
        say(`${round + 1}/${plan.rounds} ${work.name} ${make}: ${times}${remarks(finding, others)}`);
      }
    }
  }
  return { throughput, latency };
}

/** Half of what the slower of the servers bore in this round: a load that all of them can sustain. */
export function rateFor({ half }: Latency, round: readonly Taken[]): number {
  const borne = round
    .filter(({ name }) => name === half)
    .map(({ finding }) => finding.calls / finding.seconds);
  if (borne.length === 0) throw new Error(`${half} was not measured`);
  return Math.min(...borne) / 2;
}

/** The cores that a finding cannot account for: what others on the machine used, and its host for other machines. */
export function coresOfOthers(finding: Finding): number {
  const { busyCpu, stolenCpu, serverCpu, ownCpu, benchCpu, seconds } = finding;
  return Math.max(0, busyCpu + stolenCpu - serverCpu - ownCpu - benchCpu) / seconds;
}

/** Takes a measure, and again where others used the machine, and gives the one with the least of that. */
async function quietly(plan: Plan, server: Measured, order: Order, say: (line: string) => void) {
  let best: { finding: Finding; others: number } | undefined;
  for (let take = 0; take <= plan.retakes; take++) {
    const finding = await server.measure(order);
    const others = coresOfOthers(finding);
    if (best === undefined || others < best.others) best = { finding, others };
    if (others <= OTHERS_LIMIT) break;
    if (take < plan.retakes) say(`others used ${others.toFixed(2)} cores: once more`);
  }
  if (best === undefined) throw new Error("nothing was measured");
  return best;
}

function orderOf({ what, batch, inflight }: Throughput) {
  return { what, batch, inflight };
}

function remarks({ failed, verified }: Finding, others: number): string {
  const failures = Object.entries(failed).map(([code, count]) => `, ${count} calls failed with ${code}`);
  const busy = others > OTHERS_LIMIT ? "ROUGH: " : "";
  return `${failures.join("")}, ${verified} verified, ${busy}others_cores_used ${others.toFixed(2)}`;
}
