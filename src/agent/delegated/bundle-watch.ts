import type { Clock } from "../../clock.ts";
import type { WorkloadRecorder } from "../../issuance/workload/issuance-record.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import type { AgentCache } from "../cache/agent-cache.ts";
import { ChangeWaiter } from "../workload-api/change-waiter.ts";
import type { AdmittedDelegate } from "./delegates.ts";

/** What watching bundles needs. */
export interface BundleWatchOptions {
  readonly cache: AgentCache;
  readonly recorder: WorkloadRecorder;
  readonly clock: Clock;
}

/**
 * The bundles of every trust domain that the agent knows, the own one first: complete now and after each change. Never ends
 * by itself.
 * @throws AssayError as soon as the delegate may no longer ask.
 */
export async function* watchAllBundles(
  { asker, question }: AdmittedDelegate,
  signal: AbortSignal,
  { cache, recorder, clock }: BundleWatchOptions,
): AsyncGenerator<readonly SpiffeBundle[], never, undefined> {
  using waiter = new ChangeWaiter(cache.bell, signal, clock);
  const referral = { askerId: asker.spiffeId, address: asker.address, reference: "every trust domain" };
  let last: readonly SpiffeBundle[] | undefined;
  for (;;) {
    signal.throwIfAborted();
    asker.requireEntitled();
    const bundles = [
      cache.table.bundle,
      ...[...cache.table.federated.values()].toSorted((a, b) => (a.trustDomain < b.trustDomain ? -1 : 1)),
    ];
    if (last?.length !== bundles.length || last.some((bundle, i) => bundle !== bundles[i])) {
      const names = bundles.map(({ trustDomain }) => trustDomain);
      // What is decided is whose bundles are handed over; that their keys change is no decision about it.
      if (last?.map(({ trustDomain }) => trustDomain).join() !== names.join()) {
        recorder.bundlesDelivered({ ...question, referral, at: clock.now() }, names);
      }
      last = bundles;
      yield bundles;
      continue;
    }
    await waiter.next(Number.POSITIVE_INFINITY);
  }
}
