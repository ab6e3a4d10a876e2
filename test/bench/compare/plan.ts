import { join } from "node:path";
import { parseArgs } from "node:util";

/** The two servers that are laid side by side. */
export type Make = "assay" | "spire";

export const MAKES: readonly Make[] = ["assay", "spire"];

/** What is asked of a server, as the load generator reads it. */
export interface Work {
  /** `x509`: SVID.BatchNewX509SVID. `jwt`: SVID.NewJWTSVID. */
  readonly what: "x509" | "jwt";
  /** CSRs in one call; 1 for JWT-SVIDs. */
  readonly batch: number;
}

/** A measure that keeps calls under way, for SVIDs per CPU-second. */
export interface Throughput extends Work {
  readonly name: string;
  /** Calls under way at any time. */
  readonly inflight: number;
}

/** A measure at a fixed rate of calls, for the time that they take. */
export interface Latency extends Work {
  readonly name: string;
  /** The throughput measure whose rate this is a share of. */
  readonly half: string;
}

/** How the comparison is run. Lengths are in seconds. */
export interface Plan {
  readonly makes: readonly Make[];
  readonly throughput: readonly Throughput[];
  readonly latency: readonly Latency[];
  /** How often each server has its turn at each measure; which goes first alternates. */
  readonly rounds: number;
  readonly seconds: number;
  readonly warmup: number;
  /** Warm-up of each server before the first round, for every kind of call. */
  readonly firstWarmup: number;
  /** Of each half (signing, verifying) of `openssl speed`, whole. */
  readonly ceilingSeconds: number;
  /** How often a measure is taken again at which others used the machine. */
  readonly retakes: number;
  readonly strict: boolean;
  /** Where the page goes; nowhere where absent. */
  readonly page: string | undefined;
  /** Write the page although others used the machine. */
  readonly anyway: boolean;
  /** Where all figures go as JSON. */
  readonly json: string | undefined;
}

/** What `--help` says. */
export const USAGE = `usage: npm run bench -- [--quick] [--rounds N] [--seconds N] [--measure NAME]... [--only assay|spire]
                        [--json FILE] [--write | --page FILE] [--anyway] [--strict]

  --quick     one round of two seconds each: shows that the tool works, not how fast a server is
  --rounds    turns of each server at each measure (4, at least 3 for a spread that says something)
  --seconds   length of each measure (10)
  --measure   only these: x509-1, x509-10, x509-50, x509-100, jwt, and the same with /latency
  --only      one server alone: no ratios, no page
  --json      write all figures to a file
  --write     write docs/benchmarks.md; refused when others used the machine meanwhile, unless --anyway
  --page      write that page to another file
  --strict    end with status 1 if an aim is missed or cannot be judged
`;

/** Reads the command line. Throws what is wrong with it, for a person to read. */
export function parsePlan(args: readonly string[]): Plan {
  const { values } = parseArgs({ args: [...args], options: OPTIONS });
  const quick = values.quick === true;
  const makes = values.only === undefined ? MAKES : MAKES.filter((make) => make === values.only);
  if (makes.length === 0) throw new Error(`--only is assay or spire, not ${values.only ?? ""}`);
  const wanted = values.measure ?? [...THROUGHPUT, ...LATENCY].map(({ name }) => name);
  const unknown = wanted.find(
    (name) => ![...THROUGHPUT, ...LATENCY].some((measure) => measure.name === name),
  );
  if (unknown !== undefined) throw new Error(`no measure is called ${unknown}`);
  const latency = LATENCY.filter(({ name }) => wanted.includes(name));
  const needed = new Set([...wanted, ...latency.map(({ half }) => half)]);
  const plan = {
    makes,
    // A latency is measured at half of what the servers were just seen to bear.
    throughput: THROUGHPUT.filter(({ name }) => needed.has(name)),
    latency,
    rounds: positive("--rounds", values.rounds ?? (quick ? "1" : "4")),
    seconds: positive("--seconds", values.seconds ?? (quick ? "2" : "10")),
    warmup: quick ? 0.5 : 2,
    firstWarmup: quick ? 0.5 : 5,
    ceilingSeconds: 1,
    retakes: quick ? 0 : 2,
    strict: values.strict === true,
    page: values.page ?? (values.write === true ? PAGE : undefined),
    anyway: values.anyway === true,
    json: values.json,
  };
  if (!Number.isInteger(plan.rounds)) throw new Error("--rounds is a whole number");
  if (plan.page !== undefined && (makes.length < 2 || values.measure !== undefined)) {
    throw new Error("a page is of the whole comparison: not with --only or --measure");
  }
  return plan;
}

/** The command that another may repeat: without the files of this machine. */
export function commandOf(args: readonly string[]): string {
  const { tokens } = parseArgs({ args: [...args], options: OPTIONS, tokens: true });
  const flags = tokens.flatMap((token) => {
    if (token.kind !== "option" || ["json", "page"].includes(token.name)) return [];
    return token.value === undefined ? [token.rawName] : [token.rawName, token.value];
  });
  return ["npm run bench", ...(flags.length > 0 ? ["--", ...flags] : [])].join(" ");
}

/** Who goes first in a round, counted from 0: A B, B A, A B, … so that neither always finds the machine as the other left it. */
export function turns(makes: readonly Make[], round: number): readonly Make[] {
  return round % 2 === 0 ? makes : makes.toReversed();
}

function positive(flag: string, text: string): number {
  const value = Number(text);
  if (!(value > 0) || !Number.isFinite(value)) throw new Error(`${flag} is a number above 0, not ${text}`);
  return value;
}

const PAGE = join(import.meta.dirname, "..", "..", "..", "docs", "benchmarks.md");

const X509: readonly Throughput[] = [1, 10, 50, 100].map((batch) => ({
  name: `x509-${batch}`,
  what: "x509",
  batch,
  inflight: 16,
}));

const THROUGHPUT: readonly Throughput[] = [...X509, { name: "jwt", what: "jwt", batch: 1, inflight: 64 }];

const LATENCY: readonly Latency[] = THROUGHPUT.filter(({ name }) =>
  ["x509-1", "x509-50", "jwt"].includes(name),
).map(({ name, what, batch }) => ({ name: `${name}/latency`, what, batch, half: name }));

const OPTIONS = {
  quick: { type: "boolean" },
  rounds: { type: "string" },
  seconds: { type: "string" },
  measure: { type: "string", multiple: true },
  only: { type: "string" },
  json: { type: "string" },
  write: { type: "boolean" },
  page: { type: "string" },
  anyway: { type: "boolean" },
  strict: { type: "boolean" },
} as const;
