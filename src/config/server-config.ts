/**
 * config/ — the whole configuration of both programs: files, flags, defaults, checks and their documentation.
 *
 * Must never know how a setting is used; it hands out typed, frozen values.
 * Called by the commands, before anything else is made.
 */
import type { z } from "zod";
import { type CamelKeys, camelKeys } from "./camel-keys.ts";
import { federationProblems } from "./federation-schema.ts";
import { secondsText } from "./kinds.ts";
import { type ConfigSource, type LoadedConfig, loadDocument } from "./load.ts";
import type { ConfigProblem } from "./problems.ts";
import { serverRateLimits, serverSchema } from "./server-schema.ts";
import { rateLimits, type RateLimits } from "./rate-limits.ts";
import { longestRefreshHint } from "../signing/rotation-schedule.ts";
import { repeatedType } from "./shared-schema.ts";
import { taskProblems } from "./task-schema.ts";

/**
 * The server's settings. Lifetimes (`…Ttl`) are seconds, sizes bytes, paths absolute. `rateLimit` is `off` or requests
 * a second of one caller.
 */
export type ServerConfig = Omit<CamelKeys<Parsed>, "rateLimit"> & {
  readonly rateLimit: RateLimits<typeof serverRateLimits>;
};

/**
 * Loads the server's configuration.
 * @throws AssayError `CONFIG_INVALID` with one violation for each thing that is wrong.
 */
export function loadServerConfig(source: ConfigSource): LoadedConfig<ServerConfig> {
  const loaded = loadDocument(serverSchema, source, { problems: problemsOf, warnings: warningsOf });
  const rateLimit = rateLimits(serverRateLimits, loaded.config.rate_limit);
  return { ...loaded, config: Object.freeze({ ...camelKeys(loaded.config), rateLimit }) };
}

function problemsOf(parsed: Parsed): readonly ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const atMost = (key: keyof Parsed, limitKey: keyof Parsed) => {
    const [value, limit] = [parsed[key] as number, parsed[limitKey] as number];
    if (value <= limit) return;
    const text = `expected at most ${limitKey}, ${secondsText(limit)}, got ${secondsText(value)} (lower it or raise ${limitKey})`;
    problems.push({ path: [key], text });
  };
  atMost("default_x509_svid_ttl", "ca_ttl");
  atMost("default_x509_svid_ttl", "max_x509_svid_ttl");
  atMost("default_jwt_svid_ttl", "ca_ttl");
  atMost("default_jwt_svid_ttl", "max_jwt_svid_ttl");
  if (parsed.features.includes("wit-svid")) {
    atMost("default_wit_svid_ttl", "ca_ttl");
    atMost("default_wit_svid_ttl", "max_wit_svid_ttl");
  }
  atMost("default_access_token_ttl", "max_access_token_ttl");
  atMost("agent_ttl", "ca_ttl");
  const { listen, web_listen: web } = parsed;
  if (listen.port !== 0 && listen.port === web.port && listen.host === web.host) {
    problems.push({
      path: ["web_listen"],
      text: "expected another address than listen (choose another port)",
    });
  }
  for (const key of ["node_attestors", "credential_composers"] as const) {
    const repeated = repeatedType(parsed[key]);
    if (repeated === undefined) continue;
    problems.push({ path: [key], text: `expected each type once, got ${repeated} twice (remove one)` });
  }
  return [...problems, ...federationProblems(parsed), ...taskProblems(parsed)];
}

function warningsOf(parsed: Parsed): readonly string[] {
  // An authority is replaced in the last sixth of its life at the latest, so an SVID longer than that may be cut.
  const sure = Math.floor(parsed.ca_ttl / 6);
  const keys = ["default_x509_svid_ttl", "agent_ttl", "default_jwt_svid_ttl"] as const;
  const short = keys
    .filter((key) => parsed[key] > sure)
    .map((key) => {
      const value = secondsText(parsed[key]);
      return `${key} ${value} is longer than a sixth of ca_ttl (${secondsText(sure)}): some SVIDs will live shorter`;
    });
  return [...short, ...hintWarnings(parsed)];
}

function hintWarnings({ ca_ttl, federation }: Parsed): readonly string[] {
  const hint = federation?.bundle_endpoint?.refresh_hint ?? 0;
  const longest = longestRefreshHint([{ notBefore: 0, notAfter: ca_ttl }]);
  if (hint <= longest) return [];
  return [
    `federation.bundle_endpoint.refresh_hint ${secondsText(hint)} is too long for ca_ttl ${secondsText(ca_ttl)}: others are told ${secondsText(longest)}, so that they ask three times before a new key signs`,
  ];
}

type Parsed = z.output<typeof serverSchema>;
