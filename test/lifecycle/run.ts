/**
 * The long run: `npm run lifecycle -- [runs] [--seed=N] [--path=P] [--replay=R]`, ten thousand runs unless told, other ones each
 * time. A failure is printed with all three, by which it is lived again.
 */
import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import fc from "fast-check";
import { live, runsWith, type Tally } from "./commands.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seed: { type: "string" }, path: { type: "string" }, replay: { type: "string" } },
});
const numRuns = Number(positionals[0] ?? 10_000);
if (!Number.isSafeInteger(numRuns) || numRuns < 1) throw new Error("expected a number of runs");
const seed = values.seed === undefined ? randomInt(2 ** 31) : Number(values.seed);
const print = (line: string) => void process.stdout.write(`${line}\n`);

print(`seed ${seed}`);
const tally: Tally = { years: 0, verified: 0, activations: { third: 0, lead: 0, forced: 0 } };
const began = performance.now();
let done = 0;
const details = await fc.check(
  fc.asyncProperty(runsWith(values.replay), async (run) => {
    await live(run, tally);
    done += 1;
    if (done % 500 === 0) print(`${done} runs, ${Math.round((performance.now() - began) / 1000)} s`);
  }),
  { numRuns, seed, ...(values.path === undefined ? {} : { path: values.path }) },
);
print(
  `${Math.round(tally.years)} years, ${tally.verified} verifications; authorities that signed after a third of a life ${tally.activations.third}, after the shorter time ${tally.activations.lead}, at once ${tally.activations.forced}`,
);
if (details.failed) {
  print(`failed: --seed=${details.seed} --path=${details.counterexamplePath ?? ""} and --replay= as below`);
  print((await fc.asyncDefaultReportMessage(details)) ?? "");
  print(details.errorInstance instanceof Error ? (details.errorInstance.stack ?? "") : "");
  process.exitCode = 1;
} else print(`${details.numRuns} runs, none failed`);
