import type { ServerApi } from "../link/server-api.ts";
import type { AgentCache, AgentCacheOptions } from "./agent-cache.ts";
import { keyIdOf } from "./jwt-cache.ts";
import type { SyncUpdate } from "./sync-update.ts";

/**
 * The signer of a cache whose bundle keeps up with what is signed: a workload that has a token must find its key in the
 * bundle, though the server's word of a new key is still on its way.
 */
export function learningSigner(
  server: () => Pick<ServerApi, "signX509" | "signWit" | "signJwt" | "bundle">,
  cache: () => Pick<AgentCache, "table" | "apply">,
): AgentCacheOptions["signer"] {
  return {
    signX509: (requests, signal) => server().signX509(requests, signal),
    async signWit(requests, signal) {
      const outcomes = await server().signWit(requests, signal);
      const keyIds = outcomes.flatMap((outcome) => ("token" in outcome ? [keyIdOf(outcome)] : []));
      await learn("witAuthorities", keyIds, signal);
      return outcomes;
    },
    async signJwt(entryId, audience, signal) {
      const svid = await server().signJwt(entryId, audience, signal);
      await learn("jwtAuthorities", [keyIdOf(svid)], signal);
      return svid;
    },
  };

  async function learn(
    kind: "jwtAuthorities" | "witAuthorities",
    keyIds: readonly string[],
    signal: AbortSignal,
  ): Promise<void> {
    const known = new Set(cache().table.bundle[kind].map(({ keyId }) => keyId));
    if (keyIds.every((keyId) => known.has(keyId))) return;
    cache().apply({ ...NO_UPDATE, bundle: await server().bundle(signal) });
  }
}

const NO_UPDATE: SyncUpdate = {
  complete: false,
  upserted: [],
  deleted: [],
  federatedBundles: [],
  deletedFederatedBundles: [],
};
