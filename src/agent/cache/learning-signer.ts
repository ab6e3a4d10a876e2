import { AssayError } from "../../errors/assay-error.ts";
import type { ServerApi } from "../link/server-api.ts";
import type { AgentCache, AgentCacheOptions } from "./agent-cache.ts";
import { keyIdOf } from "./jwt-cache.ts";
import type { SyncUpdate } from "./sync-update.ts";

type Server = Pick<ServerApi, "signX509" | "signWit" | "signJwt" | "bundle">;

/**
 * The signer of a cache whose bundle keeps up with what is signed: a workload that has a token must find its key in the
 * bundle, though the server's word of a new key is still on its way. A call that is lost as the connection is replaced, by
 * another bundle or SVID of the agent's, is made again over the new one.
 */
export function learningSigner(
  server: () => Server,
  cache: () => Pick<AgentCache, "table" | "apply">,
): AgentCacheOptions["signer"] {
  return {
    signX509: (requests, signal) => ask((api) => api.signX509(requests, signal)),
    async signWit(requests, signal) {
      const outcomes = await ask((api) => api.signWit(requests, signal));
      const keyIds = outcomes.flatMap((outcome) => ("token" in outcome ? [keyIdOf(outcome)] : []));
      await learn("witAuthorities", keyIds, signal);
      return outcomes;
    },
    async signJwt(entryId, audience, signal) {
      const svid = await ask((api) => api.signJwt(entryId, audience, signal));
      await learn("jwtAuthorities", [keyIdOf(svid)], signal);
      return svid;
    },
  };

  /** A connection that closes before it was there takes with it what waited for it. */
  async function ask<Answer>(call: (api: Server) => Promise<Answer>): Promise<Answer> {
    for (let replaced = 0; ; replaced++) {
      const api = server();
      try {
        return await call(api);
      } catch (error) {
        const isLost = error instanceof AssayError && error.code === "SERVER_UNAVAILABLE";
        if (!isLost || replaced === MOST_REPLACED || server() === api) throw error;
      }
    }
  }

  async function learn(
    kind: "jwtAuthorities" | "witAuthorities",
    keyIds: readonly string[],
    signal: AbortSignal,
  ): Promise<void> {
    const known = new Set(cache().table.bundle[kind].map(({ keyId }) => keyId));
    if (keyIds.every((keyId) => known.has(keyId))) return;
    cache().apply({ ...NO_UPDATE, bundle: await ask((api) => api.bundle(signal)) });
  }
}

const NO_UPDATE: SyncUpdate = {
  complete: false,
  upserted: [],
  deleted: [],
  federatedBundles: [],
  deletedFederatedBundles: [],
};
const MOST_REPLACED = 3;
