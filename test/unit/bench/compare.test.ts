import { describe, expect, it } from "vitest";
import type { Ceiling } from "../../bench/compare/ceiling.ts";
import { compare, coresOfOthers, type Findings, type Measured } from "../../bench/compare/compare.ts";
import { judge, percents, rates, ratios, rough } from "../../bench/compare/judge.ts";
import type { Finding, Order } from "../../bench/compare/load-generator.ts";
import { benchmarksPage, quality } from "../../bench/compare/page.ts";
import { type Make, parsePlan, type Plan } from "../../bench/compare/plan.ts";
import { tables } from "../../bench/compare/tables.ts";

const CEILING: Ceiling = { openssl: { sign: 40_000, verify: 10_000 }, node: { sign: 20_000, verify: 5000 } };

describe("the comparison", () => {
  it("lets both take their turns, one right after the other, and the other first in the next round", async () => {
    const { orders } = await comparing(["--rounds=2", "--measure=jwt"], {});
    const measured = orders.filter(({ order }) => order.seconds === 10);
    expect(measured.map(({ make }) => make)).toEqual(["assay", "spire", "spire", "assay"]);
    expect(measured.every(({ order }) => order.inflight === 64 && order.warmup === 2)).toBe(true);
  });

  it("warms both up with every kind of call before the first round", async () => {
    const { orders } = await comparing(["--measure=jwt", "--measure=x509-50"], {});
    expect(orders.slice(0, 4).map(({ make, order }) => `${make} ${order.what} ${order.seconds}`)).toEqual([
      "assay x509 5",
      "assay jwt 5",
      "spire x509 5",
      "spire jwt 5",
    ]);
  });

  it("offers both half of what the slower bore in that round", async () => {
    const { orders, findings } = await comparing(["--rounds=1", "--measure=x509-50/latency"], {
      assay: () => ({ calls: 600 }),
      spire: () => ({ calls: 200 }),
    });
    const atRate = orders.filter(({ order }) => order.rate !== undefined);
    expect(atRate.map(({ make, order }) => [make, order.rate, order.batch])).toEqual([
      ["assay", 10, 50],
      ["spire", 10, 50],
    ]);
    expect(findings.latency.map(({ rate }) => rate)).toEqual([10, 10]);
  });

  it("takes a measure again while others use the machine, and keeps the quietest", async () => {
    const busy = [0, 5, 3, 4];
    const { findings, said } = await comparing(["--rounds=1", "--only=assay", "--measure=jwt"], {
      assay: () => ({ busyCpu: 10 + (busy.shift() ?? 0) }),
    });
    expect(busy).toEqual([]);
    expect(findings.throughput.map(({ others }) => others)).toEqual([0.3]);
    expect(rough(findings)).toBe(1);
    expect(said.filter((line) => line.includes("once more"))).toHaveLength(2);
    expect(said.at(-1)).toContain("ROUGH: others_cores_used 0.30");
  });

  it("ends where an answer was wrong", async () => {
    const wrong = comparing(["--measure=jwt"], {
      spire: () => {
        throw new Error("spire: wrong answer: the same SVID was given twice");
      },
    });
    await expect(wrong).rejects.toThrow("the same SVID was given twice");
  });

  it("counts as others' what nobody known has used", () => {
    const used = { busyCpu: 12, stolenCpu: 3, serverCpu: 8, ownCpu: 1, benchCpu: 1, seconds: 10 };
    expect(coresOfOthers(finding(used))).toBeCloseTo(0.5);
    expect(coresOfOthers(finding({ ...used, busyCpu: 1 }))).toBe(0);
  });
});

describe("the judgement", () => {
  const quick = (cpu: number) => ({ serverCpu: cpu, busyCpu: cpu, svids: 40_000 });

  it("takes ratios within a round, where the machine is the same for both", async () => {
    // The machine is half as fast in the second round: for both.
    const { findings } = await comparing(["--rounds=2", "--measure=jwt"], {
      assay: (turn) => quick(turn === 1 ? 2 : 4),
      spire: (turn) => quick(turn === 1 ? 7 : 14),
    });
    expect(ratios(findings, "jwt")).toMatchObject({
      least: expect.closeTo(3.5) as number,
      most: expect.closeTo(3.5) as number,
    });
    expect(rates(findings, "jwt", "assay")).toEqual({ median: 15_000, least: 10_000, most: 20_000 });
    expect(percents(findings, "jwt", "assay", "openssl")?.median).toBeCloseTo(37.5);
    expect(percents(findings, "jwt", "assay", "node")?.median).toBeCloseTo(75);
  });

  it("says of each aim whether it holds", async () => {
    const { findings } = await comparing(["--rounds=1"], {
      assay: () => ({ ...quick(8), p99: 5 }),
      spire: () => ({ ...quick(22), p99: 4 }),
    });
    // 5000 per CPU-second of at most 8000, and 2.75 times SPIRE's.
    expect(judge(findings).map(({ outcome }) => outcome)).toEqual(
      "holds holds holds holds missed missed missed missed".split(" "),
    );
    expect(judge(findings)[1]?.found).toBe("62.5");
  });

  it("says nothing where others used the machine, or nothing was measured", async () => {
    const { findings } = await comparing(["--rounds=1", "--measure=x509-50"], {
      assay: () => ({ ...quick(4), busyCpu: 9 }),
      spire: () => quick(22),
    });
    expect(new Set(judge(findings).map(({ outcome }) => outcome))).toEqual(new Set(["unclear"]));
    expect(judge(findings)[0]?.found).toBe("5.50");
    expect(judge(findings)[4]?.found).toBe("–");
  });
});

describe("the page", () => {
  it("has the figures, the machine, how they came about, and how to read them", async () => {
    const { findings, plan } = await comparing([], {
      assay: () => ({ failed: { Unavailable: 2 } }),
    });
    const page = benchmarksPage(
      plan,
      findings,
      [["CPU", "one of a kind"]],
      "2026-01-02",
      "npm run bench -- --write",
    );
    expect(page).toContain("Written by `npm run bench -- --write` on 2026-01-02; do not edit.");
    expect(page).toContain("| CPU | one of a kind |");
    expect(page).toContain("2 at assay with Unavailable");
    for (const part of [
      "## SVIDs per CPU-second",
      "## The ceiling",
      "## Time of a call",
      "## Aims",
      "## How to read",
    ]) {
      expect(page).toContain(part);
    }
    for (const { name } of [...plan.throughput, ...plan.latency]) expect(page).toContain(`| ${name} `);
    expect(page).not.toMatch(/NaN|undefined|ROUGH/);
  });

  it("warns where others used the machine", async () => {
    const { findings } = await comparing(["--measure=jwt", "--rounds=1"], { spire: () => ({ busyCpu: 12 }) });
    expect(quality(findings)).toContain("ROUGH: in 1 of 2 turns others used more than 0.1 cores");
  });

  it("shows one server alone without ratios", async () => {
    const { findings, plan } = await comparing(["--only=assay", "--measure=jwt", "--rounds=1"], {});
    expect(tables(plan, findings)).toMatch(/\| jwt +\| 500 +\| – +\| – +\| 1\.25 +\|/);
    expect(tables(plan, findings)).not.toContain("Time of a call");
  });
});

type Behaviour = (turn: number) => Partial<Finding>;

/** Compares two servers that answer as they are told; `turn` counts measures of full length, from 1. */
async function comparing(
  args: readonly string[],
  behaviours: Partial<Record<Make, Behaviour>>,
): Promise<{ plan: Plan; findings: Findings; orders: { make: Make; order: Order }[]; said: string[] }> {
  const plan = parsePlan(args);
  const orders: { make: Make; order: Order }[] = [];
  const server = (make: Make): Measured => {
    let turn = 0;
    return {
      measure: async (order) => {
        orders.push({ make, order });
        if (order.seconds === plan.seconds) turn++;
        return finding(behaviours[make]?.(turn) ?? {});
      },
    };
  };
  const said: string[] = [];
  const servers = { assay: server("assay"), spire: server("spire") };
  const findings = await compare(
    plan,
    servers,
    () => Promise.resolve(CEILING),
    (line) => said.push(line),
  );
  return { plan, findings, orders, said };
}

function finding(some: Partial<Finding>): Finding {
  return {
    calls: 100,
    svids: 5000,
    failed: {},
    verified: 100,
    seconds: 10,
    serverCpu: 10,
    ownCpu: 0,
    busyCpu: 10,
    stolenCpu: 0,
    p50: 1,
    p99: 2,
    max: 3,
    benchCpu: 0,
    ...some,
  };
}
