import type { Findings } from "./compare.ts";
import { rough } from "./judge.ts";
import type { Machine } from "./machine.ts";
import type { Plan } from "./plan.ts";
import { figure, spread } from "./statistics.ts";
import { tables } from "./tables.ts";

/** The page `docs/benchmarks.md`; `date` is `YYYY-MM-DD`. */
export function benchmarksPage(
  plan: Plan,
  findings: Findings,
  machine: Machine,
  date: string,
  command: string,
): string {
  const facts = machine.map(([name, value]) => `| ${name} | ${value} |\n`).join("");
  return `# Benchmarks

Written by \`${command}\` on ${date}; do not edit.

Assay's server and SPIRE's side by side: same machine, same minutes, same load, equal settings. How to read it is below.

${tables(plan, findings)}
${quality(findings)}

## Machine

| | |
|---|---|
${facts}
${READING}`;
}

/** How far the figures can be trusted, in a sentence or two. */
export function quality(findings: Findings): string {
  const all = [...findings.throughput, ...findings.latency];
  const { median, most } = spread(all.map(({ others }) => others));
  const failed = all.flatMap(({ make, finding }) =>
    Object.entries(finding.failed).map(([code, count]) => `${count} at ${make} with ${code}`),
  );
  const verified = all.reduce((sum, { finding }) => sum + finding.verified, 0);
  const noise = `\`others_cores_used\` was ${figure(median)} in the median and ${figure(most)} at most.`;
  const roughTurns = rough(findings);
  return [
    `${verified.toLocaleString("en-US")} SVIDs were verified in full.`,
    failed.length === 0 ? "No call failed." : `Calls failed: ${failed.join(", ")}.`,
    noise,
    ...(roughTurns === 0
      ? []
      : [
          `ROUGH: in ${roughTurns} of ${all.length} turns others used more than 0.1 cores; take these figures again.`,
        ]),
  ].join(" ");
}

const READING = `## How to read it

A figure is a median over rounds, with the least and the most in parentheses. In each round both servers have their turn
at each measure, one right after the other, and which goes first alternates. Ratios are taken within a round.

- **Per CPU-second.** The divisor is the user and system time of the server's process from \`/proc\`, all threads and children. Load
  generator and servers share the machine, so that throughput a second says little.
- **x509-N** is \`SVID.BatchNewX509SVID\` with N CSRs (EC P-256) in a call and 16 calls under way; **jwt** is \`SVID.NewJWTSVID\` with 64
  under way. All calls come from one attested agent with 100 entries over one mTLS connection, as an agent has.
- **The ceiling** is what the signatures alone allow: one verification (of the CSR) and one signature for an X509-SVID, one
  signature for a JWT-SVID, at the speed of \`openssl speed ecdsap256\` on one core, taken right before and right after each turn.
  Node's own \`crypto\` is another build of OpenSSL with calls from JavaScript around it; its ceiling is the second column.
- **Latency** is measured at half of the calls a second that the slower server bore in the same round. Calls begin at random
  moments, the same ones for both, whatever became of earlier calls; the time of a call counts from when it was due.
- **Answers are right.** Each answer is looked at: as many results as CSRs, each OK and of the entry's SPIFFE ID. One in 50 is
  verified in full after the clock has stopped: its chain against the bundle, SPIFFE ID, public key and end; or a JWT-SVID's
  signature, \`sub\`, \`aud\` and lifetime; and no SVID may come twice. A wrong answer ends the run without figures.
- **Noise.** \`others_cores_used\` is what neither the server, the load generator nor the tool used, the server that waits
  included. A turn above 0.1 is taken again, and the page is not written where that does not help.

Both servers sign with EC P-256, keep their keys in memory and their store in SQLite, have the same lifetimes (authority 24 h,
agent 4 h, X509-SVID 1 h, JWT-SVID 5 min), log JSON at \`info\`, and limit no rates. One thing is not equal: Assay's audit log
cannot be switched off, and SPIRE's, which can, is off as by default.
`;
