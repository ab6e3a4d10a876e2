import { z } from "zod";
import { OIDC_TOKEN_ALGORITHMS } from "../../../crypto/jose/oidc-token.ts";
import { parseAddressBlock } from "../../../outbound/address-rules.ts";
import { parseHttpsUrl } from "../../../outbound/https-url.ts";
import { inlinePreset } from "./inline-preset.ts";
import { PRESETS } from "./presets/all.ts";

const path = z.string().min(1).max(4096);
const exactValue = z
  .union([
    z.string().min(1).max(2048),
    z.int().nonnegative().transform(String),
    z.boolean().transform(String),
  ])
  .refine((value) => !value.includes("*"), "expected an exact value: * stands for nothing else");

/** The configuration of one trusted issuer. */
export const config = z
  .strictObject({
    preset: z
      .union([z.enum([...PRESETS.keys()]), inlinePreset])
      .describe("The platform: the name of a preset, or what its tokens look like"),
    issuer: z
      .string()
      .max(2048)
      .optional()
      .describe("Exactly the `iss` of its tokens; by default the platform's, where it has only one"),
    audience: z
      .string()
      .min(1)
      .max(2048)
      .optional()
      .describe("What must be a token's only audience; by default our issuer"),
    allow: z
      .record(z.string(), z.array(exactValue).min(1).max(10_000))
      .default({})
      .describe(
        "Claims that must have one of these values. Who shares an issuer with strangers binds an id here",
      ),
    algorithms: z
      .array(z.enum(OIDC_TOKEN_ALGORITHMS))
      .min(1)
      .default(["RS256"])
      .describe("Algorithms that tokens may be signed by"),
    max_token_age: duration(60, 86_400)
      .optional()
      .describe("How old a token may be by its `iat`; by default the preset's"),
    max_token_lifetime: duration(60, 604_800)
      .optional()
      .describe("How long a token may be good for, `iat` to `exp`; by default the preset's"),
    jwks_file: path.optional().describe("File with the issuer's keys, for an issuer that cannot be asked"),
    jwks_url: z
      .string()
      .refine(isHttpsUrl, "expected an https URL")
      .optional()
      .describe("Where the issuer's keys are, in the place of its discovery document"),
    ca_file: path
      .optional()
      .describe("PEM file with the authorities that the issuer's server is believed by, beside the system's"),
    allowed_addresses: z
      .array(z.string().refine(isAddressBlock, "expected addresses such as 10.0.0.0/8"))
      .max(1000)
      .default([])
      .describe("Addresses that may be connected to though they are not public"),
    webhook_secret_file: path
      .optional()
      .describe("File with the secret that the platform's messages about ended runs are judged by"),
    imitation: z
      .boolean()
      .default(false)
      .describe("The issuer imitates the platform and may have any form of name. Only for trying things out"),
  })
  .refine(({ jwks_file, jwks_url }) => jwks_file === undefined || jwks_url === undefined, {
    path: ["jwks_url"],
    error: "at most one of jwks_file and jwks_url may be set",
  });

/** The configuration as checked; durations in seconds. */
export type OidcConfig = z.output<typeof config>;

function duration(least: number, most: number) {
  return z.string().transform((text, context) => {
    const [, count, unit] = /^(\d{1,6})([smh])$/.exec(text) ?? [];
    const seconds = Number(count) * (unit === "h" ? 3600 : unit === "m" ? 60 : 1);
    if (seconds >= least && seconds <= most) return seconds;
    context.addIssue(`expected a duration from ${least}s to ${most}s, such as 90s, 10m or 1h`);
    return z.NEVER;
  });
}

function isHttpsUrl(text: string): boolean {
  return parses(() => parseHttpsUrl(text));
}

function isAddressBlock(text: string): boolean {
  return parses(() => parseAddressBlock(text));
}

function parses(parse: () => unknown): boolean {
  try {
    parse();
    return true;
  } catch {
    return false;
  }
}
