import { isMemberOf, pathOf, type SpiffeId, spiffeIdOf } from "./id.ts";
import type { TrustDomain } from "./trust-domain.ts";

/** The ID that the server presents: `/spire/server`, which SPIRE's agents insist on. */
export function serverId(trustDomain: TrustDomain): SpiffeId {
  return spiffeIdOf(trustDomain, SERVER_PATH);
}

/**
 * The ID of an agent: `/spire/agent/<attestor>/<suffix>`.
 * @throws AssayError `INVALID_SPIFFE_ID` where the suffix is no path.
 */
export function agentId(trustDomain: TrustDomain, attestor: string, suffix: string): SpiffeId {
  return spiffeIdOf(trustDomain, `${AGENT_PREFIX}${attestor}/${suffix}`);
}

/** Whether the ID lies in the trust domain's agent namespace. */
export function isAgentId(id: SpiffeId, trustDomain: TrustDomain): boolean {
  return isMemberOf(id, trustDomain) && pathOf(id).startsWith(AGENT_PREFIX);
}

/** Whether the path is kept for the issuer's own use: `/spire` and everything below it. */
export function isReservedPath(path: string): boolean {
  return path === "/spire" || path.startsWith("/spire/");
}

const SERVER_PATH = "/spire/server";
const AGENT_PREFIX = "/spire/agent/";
