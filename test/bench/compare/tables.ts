import { limitOf } from "./ceiling.ts";
import type { Findings } from "./compare.ts";
import { judge, of, over, p99Ratios, percents, rates, ratios } from "./judge.ts";
import { MAKES, type Plan } from "./plan.ts";
import { figure, range, type Spread } from "./statistics.ts";

/** What was found, as Markdown that is also readable as it stands: throughput, latency, ceiling, and the aims. */
export function tables(plan: Plan, findings: Findings): string {
  const parts = [throughput(plan, findings), ceilings(findings)];
  if (plan.latency.length > 0) parts.push(latency(plan, findings));
  parts.push(aims(findings));
  return parts.join("\n");
}

function throughput(plan: Plan, findings: Findings): string {
  const rows = plan.throughput.map(({ name }) => [
    name,
    shown(rates(findings, name, "assay")),
    shown(rates(findings, name, "spire")),
    shown(ratios(findings, name)),
    shown(percents(findings, name, "assay", "openssl")),
    shown(percents(findings, name, "assay", "node")),
    shown(percents(findings, name, "spire", "openssl")),
    ...MAKES.map((make) =>
      shown(over(of(findings.throughput, name, make), ({ finding }) => finding.svids / finding.seconds)),
    ),
  ]);
  const head = [
    "measure",
    "Assay, SVIDs per CPU-second",
    "SPIRE",
    "ratio",
    "Assay, % of ceiling",
    "% of Node's",
    "SPIRE, % of ceiling",
    "Assay, SVIDs a second",
    "SPIRE",
  ];
  return `## SVIDs per CPU-second of the server\n\n${table(head, rows)}`;
}

function ceilings({ throughput: all }: Findings): string {
  const row = (title: string, by: "openssl" | "node") => [
    title,
    shown(over(all, ({ ceiling }) => ceiling[by].sign)),
    shown(over(all, ({ ceiling }) => ceiling[by].verify)),
    shown(over(all, ({ ceiling }) => limitOf("x509", ceiling[by]))),
    shown(over(all, ({ ceiling }) => limitOf("jwt", ceiling[by]))),
  ];
  const head = ["P-256, one core, per CPU-second", "sign", "verify", "most X509-SVIDs", "most JWT-SVIDs"];
  const rows = [row("`openssl speed` (the ceiling)", "openssl"), row("Node's `crypto`", "node")];
  return `## The ceiling in the same minutes\n\n${table(head, rows)}`;
}

function latency(plan: Plan, findings: Findings): string {
  const rows = plan.latency.map(({ name }) => {
    const [ours, theirs] = [of(findings.latency, name, "assay"), of(findings.latency, name, "spire")];
    return [
      name,
      shown(over([...ours, ...theirs], ({ rate }) => rate)),
      shown(over(ours, ({ finding }) => finding.p50)),
      shown(over(theirs, ({ finding }) => finding.p50)),
      shown(over(ours, ({ finding }) => finding.p99)),
      shown(over(theirs, ({ finding }) => finding.p99)),
      shown(p99Ratios(findings, name)),
    ];
  });
  const head = [
    "measure",
    "calls a second",
    "Assay, p50 ms",
    "SPIRE",
    "Assay, p99 ms",
    "SPIRE",
    "ratio of p99",
  ];
  return `## Time of a call at the same offered load\n\n${table(head, rows)}`;
}

function aims(findings: Findings): string {
  const rows = judge(findings).map(({ aim, found, outcome }) => [aim, found, outcome]);
  return `## Aims\n\n${table(["aim", "found", "outcome"], rows)}`;
}

function shown(found: Spread | undefined): string {
  return found === undefined ? figure(Number.NaN) : range(found);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |\n`;
  return line(head) + line(widths.map((width) => "-".repeat(width))) + rows.map(line).join("");
}
