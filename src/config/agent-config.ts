import type { z } from "zod";
import { agentRateLimits, agentSchema } from "./agent-schema.ts";
import { type CamelKeys, camelKeys } from "./camel-keys.ts";
import { type ConfigSource, type LoadedConfig, loadDocument } from "./load.ts";
import type { ConfigProblem } from "./problems.ts";
import { rateLimits, type RateLimits } from "./rate-limits.ts";
import { repeatedType } from "./shared-schema.ts";

/**
 * The agent's settings. `syncInterval` is milliseconds, sizes are bytes, paths absolute. `rateLimit` is `off` or
 * requests a second of one calling user.
 */
export type AgentConfig = Omit<CamelKeys<Parsed>, "rateLimit"> & {
  readonly rateLimit: RateLimits<typeof agentRateLimits>;
};

/**
 * Loads the agent's configuration. `join_token_file` need not be there: an agent that has attested does without.
 * @throws AssayError `CONFIG_INVALID` with one violation for each thing that is wrong.
 */
export function loadAgentConfig(source: ConfigSource): LoadedConfig<AgentConfig> {
  const loaded = loadDocument(agentSchema, source, { problems: problemsOf, warnings: warningsOf });
  const rateLimit = rateLimits(agentRateLimits, loaded.config.rate_limit);
  return { ...loaded, config: Object.freeze({ ...camelKeys(loaded.config), rateLimit }) };
}

function problemsOf(parsed: Parsed): readonly ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  if (parsed.join_token_file !== undefined && parsed.node_attestor !== undefined) {
    problems.push({
      path: ["node_attestor"],
      text: "expected no join_token_file beside it (remove one of the two)",
    });
  }
  if (parsed.node_attestor?.type === "join_token") {
    problems.push({
      path: ["node_attestor", "type"],
      text: "expected another type than join_token (set join_token_file)",
    });
  }
  if (parsed.server.port === 0) {
    problems.push({
      path: ["server"],
      text: "expected a port from 1 to 65535, got 0 (name the server's port)",
    });
  }
  if (parsed.socket === parsed.admin_socket) {
    problems.push({
      path: ["admin_socket"],
      text: "expected another path than socket (choose another name)",
    });
  }
  problems.push(...brokerProblems(parsed));
  const names = [
    parsed.sds.default_svid_name,
    parsed.sds.default_bundle_name,
    parsed.sds.default_all_bundles_name,
  ];
  if (new Set(names).size < names.length) {
    problems.push({ path: ["sds"], text: "expected three different names (change one of them)" });
  }
  const repeated = repeatedType(parsed.workload_attestors);
  if (repeated !== undefined) {
    problems.push({
      path: ["workload_attestors"],
      text: `expected each type once, got ${repeated} twice (remove one)`,
    });
  }
  return problems;
}

function warningsOf({ broker, features }: Parsed): readonly string[] {
  const isOn = features.includes("broker");
  if (isOn === (broker !== undefined)) return [];
  return isOn
    ? ["features has broker, but there is no table broker: no Broker Endpoint is opened"]
    : ["broker is set, but features has no broker: no Broker Endpoint is opened"];
}

function brokerProblems({ broker, socket, admin_socket }: Parsed): readonly ConfigProblem[] {
  if (broker === undefined) return [];
  const problems: ConfigProblem[] = [];
  const paths = broker.addresses.flatMap((address) => (address.scheme === "unix" ? [address.path] : []));
  const taken = [socket, admin_socket, ...paths].find((path, i, all) => all.indexOf(path) < i);
  if (taken !== undefined) {
    problems.push({
      path: ["broker", "addresses"],
      text: `expected sockets of their own, got ${taken} twice (choose another name)`,
    });
  }
  const ids = broker.brokers.map(({ id }) => id);
  const repeatedId = ids.find((id, i) => ids.indexOf(id) < i);
  if (repeatedId !== undefined) {
    problems.push({
      path: ["broker", "brokers"],
      text: `expected each ID once, got ${repeatedId} twice (put its references into one item)`,
    });
  }
  for (const [i, { references }] of broker.brokers.entries()) {
    const repeated = repeatedType(references);
    if (repeated === undefined) continue;
    problems.push({
      path: ["broker", "brokers", i, "references"],
      text: `expected each type once, got ${repeated} twice (remove one)`,
    });
  }
  return problems;
}

type Parsed = z.output<typeof agentSchema>;
