import type { WorkloadEntry } from "../../issuance/workload/workload-entry.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import type { SyncUpdate } from "../cache/sync-update.ts";
import type { ServerApi } from "../link/server-api.ts";

/** Asks once for everything: entries, the own bundle, and the foreign bundles that entries name. */
export async function pollOnce(
  server: Pick<ServerApi, "authorizedEntries" | "bundle" | "federatedBundle">,
  known: ReadonlyMap<string, WorkloadEntry>,
  signal: AbortSignal,
): Promise<SyncUpdate> {
  const [entries, bundle] = await Promise.all([
    server.authorizedEntries(known, signal),
    server.bundle(signal),
  ]);
  const named = [...new Set(entries.flatMap((entry) => entry.federatesWith))];
  const federatedBundles: SpiffeBundle[] = [];
  const next = named.values();
  const worker = async () => {
    for (const trustDomain of next as Iterable<TrustDomain>) {
      const federated = await server.federatedBundle(trustDomain, signal);
      if (federated !== undefined) federatedBundles.push(federated);
    }
  };
  await Promise.all(Array.from({ length: Math.min(WORKERS, named.length) }, worker));
  return {
    complete: true,
    upserted: entries,
    deleted: [],
    bundle,
    federatedBundles,
    deletedFederatedBundles: [],
  };
}

const WORKERS = 10;
