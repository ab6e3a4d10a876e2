import type { Clock } from "../../src/clock.ts";
import type { ConfigSchema } from "../../src/plugin/config-schema.ts";
import type { PluginHost } from "../../src/plugin/host.ts";
import { parseTrustDomain } from "../../src/spiffe/trust-domain.ts";

/** What a plugin wrote into the log. */
export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly fields: unknown;
}

/** A plugin's host that adds to `lines` whatever is logged, but for what is for debugging. */
export function recordingHost(clock: Clock, trustDomain: string, lines: LogLine[]): PluginHost {
  const note = (level: string) => (message: string, fields?: unknown) =>
    void lines.push({ level, message, fields });
  return {
    trustDomain: parseTrustDomain(trustDomain),
    clock,
    log: { debug() {}, info: note("info"), warn: note("warn"), error: note("error") },
  };
}

/** A plugin's settings as it takes them from its configuration. @throws {Error} with what it does not take. */
export async function acceptedConfig<Config>(
  plugin: { readonly config: ConfigSchema<Config> },
  given: Readonly<Record<string, unknown>>,
): Promise<Config> {
  const result = await plugin.config["~standard"].validate(given);
  if (result.issues !== undefined) throw new Error(JSON.stringify(result.issues));
  return result.value;
}
