/** One rule that something to be signed breaks. */
export interface LintFinding {
  /** Rule: `XS-nn` for a line of X509-SVID, else a section of the standard at hand. */
  readonly rule: string;
  /** What must hold and does not, for the operator. */
  readonly detail: string;
}

/** A rule and whether it holds. */
export interface LintVerdict extends LintFinding {
  readonly holds: boolean;
}

/** Told of each rule, whether or not it holds. */
export type LintCheck = (holds: boolean, rule: string, detail: string) => void;

/** The rules that are broken; on the hot path, so that nothing is kept of those that hold. */
export function findingsOf(walk: (check: LintCheck) => void): readonly LintFinding[] {
  const findings: LintFinding[] = [];
  walk((holds, rule, detail) => {
    if (!holds) findings.push({ rule, detail });
  });
  return findings;
}

/** Every rule with its verdict, in the order in which they are looked at. */
export function verdictsOf(walk: (check: LintCheck) => void): readonly LintVerdict[] {
  const verdicts: LintVerdict[] = [];
  walk((holds, rule, detail) => verdicts.push({ rule, detail, holds }));
  return verdicts;
}
