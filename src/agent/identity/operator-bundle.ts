import { createHash } from "node:crypto";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";

/**
 * The bundle that the operator gave for the first start, which may be given anew: the word of last resort where no server
 * is believed by what servers have told. It counts only where it was changed after a server was last heard: what lay there
 * before is older than the server's word, and may name an authority that was revoked since.
 */
export class OperatorBundle {
  readonly #read: (() => Promise<SpiffeBundle>) | undefined;
  #seen: string | undefined;

  /** `read` is absent where the operator gives none; `seen` is what was remembered of an earlier run. */
  constructor(read: (() => Promise<SpiffeBundle>) | undefined, seen: string | undefined) {
    this.#read = read;
    this.#seen = seen;
  }

  /** The digest of what the operator gave when a server was last heard; `undefined` where that is not known. */
  get seen(): string | undefined {
    return this.#seen;
  }

  /** Remembers what the operator gives at this time; true where that was not known. A file that cannot be read says nothing. */
  async note(): Promise<boolean> {
    const bundle = await this.#now();
    if (bundle === undefined) return false;
    const digest = bundleDigest(bundle);
    if (digest === this.#seen) return false;
    this.#seen = digest;
    return true;
  }

  /** What the operator gives, where that was changed since and is no older edition than the known bundle. */
  async news(known: SpiffeBundle): Promise<SpiffeBundle | undefined> {
    if (this.#seen === undefined) return undefined;
    const bundle = await this.#now();
    if (bundle === undefined || bundleDigest(bundle) === this.#seen) return undefined;
    // PEM has no sequence.
    return bundle.sequence > 0n && bundle.sequence < known.sequence ? undefined : bundle;
  }

  async #now(): Promise<SpiffeBundle | undefined> {
    try {
      return await this.#read?.();
    } catch {
      return undefined;
    }
  }
}

/** A digest, in hex, of the X.509 authorities that servers are believed by. */
export function bundleDigest({ x509Authorities }: SpiffeBundle): string {
  const hash = createHash("sha256");
  for (const { certificate } of x509Authorities) hash.update(certificate);
  return hash.digest("hex");
}
