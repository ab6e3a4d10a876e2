import type { TrustDomain } from "./trust-domain.ts";

/** A certificate that X509-SVIDs of the trust domain chain to (X509-SVID §6). */
export interface X509AuthorityCertificate {
  /** DER of one certificate. */
  readonly certificate: Uint8Array;
  /** Whether the authority is tainted: still trusted, but its SVIDs are to be replaced. Never leaves in a document. */
  readonly tainted: boolean;
}

/** A public key that JWT-SVIDs of the trust domain are signed with (JWT-SVID §6). */
export interface JwtAuthorityKey {
  /** The `kid` of its tokens, unique in the bundle. */
  readonly keyId: string;
  /** DER SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array;
  /** Unix seconds after which no token of this key is valid, 0 where unknown. */
  readonly expiresAt: number;
  readonly tainted: boolean;
}

/** A public key that WIT-SVIDs of the trust domain are signed with (WIT-SVID §6). */
export interface WitAuthorityKey {
  /** The `kid` of its tokens, unique among all keys of the bundle (WIT-SVID §6.1). */
  readonly keyId: string;
  /** DER SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array;
  /** Unix seconds after which no token of this key is valid, 0 where unknown. */
  readonly expiresAt: number;
  readonly tainted: boolean;
}

/** A SPIFFE bundle as parsed: what a party needs to trust a trust domain (Trust Domain and Bundle §4). */
export interface SpiffeBundle {
  readonly trustDomain: TrustDomain;
  /** Grows with every change of content (§4.1.1). */
  readonly sequence: bigint;
  /** Seconds a consumer should wait between refreshes, 0 where the publisher says nothing (§4.1.2). */
  readonly refreshHint: number;
  readonly x509Authorities: readonly X509AuthorityCertificate[];
  readonly jwtAuthorities: readonly JwtAuthorityKey[];
  /** Empty unless the trust domain issues WIT-SVIDs. */
  readonly witAuthorities: readonly WitAuthorityKey[];
}

/** A bundle with no authority at all: every SVID of the trust domain is untrusted (§4.1.3). */
export function emptyBundle(trustDomain: TrustDomain): SpiffeBundle {
  return {
    trustDomain,
    sequence: 0n,
    refreshHint: 0,
    x509Authorities: [],
    jwtAuthorities: [],
    witAuthorities: [],
  };
}

/**
 * The bundle of one's own trust domain before its first authority: others are told to fetch it every five minutes
 * (Trust Domain and Bundle §4.1.2, §6.1).
 */
export function firstBundle(trustDomain: TrustDomain): SpiffeBundle {
  return { ...emptyBundle(trustDomain), refreshHint: REFRESH_HINT_SECONDS };
}

/** All X.509 authorities as back-to-back DER, the form of the Workload API (Workload API §5.2.1). */
export function concatenatedX509Authorities(bundle: SpiffeBundle): Uint8Array {
  return Buffer.concat(bundle.x509Authorities.map((authority) => authority.certificate));
}

const REFRESH_HINT_SECONDS = 300;
