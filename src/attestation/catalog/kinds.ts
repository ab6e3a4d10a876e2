import type { AgentNodeAttestor } from "../../plugin/agent-node-attestor.ts";
import type { PluginHost } from "../../plugin/host.ts";
import type { NodeAttestor, NodeAttestorHost } from "../../plugin/node-attestor.ts";
import type { TaskAttestor, TaskAttestorHost } from "../../plugin/task-attestor.ts";
import type { WorkloadAttestor } from "../../plugin/workload-attestor.ts";
import { joinToken } from "../node/join-token/server.ts";
import { joinTokenAgent } from "../node/join-token/agent.ts";
import { x509pop } from "../node/x509pop/server.ts";
import { x509popAgent } from "../node/x509pop/agent.ts";
import { oidc } from "../task/oidc/oidc.ts";
import { kubernetesObject } from "../workload/kubernetes-object/kubernetes-object.ts";
import { unix } from "../workload/unix/unix.ts";
import type { LoadablePlugin, PluginKind } from "./load-plugin.ts";

/** The server's halves of node attestors. */
export const nodeAttestors: PluginKind<NodeAttestorHost, NodeAttestor> = {
  kind: "nodeAttestor",
  label: "node attestor",
  builtIns: table<NodeAttestorHost, NodeAttestor>(joinToken, x509pop),
  sealed: new Set([joinToken.name]),
  methods: ["attest"],
};

/** The agent's halves of node attestors. */
export const agentNodeAttestors: PluginKind<PluginHost, AgentNodeAttestor> = {
  kind: "agentNodeAttestor",
  label: "agent node attestor",
  builtIns: table<PluginHost, AgentNodeAttestor>(joinTokenAgent, x509popAgent),
  sealed: new Set([joinTokenAgent.name]),
  methods: ["begin"],
};

/** Workload attestors. */
export const workloadAttestors: PluginKind<PluginHost, WorkloadAttestor> = {
  kind: "workloadAttestor",
  label: "workload attestor",
  builtIns: table<PluginHost, WorkloadAttestor>(unix, kubernetesObject),
  sealed: new Set(),
  methods: [],
  oneOf: ["attest", "attestReference"],
};

/** Task attestors; one plugin may work in several instances, one for each issuer that is trusted. */
export const taskAttestors: PluginKind<TaskAttestorHost, TaskAttestor> = {
  kind: "taskAttestor",
  label: "task attestor",
  builtIns: table<TaskAttestorHost, TaskAttestor>(oidc),
  sealed: new Set(),
  methods: ["attest"],
};

// Each plugin takes its own configuration type; the loader hands it only what its own schema gave back.
function table<Host, Instance>(
  ...plugins: readonly LoadablePlugin<Host, Instance>[]
): ReadonlyMap<string, LoadablePlugin<Host, Instance>> {
  return new Map(plugins.map((plugin) => [plugin.name, plugin]));
}
