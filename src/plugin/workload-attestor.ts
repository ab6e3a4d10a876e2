import type { SpiffeId } from "../spiffe/id.ts";
import type { Selector } from "../spiffe/selector.ts";
import type { ConfigSchema } from "./config-schema.ts";
import type { PluginHost } from "./host.ts";

/**
 * Finds facts about a process on the agent's node, or about a workload that a broker named.
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
  /** The plugin's name and, unless `selectorType` says otherwise, the type of every selector it gives. */
  readonly name: string;
  /** Type of every selector it gives: 1 to 64 of a-z 0-9 _ -, a letter first. */
  readonly selectorType?: string;
  readonly config: ConfigSchema<Config>;
  create(config: Config, host: PluginHost): WorkloadAttestor | Promise<WorkloadAttestor>;
}

/** A workload attestor at work: it has at least one of the two methods. Disposed once, when the agent stops. */
export interface WorkloadAttestor extends AsyncDisposable {
  /**
   * Gives the facts about one process. The host checks before and after that the process is still the one that
   * opened the connection, so a plugin need not guard against a reused pid. Throwing drops this plugin's selectors
   * only; the error goes to the operator's log.
   */
  attest?(workload: WorkloadProcess, signal: AbortSignal): Promise<readonly Selector[]>;

  /**
   * Gives the facts about a workload that is named by something else than a process (Broker API §3.1), or `undefined`
   * where the plugin knows nothing of that type of reference. Nothing that the broker says may be believed: the workload
   * is looked up. Asked again while streams about the workload are open.
   *
   * An `AssayError` of one of these codes is the broker's answer: `WORKLOAD_REFERENCE_INVALID` where the reference cannot
   * name a workload, `WORKLOAD_NOT_FOUND` where there is none of that name or it has ended, `WORKLOAD_NOT_ENTITLED` where
   * this broker may not ask for it. Any other error only drops this plugin's selectors.
   */
  attestReference?(
    reference: KubernetesObject,
    broker: SpiffeId,
    signal: AbortSignal,
  ): Promise<readonly Selector[] | undefined>;
}

/** An object of a Kubernetes cluster, as a broker names it (Broker API §3.1.3). At least one of `key` and `uid`. */
export interface KubernetesObject {
  readonly type: "kubernetes_object";
  /** Plural name of the kind, as in the paths of the Kubernetes API. */
  readonly plural: string;
  /** Name of the API group; `core` for the core group. */
  readonly group: string;
  readonly key?: {
    /** Empty for kinds without namespaces. */
    readonly namespace: string;
    readonly name: string;
  };
  readonly uid?: string;
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
