import type { JwtAuthorityKey, X509AuthorityCertificate } from "../spiffe/bundle.ts";
import type { ConfigSchema } from "./config-schema.ts";
import type { PluginHost } from "./host.ts";

/**
 * Has the X.509 authorities of a trust domain signed by an authority outside of it, so that relying parties trust the
 * outer root and need not learn each of ours.
 */
export interface UpstreamAuthorityPlugin<Config = unknown> {
  readonly kind: "upstreamAuthority";
  readonly apiVersion: 1;
  readonly name: string;
  readonly config: ConfigSchema<Config>;
  create(config: Config, host: PluginHost): UpstreamAuthority | Promise<UpstreamAuthority>;
}

/** An upstream authority at work. What it answers is checked by its caller and never trusted to fit the question. */
export interface UpstreamAuthority extends AsyncDisposable {
  /**
   * Has a certificate of a CA made for the key of a signing request.
   * @throws AssayError `UPSTREAM_UNAVAILABLE` where it cannot be reached or does not answer in time, `UPSTREAM_REFUSED` where it
   * says no or its answer cannot be read.
   */
  mintX509Ca(order: UpstreamX509CaOrder): Promise<UpstreamX509Ca>;
  /**
   * Publishes a JWT authority's public key in the bundle upstream, so that workloads elsewhere below it can validate our
   * JWT-SVIDs. Absent where there is no such bundle.
   * @returns every JWT authority that the bundle upstream now holds.
   * @throws AssayError as `mintX509Ca`.
   */
  publishJwtKey?(key: JwtAuthorityKey, signal: AbortSignal): Promise<readonly JwtAuthorityKey[]>;
  /**
   * Tells of what is trusted upstream whenever it may have changed, until disposed. Absent where only `mintX509Ca` tells.
   * A listener must not throw.
   */
  watch?(listener: (trust: UpstreamTrust) => void): Disposable;
}

/** A CA certificate that is wanted. */
export interface UpstreamX509CaOrder {
  /** DER PKCS#10, signed by the key of the new authority, with the trust domain as its only URI name (X509-SVID §3.2). */
  readonly csr: Uint8Array;
  /** Wanted lifetime in seconds, at least 1; the upstream may give less. */
  readonly ttl: number;
  /** Ends the wait. */
  readonly signal: AbortSignal;
}

/** A CA certificate that was made. */
export interface UpstreamX509Ca {
  /** DER: the new authority's certificate and what is between it and a root, in signing order, without the root. At least one. */
  readonly chain: readonly Uint8Array[];
  /** The roots upstream, at least one. */
  readonly roots: readonly X509AuthorityCertificate[];
}

/** What is trusted upstream. */
export interface UpstreamTrust {
  readonly roots: readonly X509AuthorityCertificate[];
  /** The JWT authorities of the bundle upstream, where there is one. */
  readonly jwtKeys?: readonly JwtAuthorityKey[];
}

/** Marks an object as an upstream authority plugin and checks its type where it is written. */
export function defineUpstreamAuthority<Config>(
  plugin: UpstreamAuthorityPlugin<Config>,
): UpstreamAuthorityPlugin<Config> {
  return plugin;
}
