import type { CertificateRevocationList } from "../crypto/crl.ts";
import type { X509SVIDResponse } from "../proto/gen/spiffe/workload/workload_pb.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type { Updates, X509Bundle, X509BundleSource } from "./bundles.ts";
import { type Pick, pickSvid } from "./hints.ts";
import { readX509Material, type WorkloadX509Svid, type X509Material } from "./read-x509-svids.ts";
import { openSource } from "./open-source.ts";
import { StreamSource } from "./stream-source.ts";
import type { WorkloadOptions } from "./workload-api.ts";

/** Where a program's own X509-SVID comes from. */
export interface X509SvidSource extends Updates {
  /** The present one. @throws AssayError `NO_IDENTITY_ISSUED` and others: there is none now. */
  x509Svid(): WorkloadX509Svid;
}

/** How an {@link X509Source} is opened; `spiffeId` and `hint` say which identity is meant where there are several. */
export interface X509SourceOptions extends WorkloadOptions, Pick {}

/**
 * This workload's X509-SVIDs and the bundles to judge others by, kept fresh by one open stream (Workload API §5.2.1).
 * Ask it each time instead of keeping what it said: SVIDs are replaced at half their life, and taken away.
 */
export class X509Source
  extends StreamSource<X509SVIDResponse, X509Material>
  implements X509SvidSource, X509BundleSource
{
  readonly #pick: Pick;

  /** Begins the stream and does not wait; {@link openX509Source} does. */
  constructor(options: X509SourceOptions) {
    super(options, (api) => ({
      what: "X509-SVIDs",
      open: (signal) => api.calls.fetchX509SVID({}, api.callOptions(signal)),
      read: (message) => readX509Material(message, api.onProblem),
    }));
    this.#pick = options;
  }

  /**
   * The present X509-SVID: the default, the one the source was opened for, or the one that `pick` names.
   * @throws AssayError `NO_IDENTITY_ISSUED` where there is none, or no longer; other codes while none has come yet.
   */
  x509Svid(pick: Pick = this.#pick): WorkloadX509Svid {
    return pickSvid(this.follower.require().svids, pick);
  }

  /** Every present X509-SVID, the default first; none after a withdrawal. */
  x509Svids(): readonly WorkloadX509Svid[] {
    return this.follower.current?.svids ?? [];
  }

  /** The bundle of the own trust domain and those it federates with; none after a withdrawal. */
  x509Bundles(): ReadonlyMap<TrustDomain, X509Bundle> {
    return this.follower.current?.bundles ?? NO_BUNDLES;
  }

  /** Revocation lists of the same trust domains. */
  crls(): readonly CertificateRevocationList[] {
    return this.follower.current?.crls ?? [];
  }
}

/**
 * Opens a source and waits for its first X509-SVIDs, through refusals too: an entry may come later than the workload.
 * @throws AssayError `CONFIG_INVALID` without a usable address; after `timeout` the last reason: `NO_IDENTITY_ISSUED`,
 * `SERVER_UNAVAILABLE`, what was wrong with the message …; `CANCELLED` by the signal.
 */
export async function openX509Source(options: X509SourceOptions = {}): Promise<X509Source> {
  return openSource(new X509Source(options), options);
}

const NO_BUNDLES: ReadonlyMap<TrustDomain, X509Bundle> = new Map();
