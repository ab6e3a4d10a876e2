import { AssayError } from "../../errors/assay-error.ts";
import type { WorkloadEntry } from "../../issuance/workload/workload-entry.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import { trustDomainUri } from "../../spiffe/trust-domain.ts";
import type { SignedX509Svid } from "../cache/x509-signing.ts";
import type { Validation } from "./envoy-node.ts";
import type { SdsSettings } from "./sds-settings.ts";
import { readSecretName } from "./secret-name.ts";
import type { Secret, SecretWriter } from "./secret-writer.ts";

/** What a caller is entitled to at one moment. */
export interface CallerState {
  /** What it has earned, in the order of an answer; the first is its default identity. */
  readonly entries: readonly WorkloadEntry[];
  /** Bundles that it may have, the own trust domain's first; empty where it may have none. */
  readonly bundles: readonly SpiffeBundle[];
  /** The X509-SVID at hand for an entry. */
  readonly svidOf: (entry: WorkloadEntry) => SignedX509Svid | undefined;
}

/**
 * What stands behind a name: a secret; `awaited` where the caller is entitled to it and it is on its way; `absent` where
 * there is none for this caller, whether or not there is one for others.
 */
export type Found = Secret | "awaited" | "absent";

/** Finds a caller's secrets by name at one moment, and remembers what was asked. */
export class SecretFinder {
  /** Entries whose X509-SVIDs were asked for. */
  readonly wanted = new Set<WorkloadEntry>();
  /** Names that were asked for and not found, with what was found instead. */
  readonly missing = new Map<string, "awaited" | "absent">();
  readonly #state: CallerState;
  readonly #writer: SecretWriter;
  readonly #settings: SdsSettings;
  readonly #validation: Validation;

  constructor(state: CallerState, writer: SecretWriter, settings: SdsSettings, validation: Validation) {
    this.#state = state;
    this.#writer = writer;
    this.#settings = settings;
    this.#validation = validation;
  }

  /** What a name stands for. @throws AssayError `INVALID_REQUEST` for all bundles without the SPIFFE validator. */
  find(name: string): Found {
    const found = this.#find(name);
    if (typeof found === "string") this.missing.set(name, found);
    return found;
  }

  /** The names of everything that the caller may see, each once: its identities and its bundles. */
  names(): readonly string[] {
    const { entries, bundles } = this.#state;
    const ids = entries.map(({ spiffeId }) => spiffeId);
    return [...new Set([...ids, ...bundles.map(({ trustDomain }) => trustDomainUri(trustDomain))])];
  }

  #find(name: string): Found {
    const { entries, bundles } = this.#state;
    const wanted = readSecretName(name, this.#settings);
    switch (wanted.kind) {
      case "default_svid":
        return this.#svid(name, entries[0]);
      case "svid":
        return this.#svid(
          name,
          entries.find(({ spiffeId }) => spiffeId === wanted.spiffeId),
        );
      case "own_bundle":
        return this.#bundle(name, bundles[0]);
      case "bundle":
        return this.#bundle(
          name,
          bundles.find(({ trustDomain }) => trustDomain === wanted.trustDomain),
        );
      case "all_bundles":
        return this.#allBundles(name);
      case "unknown":
        return "absent";
    }
  }

  #svid(name: string, entry: WorkloadEntry | undefined): Found {
    if (entry === undefined) return "absent";
    this.wanted.add(entry);
    const svid = this.#state.svidOf(entry);
    return svid?.spiffeId === entry.spiffeId ? this.#writer.svid(name, { entry, svid }) : "awaited";
  }

  #bundle(name: string, bundle: SpiffeBundle | undefined): Found {
    if (bundle === undefined) return "absent";
    if (bundle.x509Authorities.length > 0) return this.#writer.roots(name, [bundle], this.#validation);
    // The own bundle is empty only until the server was heard; a foreign one that is empty says to trust nobody.
    return bundle === this.#state.bundles[0] ? "awaited" : "absent";
  }

  #allBundles(name: string): Found {
    if (this.#validation === "plain") {
      // One pool of everyone's CA certificates would let each trust domain speak for all others (SPIFFE-ID §2.1).
      throw new AssayError(
        "INVALID_REQUEST",
        `secret ${name} needs Envoy's SPIFFE validator, which is disabled or not known to this Envoy`,
      );
    }
    const [own] = this.#state.bundles;
    if (own === undefined) return "absent";
    if (own.x509Authorities.length === 0) return "awaited";
    const trusted = this.#state.bundles.filter(({ x509Authorities }) => x509Authorities.length > 0);
    return this.#writer.roots(name, trusted, this.#validation);
  }
}
