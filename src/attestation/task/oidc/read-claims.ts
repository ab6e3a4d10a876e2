import { AssayError } from "../../../errors/assay-error.ts";
import type { ClaimKind, ClaimRule, OidcPreset } from "./preset.ts";

/** One claim as the token has it, in the one form that its kind has here. */
export interface ReadClaim {
  readonly name: string;
  /** One value, or those of a list. */
  readonly values: readonly string[];
  /** Whether whoever wrote the job could choose it. */
  readonly authored: boolean;
  /** Everything before the value of its selector, where it has one. */
  readonly selector?: string;
}

/** How much is read of a token. */
export const CLAIM_LIMITS = {
  /** Characters of one value. */
  value: 2048,
  /** Values of one list, and claims of one prefix. */
  count: 100,
} as const;

/**
 * Reads the claims that a preset knows, and what follows from them, by our names. Values of other types than the preset
 * expects are refused rather than converted; claims that it does not know are not looked at.
 * @throws AssayError `ATTESTATION_FAILED` naming the claim.
 */
export function readClaims(
  preset: OidcPreset,
  claims: Readonly<Record<string, unknown>>,
): ReadonlyMap<string, ReadClaim> {
  const read = new Map<string, ReadClaim>();
  const keep = (claim: ReadClaim) => void read.set(claim.name, claim);
  for (const rule of preset.claims) {
    const found = rule.prefix === true ? readPrefixed(rule, claims) : readOne(rule, claims);
    if (found.length === 0 && rule.required === true) fail(`claim ${nameOf(rule)} is missing`);
    found.forEach(keep);
  }
  for (const { name, selector, authored, from } of preset.derived ?? []) {
    const value = from((of) => read.get(of)?.values.join(","));
    if (value === undefined || value === "") continue;
    keep({ name, values: [value], authored: authored === true, ...(selector !== undefined && { selector }) });
  }
  return read;
}

/**
 * One value in the form that its kind has here, or `undefined` where it is absent.
 * @throws AssayError `ATTESTATION_FAILED` where it is of another kind; the detail begins with `what`.
 */
export function readValue(kind: ClaimKind, value: unknown, what: string): readonly string[] | undefined {
  if (value === undefined || value === null || value === "") return undefined;
  switch (kind) {
    case "text":
      return [text(value, what)];
    case "id":
      return [
        typeof value === "number" && Number.isSafeInteger(value) && value >= 0
          ? String(value)
          : text(value, what),
      ];
    case "flag":
      if (typeof value === "boolean") return [String(value)];
      return value === "true" || value === "false" ? [value] : fail(`${what} must be true or false`);
    case "uuid": {
      const [, open, uuid, close] = UUID.exec(text(value, what)) ?? [];
      if (uuid === undefined || (open === "{") !== (close === "}")) return fail(`${what} must be a UUID`);
      return [uuid.toLowerCase()];
    }
    case "list": {
      if (!Array.isArray(value)) return fail(`${what} must be a list`);
      if (value.length > CLAIM_LIMITS.count) fail(`${what} must have at most ${CLAIM_LIMITS.count} values`);
      const values = value.map((one: unknown) => text(one, what));
      return values.length === 0 ? undefined : values;
    }
    default:
      return fail(`${what} is of no known kind`);
  }
}

function readOne(rule: ClaimRule, claims: Readonly<Record<string, unknown>>): readonly ReadClaim[] {
  const path = typeof rule.claim === "string" ? [rule.claim] : rule.claim;
  let value: unknown = claims;
  for (const [depth, member] of path.entries()) {
    if (value === undefined || value === null) return [];
    if (typeof value !== "object" || Array.isArray(value)) {
      return fail(`claim ${path.slice(0, depth).join(".")} must be an object`);
    }
    // A member of the object itself: a token may be named as Object's own are.
    value = Object.hasOwn(value, member) ? (value as Readonly<Record<string, unknown>>)[member] : undefined;
  }
  const values = readValue(rule.kind ?? "text", value, `claim ${nameOf(rule)}`);
  return values === undefined ? [] : [readClaim(rule, rule.name, values, rule.selector)];
}

function readPrefixed(rule: ClaimRule, claims: Readonly<Record<string, unknown>>): readonly ReadClaim[] {
  const prefix = nameOf(rule);
  const names = Object.keys(claims).filter((name) => name.startsWith(prefix));
  if (names.length > CLAIM_LIMITS.count) fail(`there must be at most ${CLAIM_LIMITS.count} of ${prefix}`);
  return names.flatMap((name) => {
    const rest = name.slice(prefix.length);
    const values = readValue(rule.kind ?? "text", claims[name], `claim ${prefix}…`);
    // Any other name could end early in a selector and be taken for a value.
    if (values === undefined || !PREFIXED_NAME.test(rest)) return [];
    const selector = rule.selector === undefined ? undefined : `${rule.selector}:${rest}`;
    return [readClaim(rule, rule.name + rest, values, selector)];
  });
}

function readClaim(
  rule: ClaimRule,
  name: string,
  values: readonly string[],
  selector: string | undefined,
): ReadClaim {
  return { name, values, authored: rule.authored === true, ...(selector !== undefined && { selector }) };
}

function text(value: unknown, what: string): string {
  if (typeof value !== "string" || value === "") return fail(`${what} must be a text`);
  if (value.length > CLAIM_LIMITS.value) fail(`${what} must be at most ${CLAIM_LIMITS.value} characters`);
  if (!value.isWellFormed() || CONTROL.test(value)) fail(`${what} has characters that no name has`);
  return value;
}

function nameOf({ claim }: ClaimRule): string {
  return typeof claim === "string" ? claim : claim.join(".");
}

function fail(detail: string): never {
  throw new AssayError("ATTESTATION_FAILED", detail);
}

const UUID = /^(\{?)([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})(\}?)$/;
const CONTROL = /\p{Cc}|\p{Zl}|\p{Zp}/u;
const PREFIXED_NAME = /^[A-Za-z0-9_.-]{1,128}$/;
