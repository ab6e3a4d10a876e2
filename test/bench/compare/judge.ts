import { limitOf, type Speed } from "./ceiling.ts";
import { type Findings, OTHERS_LIMIT, type Taken } from "./compare.ts";
import type { Make } from "./plan.ts";
import { figure, range, spread, type Spread } from "./statistics.ts";

/** What is to hold, and whether it does. */
export interface Verdict {
  readonly aim: string;
  readonly found: string;
  /** `unclear`: it was not measured, or others used the machine meanwhile. */
  readonly outcome: "holds" | "missed" | "unclear";
}

/** SVIDs per CPU-second of a server over the rounds, or nothing where it was not measured. */
export function rates(findings: Findings, name: string, make: Make): Spread | undefined {
  return over(of(findings.throughput, name, make), perCpuSecond);
}

/** The same in percent of what the signatures alone allow, by OpenSSL or by Node's crypto. */
export function percents(
  findings: Findings,
  name: string,
  make: Make,
  by: "openssl" | "node",
): Spread | undefined {
  return over(of(findings.throughput, name, make), (taken) => {
    const speed: Speed = taken.ceiling[by];
    return (100 * perCpuSecond(taken)) / limitOf(name.startsWith("jwt") ? "jwt" : "x509", speed);
  });
}

/** How many times as many SVIDs per CPU-second we sign as SPIRE does, round by round. */
export function ratios(findings: Findings, name: string): Spread | undefined {
  return paired(findings.throughput, name, perCpuSecond);
}

/** How many times as long as at SPIRE one call in a hundred takes at least, round by round. */
export function p99Ratios(findings: Findings, name: string): Spread | undefined {
  return paired(findings.latency, name, ({ finding }) => finding.p99);
}

/** The turns at a measure at which others used the machine. */
export function rough(findings: Findings): number {
  return [...findings.throughput, ...findings.latency].filter(({ others }) => others > OTHERS_LIMIT).length;
}

/** Holds the findings against what we want of ourselves. Medians are judged. */
export function judge(findings: Findings): readonly Verdict[] {
  const verdict = (
    name: string,
    aim: string,
    found: Spread | undefined,
    holds: (median: number) => boolean,
  ) => {
    if (found === undefined)
      return { aim: `${name}: ${aim}`, found: figure(Number.NaN), outcome: "unclear" } as const;
    const outcome = holds(found.median) ? "holds" : "missed";
    return {
      aim: `${name}: ${aim}`,
      found: range(found),
      outcome: isRough(findings, name) ? "unclear" : outcome,
    } as const;
  };
  const times = (name: string, bound: number) =>
    verdict(
      name,
      `at least ${bound} times SPIRE's SVIDs per CPU-second`,
      ratios(findings, name),
      (median) => median >= bound,
    );
  const ofCeiling = (name: string, bound: number) =>
    verdict(
      name,
      `at least ${bound} % of the ceiling`,
      percents(findings, name, "assay", "openssl"),
      (median) => median >= bound,
    );
  const noLonger = (name: string) =>
    verdict(
      name,
      "p99 at the same load no longer than SPIRE's",
      p99Ratios(findings, name),
      (median) => median <= 1,
    );
  return [
    ...["x509-50", "x509-100"].flatMap((name) => [times(name, 2.5), ofCeiling(name, 55)]),
    times("jwt", 3),
    ...["x509-1/latency", "x509-50/latency", "jwt/latency"].map(noLonger),
  ];
}

/** The findings of one measure and server. */
export function of<T extends Pick<Taken, "name" | "make">>(all: readonly T[], name: string, make: Make): T[] {
  return all.filter((taken) => taken.name === name && taken.make === make);
}

/** The spread of a figure over findings, or nothing where there are none. */
export function over<T>(all: readonly T[], value: (one: T) => number): Spread | undefined {
  return all.length === 0 ? undefined : spread(all.map(value));
}

function isRough({ throughput, latency }: Findings, name: string): boolean {
  return [...throughput, ...latency].some((taken) => taken.name === name && taken.others > OTHERS_LIMIT);
}

/** Ours through SPIRE's, each of the same round: the machine is then nearly the same for both. */
function paired<T extends Pick<Taken, "name" | "make" | "round">>(
  all: readonly T[],
  name: string,
  value: (taken: T) => number,
): Spread | undefined {
  const theirs = of(all, name, "spire");
  const found = of(all, name, "assay").flatMap((ours) => {
    const other = theirs.find(({ round }) => round === ours.round);
    return other === undefined ? [] : [value(ours) / value(other)];
  });
  return found.length === 0 ? undefined : spread(found);
}

function perCpuSecond({ finding }: Taken): number {
  return finding.svids / finding.serverCpu;
}
