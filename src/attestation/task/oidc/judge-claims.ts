import { AssayError } from "../../../errors/assay-error.ts";
import type { TaskAttestation } from "../../../plugin/task-attestor.ts";
import type { Selector } from "../../../spiffe/selector.ts";
import { type OidcPreset, picks } from "./preset.ts";
import { type ReadClaim, readClaims } from "./read-claims.ts";
import { taskKeyOf } from "./task-key.ts";

/** What verified claims say, without what is about the token that brought them. */
export type JudgedRun = Omit<TaskAttestation, "replayKey" | "replayUntil" | "issuedAt" | "endsBy">;

/** A preset with what the operator decided about one issuer. */
export interface RunConditions {
  readonly preset: OidcPreset;
  readonly issuer: string;
  /** Each claim named must have one of its values, in the form that its kind has here. */
  readonly allow: ReadonlyMap<string, readonly string[]>;
}

/**
 * Judges the claims of a token whose issuer and audience are right: what they must be, what they may not be, what they
 * are a reason to be careful with, and which run they name.
 * @throws AssayError `ATTESTATION_FAILED` naming the claim.
 */
export function judgeClaims(conditions: RunConditions, claims: Readonly<Record<string, unknown>>): JudgedRun {
  const { preset, issuer, allow } = conditions;
  const read = readClaims(preset, claims);
  for (const rule of preset.refused ?? []) {
    if (valuesOf(read, rule.claim).some((value) => picks(rule, value))) fail(rule.why);
  }
  for (const [name, allowed] of allow) {
    const values = valuesOf(read, name);
    if (values.length === 0) fail(`allow: claim ${name} is missing`);
    if (!values.some((value) => allowed.includes(value))) fail(`allow: ${name} is not among those allowed`);
  }
  const all = [...read.values()];
  return {
    platform: preset.name,
    issuer,
    selectors: all.flatMap((claim) => selectorsOf(preset, claim)),
    guarded: all.flatMap((claim) => guardedOf(preset, claim)),
    claims: Object.fromEntries(all.map(({ name, values }) => [name, values.join(",")])),
    authoredClaims: all.filter(({ authored }) => authored).map(({ name }) => name),
    ...runOf(conditions, read),
    description: describe(preset.description, read),
  };
}

function runOf(
  { preset, issuer }: RunConditions,
  read: ReadonlyMap<string, ReadClaim>,
): { readonly taskKey: string; readonly granularity: "job" | "run" } {
  const { job, run } = preset.runNames;
  for (const [granularity, names] of [["job", job] as const, ["run", run] as const]) {
    if (names?.every((name) => read.has(name)) !== true) continue;
    return {
      granularity,
      taskKey: taskKeyOf(
        issuer,
        names.flatMap((name) => valuesOf(read, name)),
      ),
    };
  }
  const wanted = run ?? job ?? [];
  const missing = wanted.filter((name) => !read.has(name));
  return fail(`no claim names the run: ${missing.join(", ")} missing`);
}

function selectorsOf(preset: OidcPreset, { selector, values }: ReadClaim): readonly Selector[] {
  if (selector === undefined) return [];
  return values.map((value) => ({ type: preset.selectorType, value: `${selector}:${value}` }));
}

function guardedOf(preset: OidcPreset, claim: ReadClaim): readonly Selector[] {
  const rules = (preset.guarded ?? []).filter((rule) => rule.claim === claim.name);
  const values = claim.values.filter((value) => rules.some((rule) => picks(rule, value)));
  return selectorsOf(preset, { ...claim, values });
}

function describe(template: string, read: ReadonlyMap<string, ReadClaim>): string {
  const text = template.replaceAll(
    /\{(\w+)\}/g,
    (_whole, name: string) => read.get(name)?.values.join(",") ?? "-",
  );
  return text.length > MAX_DESCRIPTION ? `${text.slice(0, MAX_DESCRIPTION)}…`.toWellFormed() : text;
}

function valuesOf(read: ReadonlyMap<string, ReadClaim>, name: string): readonly string[] {
  return read.get(name)?.values ?? [];
}

function fail(detail: string): never {
  throw new AssayError("ATTESTATION_FAILED", detail);
}

const MAX_DESCRIPTION = 200;
