import type { CertificateRevocationList } from "../crypto/crl.ts";
import type { WITBundlesResponse, X509BundlesResponse } from "../proto/gen/spiffe/workload/workload_pb.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type { WitBundle, WitBundleSource, X509Bundle, X509BundleSource } from "./bundles.ts";
import { openSource } from "./open-source.ts";
import { readWitBundles, readX509Bundles } from "./read-bundles.ts";
import { readCrls } from "./read-x509-svids.ts";
import { StreamSource } from "./stream-source.ts";
import type { WorkloadOptions } from "./workload-api.ts";

/** What one message of FetchX509Bundles says. */
interface X509Trust {
  readonly bundles: ReadonlyMap<TrustDomain, X509Bundle>;
  readonly crls: readonly CertificateRevocationList[];
}

/** X.509 bundles alone, for a program that judges others and shows no X509-SVID itself (Workload API §5.2.2). */
export class WorkloadX509Bundles
  extends StreamSource<X509BundlesResponse, X509Trust>
  implements X509BundleSource
{
  /** Begins the stream and does not wait; {@link openX509BundleSource} does. */
  constructor(options: WorkloadOptions) {
    super(options, (api) => ({
      what: "X.509 bundles",
      open: (signal) => api.calls.fetchX509Bundles({}, api.callOptions(signal)),
      read: (message) => ({
        bundles: readX509Bundles(message, api.onProblem),
        crls: readCrls(message.crl, api.onProblem),
      }),
    }));
  }

  x509Bundles(): ReadonlyMap<TrustDomain, X509Bundle> {
    return this.follower.current?.bundles ?? new Map();
  }

  crls(): readonly CertificateRevocationList[] {
    return this.follower.current?.crls ?? [];
  }
}

/** WIT bundles, for a program that judges WIT-SVIDs of others (Workload API §7.2.2). */
export class WorkloadWitBundles
  extends StreamSource<WITBundlesResponse, ReadonlyMap<TrustDomain, WitBundle>>
  implements WitBundleSource
{
  /** Begins the stream and does not wait; {@link openWitBundleSource} does. */
  constructor(options: WorkloadOptions) {
    super(options, (api) => ({
      what: "WIT bundles",
      open: (signal) => api.calls.fetchWITBundles({}, api.callOptions(signal)),
      read: ({ bundles }) => readWitBundles(bundles, api.onProblem),
    }));
  }

  witBundles(): ReadonlyMap<TrustDomain, WitBundle> {
    return this.follower.current ?? new Map();
  }
}

/** Opens a source of X.509 bundles and waits for the first. @throws AssayError as `openX509Source`. */
export async function openX509BundleSource(options: WorkloadOptions = {}): Promise<WorkloadX509Bundles> {
  return openSource(new WorkloadX509Bundles(options), options);
}

/**
 * Opens a source of WIT bundles and waits for the first.
 * @throws AssayError as `openX509Source`; `UNIMPLEMENTED` at once where the Workload API has no WIT profile (§7).
 */
export async function openWitBundleSource(options: WorkloadOptions = {}): Promise<WorkloadWitBundles> {
  return openSource(new WorkloadWitBundles(options), options);
}
