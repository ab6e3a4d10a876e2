import { z } from "zod";
import type { ClaimKind, ClaimRule, OidcPreset, ValueRule } from "./preset.ts";

const name = z.string().regex(/^[a-z][a-z0-9_]{0,63}$/, "expected 1 to 64 of a-z 0-9 _, a letter first");
const label = z.string().regex(/^[a-z][a-z0-9_-]{0,63}$/, "expected 1 to 64 of a-z 0-9 _ -, a letter first");
const member = z.string().min(1).max(256);
const KINDS = ["text", "id", "flag", "list", "uuid"] as const satisfies readonly ClaimKind[];

const claim = z.strictObject({
  claim: z
    .union([member, z.array(member).min(1).max(8)])
    .describe("Name in the token, or the names of the members that lead to it"),
  name: name.optional().describe("Our name for it; by default the claim's own"),
  kind: z.enum(KINDS).default("text").describe("What it may be"),
  selector: label.optional().describe("Middle part of its selector; none without"),
  authored: z.boolean().default(false).describe("Whether whoever writes the job can choose the value"),
  required: z.boolean().default(false).describe("Whether a token without it is refused"),
});
const rule = z
  .strictObject({
    claim: name,
    values: z.array(z.string().min(1)).min(1).optional(),
    except: z.array(z.string().min(1)).min(1).optional(),
  })
  .refine(({ values, except }) => (values === undefined) !== (except === undefined), {
    error: "exactly one of values and except must be set",
  });

/** The configuration of an issuer that no preset knows: the same data as a preset's, as far as words can say it. */
export const inlinePreset = z.strictObject({
  platform: label.describe("Name of the platform in audit records"),
  selector_type: label.optional().describe("Type of its selectors; by default the platform's name"),
  multi_tenant: z
    .boolean()
    .default(true)
    .describe("Whether strangers get tokens from the same issuer: then one of tenant_claims must be bound"),
  tenant_claims: z
    .array(name)
    .default([])
    .describe("Claims that say whose run it is, and never pass to others"),
  claims: z.array(claim).min(1).max(200).describe("Claims that are read; all others are ignored"),
  run: z.array(name).min(1).max(8).describe("Claims that name one run together"),
  granularity: z
    .enum(["job", "run"])
    .default("job")
    .describe("Whether they name a job, or a run of several jobs"),
  guarded: z.array(rule).default([]).describe("Runs for which an entry must name the selector of the claim"),
  refused: z.array(rule).default([]).describe("Tokens that are no evidence"),
});

/** An inline preset as checked. */
export type InlinePreset = z.output<typeof inlinePreset>;

/** Turns the configuration of an issuer into a preset. Its names are checked with those of all presets. */
export function presetOf(inline: InlinePreset): OidcPreset {
  const claims = inline.claims.map(claimRule);
  return {
    name: inline.platform,
    title: inline.platform,
    selectorType: inline.selector_type ?? inline.platform,
    issuers: [{ pattern: /^https:\/\/.+$/, example: "https://ISSUER", shared: inline.multi_tenant }],
    claims,
    tenantIds: inline.tenant_claims,
    runNames: { [inline.granularity]: inline.run },
    refused: inline.refused.map((one) => ({
      ...valueRule(one),
      why: `claim ${one.claim} has a refused value`,
    })),
    guarded: inline.guarded.map(valueRule),
    maxTokenAge: 600,
    maxTokenLifetime: 86_400,
    description: inline.run.map((one) => `${one} {${one}}`).join(" "),
    sample: { issuer: "https://issuer.example.com", claims: {} },
  };
}

function claimRule(given: z.output<typeof claim>): ClaimRule {
  const last = typeof given.claim === "string" ? given.claim : (given.claim.at(-1) ?? "");
  return {
    claim: given.claim,
    name: given.name ?? last,
    kind: given.kind,
    ...(given.selector !== undefined && { selector: given.selector }),
    ...(given.authored && { authored: true }),
    ...(given.required && { required: true }),
  };
}

function valueRule({ claim: of, values, except }: z.output<typeof rule>): ValueRule {
  return values === undefined ? { claim: of, except: except ?? [] } : { claim: of, values };
}
