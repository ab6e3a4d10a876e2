import type { ConfigSchema } from "./config-schema.ts";
import type { PluginHost } from "./host.ts";

/** The agent's half of a node attestor: collects the evidence and answers the server's challenges. */
export interface AgentNodeAttestorPlugin<Config = unknown> {
  readonly kind: "agentNodeAttestor";
  readonly apiVersion: 1;
  /** The attestation type on the wire; the server's half has the same name. */
  readonly name: string;
  readonly config: ConfigSchema<Config>;
  create(config: Config, host: PluginHost): AgentNodeAttestor | Promise<AgentNodeAttestor>;
}

/** An agent-side node attestor at work. */
export interface AgentNodeAttestor extends AsyncDisposable {
  /**
   * Begins one attestation.
   * @throws AssayError `ATTESTATION_FAILED` or `CONFIG_INVALID` where the evidence cannot be had, naming the file or
   * setting.
   */
  begin(signal: AbortSignal): Promise<EvidenceSession>;
}

/** One attestation as the agent sees it. */
export interface EvidenceSession {
  /** The first message. */
  readonly payload: Uint8Array;
  /** Answers one challenge. Throws `ATTESTATION_FAILED` where the attestor's protocol has none or no further one. */
  answer(challenge: Uint8Array): Promise<Uint8Array>;
}

/** Marks an object as the agent's half of a node attestor and checks its type where it is written. */
export function defineAgentNodeAttestor<Config>(
  plugin: AgentNodeAttestorPlugin<Config>,
): AgentNodeAttestorPlugin<Config> {
  return plugin;
}
