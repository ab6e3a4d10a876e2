/**
 * plugin/ — the contracts that third parties build on: types and `define…` functions, nothing that runs.
 *
 * Must never know a floor above the vocabulary, nor a library: it is published as a subpath of its own.
 * Called by every attestor and key manager, ours and others', and by the catalog that loads them.
 */
export type { AgentNodeAttestor, AgentNodeAttestorPlugin, EvidenceSession } from "./agent-node-attestor.ts";
export { defineAgentNodeAttestor } from "./agent-node-attestor.ts";
export type { ConfigSchema, SchemaIssue, SchemaResult } from "./config-schema.ts";
export type { PluginHost, PluginLog } from "./host.ts";
export type { KeyManager, KeyManagerPlugin, KeyType, ManagedKey, SignatureForm } from "./key-manager.ts";
export { defineKeyManager } from "./key-manager.ts";
export type {
  NodeAttestation,
  NodeAttestor,
  NodeAttestorHost,
  NodeAttestorPlugin,
  NodeEvidence,
} from "./node-attestor.ts";
export { defineNodeAttestor } from "./node-attestor.ts";
export type {
  TaskAttestation,
  TaskAttestor,
  TaskAttestorHost,
  TaskAttestorPlugin,
  TaskEnd,
  TaskEvidence,
  TaskWebhook,
} from "./task-attestor.ts";
export { defineTaskAttestor } from "./task-attestor.ts";
export type {
  CredentialComposer,
  CredentialComposerPlugin,
  JwtSvidClaims,
  JwtSvidFacts,
  SubjectAttribute,
  X509SvidContent,
  X509SvidFacts,
} from "./credential-composer.ts";
export { defineCredentialComposer } from "./credential-composer.ts";
export type {
  UpstreamAuthority,
  UpstreamAuthorityPlugin,
  UpstreamTrust,
  UpstreamX509Ca,
  UpstreamX509CaOrder,
} from "./upstream-authority.ts";
export { defineUpstreamAuthority } from "./upstream-authority.ts";
export type {
  KubernetesObject,
  WorkloadAttestor,
  WorkloadAttestorPlugin,
  WorkloadProcess,
} from "./workload-attestor.ts";
export { defineWorkloadAttestor } from "./workload-attestor.ts";
export { AssayError } from "../errors/assay-error.ts";
