import { AssayError } from "../../../errors/assay-error.ts";
import { parseHttpsUrl } from "../../../outbound/https-url.ts";
import type { OidcConfig } from "./config.ts";
import { presetOf } from "./inline-preset.ts";
import type { RunConditions } from "./judge-claims.ts";
import { claimNames, type IssuerForm, type OidcPreset } from "./preset.ts";
import { PRESETS } from "./presets/all.ts";
import { readValue } from "./read-claims.ts";

/** One issuer that is trusted, with what its tokens must be. */
export interface OidcTrust extends RunConditions {
  readonly audience: string;
  /** Seconds. */
  readonly maxAge: number;
  /** Seconds. */
  readonly maxLifetime: number;
}

/**
 * Makes of the configuration whom to trust and for what. Refused is what would trust strangers: an issuer of another
 * form than the platform's, a shared issuer without an id that is bound, an audience that tokens have unasked.
 * @param ownAudience Our issuer: the audience where the configuration names none.
 * @throws AssayError `CONFIG_INVALID` naming the key.
 */
export function trustOf(config: OidcConfig, ownAudience: string): OidcTrust {
  const preset = typeof config.preset === "string" ? PRESETS.get(config.preset) : presetOf(config.preset);
  if (preset === undefined) return refuse("preset is unknown");
  checkNames(preset);
  const issuer = config.issuer ?? preset.defaultIssuer ?? refuse(`issuer must be set, ${formsOf(preset)}`);
  if (issuer === ownAudience) refuse("issuer must not be our own");
  const form = issuerForm(preset, issuer, config.imitation);
  const allow = allowed(preset, config.allow);
  if (form.shared && !preset.tenantIds.some((name) => allow.has(name))) {
    refuse(
      `allow must bind one of ${preset.tenantIds.join(", ") || "tenant_claims"}: anybody can get a token from ${issuer}`,
    );
  }
  return {
    preset,
    issuer,
    allow,
    audience: audienceOf(config, preset, issuer, ownAudience),
    maxAge: config.max_token_age ?? preset.maxTokenAge,
    maxLifetime: config.max_token_lifetime ?? preset.maxTokenLifetime,
  };
}

function issuerForm(preset: OidcPreset, issuer: string, imitation: boolean): IssuerForm {
  const fault = issuerFault(issuer);
  if (fault !== undefined) refuse(`issuer ${fault}`);
  const form = preset.issuers.find(({ pattern }) => pattern.test(issuer));
  if (form !== undefined) return { ...form, shared: form.shared || isKnownShared(issuer) };
  if (imitation) return { pattern: /^/, example: issuer, shared: isKnownShared(issuer) };
  return refuse(`issuer is not one of ${preset.title}, ${formsOf(preset)}`);
}

/** Whether strangers are known to have tokens of the issuer, whatever preset is used for it. */
function isKnownShared(issuer: string): boolean {
  return (
    SHARED_ISSUERS.has(issuer) ||
    [...PRESETS.values()].some(({ issuers }) =>
      issuers.some(({ pattern, shared }) => shared && pattern.test(issuer)),
    )
  );
}

/** OpenID Connect Core §2: https, no query, no fragment; and in the one spelling that its URL has. */
function issuerFault(issuer: string): string | undefined {
  try {
    const href: string = parseHttpsUrl(issuer);
    if (issuer.includes("?")) return "must have no query";
    if (href !== issuer && href !== `${issuer}/`) return `must be written as ${href.replace(/\/$/, "")}`;
    return undefined;
  } catch (error) {
    return error instanceof AssayError ? error.detail.replace(/^URL /, "") : "is no URL";
  }
}

function audienceOf(config: OidcConfig, preset: OidcPreset, issuer: string, ownAudience: string): string {
  const fixed = preset.fixedAudience?.(issuer);
  if (fixed !== undefined && config.audience !== undefined && config.audience !== fixed) {
    refuse(`audience cannot be chosen for ${preset.title}, it is always ${fixed}`);
  }
  const audience = fixed ?? config.audience ?? ownAudience;
  if (audience === "") refuse("audience must be set where we have no issuer");
  const common = preset.commonAudiences?.some((pattern) => pattern.test(audience)) === true;
  if (fixed === undefined && (common || audience === issuer)) {
    refuse(`audience ${audience} is one that tokens of ${preset.title} have for others, expected our own`);
  }
  return audience;
}

function allowed(preset: OidcPreset, given: OidcConfig["allow"]): ReadonlyMap<string, readonly string[]> {
  const known = claimNames(preset);
  const prefixes = preset.claims.filter(({ prefix }) => prefix === true);
  return new Map(
    Object.entries(given).map(([name, values]) => {
      const rule =
        preset.claims.find((one) => one.name === name && one.prefix !== true) ??
        prefixes.find((one) => name.startsWith(one.name) && name.length > one.name.length);
      if (rule === undefined && !(known.has(name) && preset.derived?.some((one) => one.name === name))) {
        refuse(`allow: ${name} is no claim of ${preset.title}, which has ${[...known].join(", ")}`);
      }
      // A list is compared one by one; everything else in the form that a token's value gets.
      const kind = rule?.kind === "list" ? "text" : (rule?.kind ?? "text");
      return [name, values.map((value) => valueOf(kind, value, name))];
    }),
  );
}

function valueOf(kind: Parameters<typeof readValue>[0], value: string, name: string): string {
  try {
    return readValue(kind, value, `allow: ${name}`)?.[0] ?? refuse(`allow: ${name} must not be empty`);
  } catch (error) {
    return error instanceof AssayError ? refuse(error.detail) : refuse(`allow: ${name} is malformed`);
  }
}

/** That a preset speaks of no claim that it does not read: an operator wrote some of them. */
function checkNames(preset: OidcPreset): void {
  const known = claimNames(preset);
  const all = [...preset.claims, ...(preset.derived ?? [])];
  if (known.size !== all.length) refuse("preset: two claims have one name");
  const bad = all.find(({ name }) => !CLAIM_NAME.test(name));
  if (bad !== undefined) refuse(`preset: claim ${JSON.stringify(bad.name)} needs a name of a-z, 0-9 and _`);
  const { job = [], run = [] } = preset.runNames;
  const spoken = [
    ...preset.tenantIds,
    ...job,
    ...run,
    ...[...(preset.refused ?? []), ...(preset.guarded ?? [])].map((rule) => rule.claim),
  ];
  const unknown = spoken.find((name) => !known.has(name));
  if (unknown !== undefined) refuse(`preset: ${unknown} is not among its claims`);
  const authored = [...preset.tenantIds, ...job, ...run].find((name) =>
    all.some((one) => one.name === name && one.authored === true),
  );
  if (authored !== undefined)
    refuse(`preset: ${authored} cannot name a run or its owner: its author chooses it`);
  const bare = preset.guarded?.find(({ claim }) =>
    all.some((one) => one.name === claim && one.selector === undefined),
  );
  if (bare !== undefined) refuse(`preset: ${bare.claim} is guarded and needs a selector`);
}

function formsOf(preset: OidcPreset): string {
  return `expected ${preset.issuers.map(({ example }) => example).join(" or ")}`;
}

function refuse(detail: string): never {
  throw new AssayError("CONFIG_INVALID", detail);
}

/** Those that no preset is for. */
const SHARED_ISSUERS: ReadonlySet<string> = new Set(["https://accounts.google.com"]);
const CLAIM_NAME = /^[a-z][a-z0-9_]{0,63}$/;
