import { randomUUID } from "node:crypto";
import { unixSeconds } from "../clock.ts";
import { signWorkloadProof } from "../crypto/jose/workload-proof.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { WITSVIDResponse } from "../proto/gen/spiffe/workload/workload_pb.ts";
import { type Pick, pickSvid } from "./hints.ts";
import { openSource } from "./open-source.ts";
import { readWitSvids, type WorkloadWitSvid } from "./read-wit-svids.ts";
import { StreamSource } from "./stream-source.ts";
import { PROOF_HEADER, WIT_HEADER } from "./validate-wit-request.ts";
import type { WorkloadOptions } from "./workload-api.ts";

/** How a {@link WitSource} is opened; `spiffeId` and `hint` say which identity is meant where there are several. */
export interface WitSourceOptions extends WorkloadOptions, Pick {}

/** What a proof of possession is made for. */
export interface ProofWanted extends Pick {
  /** The URL that is about to be called, `https:` only; its scheme, host and path are what the proof names. */
  readonly url: string | URL;
  /** How long the proof is good for, 1 to 300 seconds; 30 unless told, the shortest that a slow network bears. */
  readonly lifetimeSeconds?: number;
}

/** The two header fields of a request that presents a WIT-SVID. */
export interface WitHeaders {
  readonly "workload-identity-token": string;
  readonly "workload-proof-token": string;
}

/**
 * This workload's WIT-SVIDs, kept fresh by one open stream (Workload API §7.2.1). They are presented with a proof of
 * possession or not at all (WIT-SVID §5): this is what {@link WitSource.present} is for.
 */
export class WitSource extends StreamSource<WITSVIDResponse, readonly WorkloadWitSvid[]> {
  readonly #pick: Pick;

  /** Begins the stream and does not wait; {@link openWitSource} does. */
  constructor(options: WitSourceOptions) {
    super(options, (api) => ({
      what: "WIT-SVIDs",
      open: (signal) => api.calls.fetchWITSVID({}, api.callOptions(signal)),
      read: (message) => readWitSvids(message, unixSeconds(api.clock)),
    }));
    this.#pick = options;
  }

  /** The present WIT-SVID. @throws AssayError `NO_IDENTITY_ISSUED` and others: there is none now. */
  witSvid(pick: Pick = this.#pick): WorkloadWitSvid {
    return pickSvid(this.follower.require(), pick);
  }

  /** Every present WIT-SVID, the default first; none after a withdrawal. */
  witSvids(): readonly WorkloadWitSvid[] {
    return this.follower.current ?? [];
  }

  /**
   * The header fields of one request: the WIT-SVID and a fresh Workload Proof Token that names it and the URL. Make them
   * anew for each request.
   * @throws AssayError `INVALID_REQUEST` for a URL that is not `https:` (WIT-SVID §7.3) or a lifetime out of its bounds;
   * as {@link witSvid} where there is none.
   */
  present(wanted: ProofWanted): WitHeaders {
    const { lifetimeSeconds = DEFAULT_LIFETIME } = wanted;
    if (!(lifetimeSeconds >= 1 && lifetimeSeconds <= MAX_LIFETIME)) {
      throw new AssayError("INVALID_REQUEST", `lifetimeSeconds must lie between 1 and ${MAX_LIFETIME}`);
    }
    const audience = audienceOf(wanted.url);
    const hasPick = wanted.spiffeId !== undefined || wanted.hint !== undefined;
    const svid = this.witSvid(hasPick ? wanted : this.#pick);
    const proof = signWorkloadProof(svid.token, svid, {
      audience,
      expiresAt: unixSeconds(this.api.clock) + Math.floor(lifetimeSeconds),
      id: randomUUID(),
    });
    return { [WIT_HEADER]: svid.token, [PROOF_HEADER]: proof };
  }
}

/**
 * Opens a source and waits for its first WIT-SVIDs.
 * @throws AssayError as `openX509Source`; `UNIMPLEMENTED` at once where the Workload API has no WIT profile (§7).
 */
export async function openWitSource(options: WitSourceOptions = {}): Promise<WitSource> {
  return openSource(new WitSource(options), options);
}

/** What a proof names: the URL without query and fragment. */
function audienceOf(text: string | URL): string {
  let url: URL;
  try {
    url = new URL(text);
  } catch (cause) {
    throw new AssayError("INVALID_REQUEST", "url must be an absolute URL", { cause });
  }
  if (url.protocol !== "https:") {
    throw new AssayError("INVALID_REQUEST", "url must be https: a WIT-SVID travels on a secure channel only");
  }
  return `${url.origin}${url.pathname}`;
}

const DEFAULT_LIFETIME = 30;
const MAX_LIFETIME = 300;
