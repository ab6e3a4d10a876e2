// Measures our server and spire-server side by side:  npm run bench -- --help
//
// Needs Go, openssl, and the cores of a machine that does nothing else. README.md beside this file says more.
import { writeFile } from "node:fs/promises";
import { makeScratch } from "../../e2e/scratch.ts";
import { measureCeiling } from "./ceiling.ts";
import { compare, type Findings } from "./compare.ts";
import { type Contestant, startAssay, startSpire } from "./contestants.ts";
import { judge, rough } from "./judge.ts";
import { buildLoadGenerator, buildSpire, LoadGenerator } from "./load-generator.ts";
import { describeMachine } from "./machine.ts";
import { benchmarksPage, quality } from "./page.ts";
import { commandOf, type Make, parsePlan, type Plan, USAGE } from "./plan.ts";
import { tables } from "./tables.ts";

const args = process.argv.slice(2);
if (args.includes("--help")) say(USAGE);
else process.exitCode = await main();

async function main(): Promise<number> {
  let plan: Plan;
  try {
    plan = parsePlan(args);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n${USAGE}`);
    return 2;
  }
  const program = await buildLoadGenerator(process.env);
  const spire = plan.makes.includes("spire") ? await buildSpire() : undefined;
  const machine = await describeMachine(spire);
  for (const [name, value] of machine) say(`${name}: ${value}`);
  const findings = await measureAll(plan, program, spire);
  say(`\n${tables(plan, findings)}\n${quality(findings)}`);
  if (plan.json !== undefined) {
    await writeFile(
      plan.json,
      `${JSON.stringify({ machine, plan, ...findings, verdicts: judge(findings) }, null, 2)}\n`,
    );
  }
  if (plan.page !== undefined && rough(findings) > 0 && !plan.anyway) {
    say("others used the machine: the page is not written (--anyway writes it)");
    return 1;
  }
  if (plan.page !== undefined) {
    const date = new Date().toISOString().slice(0, 10);
    await writeFile(plan.page, benchmarksPage(plan, findings, machine, date, commandOf(args)));
  }
  const kept = judge(findings).every(({ outcome }) => outcome === "holds") && rough(findings) === 0;
  return plan.strict && !kept ? 1 : 0;
}

/** Starts both servers and the load generator at each, and measures; everything is stopped again whatever happens. */
async function measureAll(plan: Plan, program: string, spire: string | undefined): Promise<Findings> {
  await using scratch = await makeScratch();
  await using started = new AsyncDisposableStack();
  const servers: Partial<Record<Make, LoadGenerator>> = {};
  for (const make of plan.makes) {
    const contestant: Contestant = started.use(
      make === "spire" ? await startSpire(spire ?? "", scratch) : await startAssay(scratch),
    );
    servers[make] = started.use(await LoadGenerator.start(program, contestant));
    say(`${make} runs as process ${contestant.pid}`);
  }
  return await compare(plan, servers, () => measureCeiling(plan.ceilingSeconds), say);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
