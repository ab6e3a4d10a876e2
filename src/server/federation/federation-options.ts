import type { AddressBlock } from "../../outbound/address-rules.ts";
import type { SpiffeId } from "../../spiffe/id.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";

/** Everything an operator decides about federation. Paths are absolute. */
export interface FederationOptions {
  /** Where the own bundle is served to foreign trust domains; nowhere where absent. */
  readonly bundleEndpoint?: BundleEndpointOptions | undefined;
  /** Relationships that are configured; each stands in place of a stored one with the same trust domain. */
  readonly federatesWith: readonly ConfiguredRelationship[];
  /** PEM file of CAs that endpoints of the profile `https_web` may chain to, beside the public ones. */
  readonly trustedCaFile?: string | undefined;
  /** Addresses that may be connected to beside public ones. */
  readonly allowedAddresses: readonly AddressBlock[];
  readonly followRedirects: boolean;
}

/** A relationship as it is configured. */
export interface ConfiguredRelationship {
  readonly trustDomain: TrustDomain;
  readonly bundleEndpointUrl: string;
  readonly bundleEndpointProfile: "https_web" | "https_spiffe";
  readonly endpointSpiffeId?: SpiffeId | undefined;
  /** File of a bundle to begin with, SPIFFE JSON or PEM; read only while the store has none of the trust domain. */
  readonly bundleFile?: string | undefined;
}

/** How the own bundle is served. */
export interface BundleEndpointOptions {
  readonly listen: { readonly host: string; readonly port: number };
  readonly profile: "https_web" | "https_spiffe";
  /** Seconds that consumers are told to wait between refreshes. */
  readonly refreshHint: number;
  /** PEM files of `https_web`, read again when they change. */
  readonly certificateFile?: string | undefined;
  readonly keyFile?: string | undefined;
  /** Where `https_web` gets its certificate without files. */
  readonly acme?: AcmeOptions | undefined;
}

/** How a certificate is had by ACME (RFC 8555). */
export interface AcmeOptions {
  /** DNS names of the certificate. */
  readonly domains: readonly string[];
  readonly email?: string | undefined;
  /** The terms of service of the CA have been read and agreed to. */
  readonly tosAccepted: boolean;
  readonly directoryUrl: string;
  /** PEM file of CAs that the directory's own certificate may chain to, beside the public ones. */
  readonly directoryCaFile?: string | undefined;
}

/** What holds where nothing is configured: no endpoint, stored relationships only, public addresses only. */
export const NO_FEDERATION: FederationOptions = {
  federatesWith: [],
  allowedAddresses: [],
  followRedirects: true,
};
