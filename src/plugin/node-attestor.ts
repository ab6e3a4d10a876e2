import type { SpiffeId } from "../spiffe/id.ts";
import type { Selector } from "../spiffe/selector.ts";
import type { ConfigSchema } from "./config-schema.ts";
import type { PluginHost } from "./host.ts";

/**
 * The server's half of a node attestor: verifies the evidence that an agent shows about its node.
 *
 * @example
 * ```ts
 * export const serial = defineNodeAttestor({
 *   kind: "nodeAttestor",
 *   apiVersion: 1,
 *   name: "serial",
 *   config: z.strictObject({ allowed: z.array(z.string()) }),
 *   create: (config, host) => ({
 *     async attest({ payload }) {
 *       const serial = new TextDecoder().decode(payload);
 *       if (!config.allowed.includes(serial)) throw new AssayError("ATTESTATION_FAILED", "unknown serial number");
 *       return {
 *         agentId: agentId(host.trustDomain, "serial", serial),
 *         selectors: [{ type: "serial", value: `number:${serial}` }],
 *         canReattest: true,
 *       };
 *     },
 *     async [Symbol.asyncDispose]() {},
 *   }),
 * });
 * ```
 */
export interface NodeAttestorPlugin<Config = unknown> {
  readonly kind: "nodeAttestor";
  readonly apiVersion: 1;
  /** The attestation type on the wire, the type of its selectors and a segment of its agents' IDs. */
  readonly name: string;
  readonly config: ConfigSchema<Config>;
  create(config: Config, host: NodeAttestorHost): NodeAttestor | Promise<NodeAttestor>;
}

/** What a node attestor gets beside what every plugin gets. */
export interface NodeAttestorHost extends PluginHost {
  /**
   * Uses up a join token: atomically, durably, and before it returns. Throws `JOIN_TOKEN_INVALID` where the token is
   * unknown, expired or used; which of them it was goes to the log, not into the error.
   */
  consumeJoinToken(token: string): Promise<void>;
}

/** A node attestor at work. Disposed once, when the server stops. */
export interface NodeAttestor extends AsyncDisposable {
  /**
   * Verifies one agent's evidence.
   * @throws AssayError `ATTESTATION_FAILED` or `JOIN_TOKEN_INVALID` with a detail that the caller may read.
   */
  attest(evidence: NodeEvidence, signal: AbortSignal): Promise<NodeAttestation>;
}

/** What an agent shows. All bytes are hostile and bounded by the caller (64 KiB each). */
export interface NodeEvidence {
  /** The first message of the attestor's own protocol. */
  readonly payload: Uint8Array;
  /** Address the agent connects from, without port; empty where the transport has none. */
  readonly remoteAddress: string;
  /** Sends a challenge to the agent and gives its answer. */
  challenge(challenge: Uint8Array): Promise<Uint8Array>;
}

/** What verified evidence says. */
export interface NodeAttestation {
  /** The agent's ID, inside `/spire/agent/<name>/` of the trust domain. */
  readonly agentId: SpiffeId;
  /** Facts about the node; each selector's type is the attestor's name. */
  readonly selectors: readonly Selector[];
  /** Whether the same evidence may be shown again by an agent that lost its SVID. */
  readonly canReattest: boolean;
}

/** Marks an object as a node attestor plugin and checks its type where it is written. */
export function defineNodeAttestor<Config>(plugin: NodeAttestorPlugin<Config>): NodeAttestorPlugin<Config> {
  return plugin;
}
