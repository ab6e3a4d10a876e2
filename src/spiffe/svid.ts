import type { SpiffeId } from "./id.ts";

/** An X509-SVID as it is served: chain and key belong together (X509-SVID §2, Workload API §5.2.1). */
export interface X509Svid {
  readonly spiffeId: SpiffeId;
  /** DER certificates, leaf first, then intermediates in signing order; the root is left out. */
  readonly chain: readonly Uint8Array[];
  /** PKCS#8 DER of the leaf's private key. */
  readonly privateKey: Uint8Array;
  /** Unix seconds. */
  readonly notBefore: number;
  /** Unix seconds. */
  readonly notAfter: number;
  /** Lower-case hex of the leaf's serial number. */
  readonly serial: string;
}

/** A JWT-SVID as it is served (JWT-SVID §3). */
export interface JwtSvid {
  readonly spiffeId: SpiffeId;
  /** JWS compact serialisation. A bearer secret: never logged. */
  readonly token: string;
  /** Unix seconds. */
  readonly issuedAt: number;
  /** Unix seconds. */
  readonly expiresAt: number;
}

/** A WIT-SVID with the key that it is bound to (WIT-SVID §3, §4). */
export interface WitSvid {
  readonly spiffeId: SpiffeId;
  /** JWS compact serialisation. Worth nothing without a proof of possession of the key. */
  readonly token: string;
  /** The `kid` of its header: the WIT authority that signed. */
  readonly keyId: string;
  readonly jti?: string;
  /** Unix seconds. */
  readonly expiresAt: number;
  /** The private key as the text of a JWK (RFC 7517), `alg` included. Secret. */
  readonly privateJwk: string;
}
