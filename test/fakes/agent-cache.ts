import { AgentCache, type AgentCacheOptions } from "../../src/agent/cache/agent-cache.ts";
import { silentLog } from "../../src/observe/log.ts";
import { SelectorIndex } from "../../src/registry/match.ts";
import { parseTrustDomain } from "../../src/spiffe/trust-domain.ts";

/** A cache of the trust domain `example.org` with P-256 keys and times that are not spread, unless told. */
export function makeAgentCache(
  options: Pick<AgentCacheOptions, "signer" | "clock"> & Partial<AgentCacheOptions>,
): AgentCache {
  return new AgentCache({
    trustDomain: parseTrustDomain("example.org"),
    index: new SelectorIndex(),
    spread: () => 0.5,
    log: silentLog,
    keyType: "ec-p256",
    agentId: () => undefined,
    maxJwtSvids: 1000,
    onError: () => undefined,
    ...options,
  });
}

/** Lets everything that is due in this very moment happen. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
}
