/**
 * The long run: `npm run fuzz -- [inputs] [target …]`, a million inputs for each target unless told, other ones each
 * time. What is found is printed with the seed and the input, and belongs into `corpus/`.
 */
import { randomInt } from "node:crypto";
import { fuzz } from "./fuzzer.ts";
import { TARGETS } from "./targets/all.ts";

const [count = "1000000", ...names] = process.argv.slice(2);
const inputs = Number(count);
if (!Number.isSafeInteger(inputs) || inputs < 1) throw new Error("expected a number of inputs");
const seed = randomInt(2 ** 31);
const row = (...cells: readonly string[]) =>
  process.stdout.write(
    `${cells.map((cell, n) => (n === 0 ? cell.padEnd(18) : cell.padStart(14))).join("")}\n`,
  );

process.stdout.write(`seed ${seed}\n`);
row("target", "inputs", "inputs/s", "slowest ms", "heap growth");
for (const target of TARGETS.filter(({ name }) => names.length === 0 || names.includes(name))) {
  const report = await fuzz(target, inputs, seed);
  row(
    report.target,
    `${report.inputs}`,
    `${Math.round(report.inputs / (report.took / 1000))}`,
    report.slowest.toFixed(1),
    `${(report.heapGrowth / 1_048_576).toFixed(1)} MiB`,
  );
}
