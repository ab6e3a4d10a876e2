import type { Selector } from "../spiffe/selector.ts";
import type { ConfigSchema } from "./config-schema.ts";
import type { PluginHost } from "./host.ts";

/**
 * Finds facts about a process on the agent's node.
 *
 * @example
 * ```ts
 * export const cgroup = defineWorkloadAttestor({
 *   kind: "workloadAttestor",
 *   apiVersion: 1,
 *   name: "cgroup",
 *   config: z.strictObject({}),
 *   create: () => ({
 *     async attest({ pid }) {
 *       const text = await readFile(`/proc/${pid}/cgroup`, "utf8");
 *       return text.trimEnd().split("\n").map((line) => ({ type: "cgroup", value: `path:${line.split(":")[2]}` }));
 *     },
 *     async [Symbol.asyncDispose]() {},
 *   }),
 * });
 * ```
 */
export interface WorkloadAttestorPlugin<Config = unknown> {
  readonly kind: "workloadAttestor";
  readonly apiVersion: 1;
  /** The plugin's name and the type of every selector it gives. */
  readonly name: string;
  readonly config: ConfigSchema<Config>;
  create(config: Config, host: PluginHost): WorkloadAttestor | Promise<WorkloadAttestor>;
}

/** A workload attestor at work. Disposed once, when the agent stops. */
export interface WorkloadAttestor extends AsyncDisposable {
  /**
   * Gives the facts about one process. The host checks before and after that the process is still the one that
   * opened the connection, so a plugin need not guard against a reused pid. Throwing drops this plugin's selectors
   * only; the error goes to the operator's log.
   */
  attest(workload: WorkloadProcess, signal: AbortSignal): Promise<readonly Selector[]>;
}

/** The process at the other end of the Workload Endpoint, as the kernel names it. */
export interface WorkloadProcess {
  readonly pid: number;
  /** Effective user id at the time of connecting. */
  readonly uid: number;
  /** Effective group id at the time of connecting. */
  readonly gid: number;
}

/** Marks an object as a workload attestor plugin and checks its type where it is written. */
export function defineWorkloadAttestor<Config>(
  plugin: WorkloadAttestorPlugin<Config>,
): WorkloadAttestorPlugin<Config> {
  return plugin;
}
