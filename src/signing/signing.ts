/**
 * signing/ — the authorities of a trust domain and everything that is signed with them; it mints what it is told to.
 *
 * Must never know who asks or why: no evidence, selectors, registration entries, policy or network.
 * Called by issuance for SVIDs, and by the server's composition for bundles and authorities.
 */
import type { RevokedCertificate } from "../crypto/crl-writer.ts";
import type { ActClaim, Confirmation, StatusReference } from "../crypto/jose/access-token.ts";
import type { ExtraClaims } from "../crypto/jose/extra-claims.ts";
import type { SvidAlgorithm } from "../crypto/jose/svid-algorithms.ts";
import type { DistinguishedName } from "../crypto/x501-name.ts";
import type { Audience } from "../spiffe/audience.ts";
import type { JwtAuthorityKey, SpiffeBundle, WitAuthorityKey } from "../spiffe/bundle.ts";
import type { SpiffeId } from "../spiffe/id.ts";
import type { AuthorityKind, AuthorityRecord } from "../store/records.ts";
import type { SignatureWaiter } from "./bounded-sign.ts";
import type { BundleAdditions } from "./bundle-edit.ts";

/** Signing at work for one trust domain and one server. */
export interface Signing extends AsyncDisposable {
  /** End of the active X.509 authority in Unix seconds. @throws AssayError `AUTHORITY_EXPIRED`. */
  x509AuthorityNotAfter(): number;
  /**
   * End of the active JWT authority, or of the one with RS256 where there is a second one, in Unix seconds.
   * @throws AssayError `AUTHORITY_EXPIRED`.
   */
  jwtAuthorityNotAfter(algorithm?: "RS256"): number;
  /**
   * End of the active WIT authority in Unix seconds.
   * @throws AssayError `AUTHORITY_EXPIRED`, `UNIMPLEMENTED` where WIT-SVIDs are switched off.
   */
  witAuthorityNotAfter(): number;
  /**
   * Builds an X509-SVID's TBSCertificate and reads the bytes back with the independent reader against the profile
   * (X509-SVID §2 to §4), RFC 5280 and the order.
   * @throws AssayError `CERTIFICATE_LINT_FAILED` naming the first rule broken, `AUTHORITY_EXPIRED`, `INVALID_CSR` for
   * a key that no SVID may have.
   */
  prepareX509Svid(order: X509SvidOrder): PreparedX509Svid;
  /**
   * Signs what `prepareX509Svid` returned, once, whether or not the signing succeeds.
   * @param waiter Whoever wants it: what waits for a remote key is not signed any more once it has gone.
   * @throws AssayError `INTERNAL` for anything else or a second time, `KEY_UNAVAILABLE`, the reason of the waiter's signal.
   */
  signX509Svid(prepared: PreparedX509Svid, waiter?: SignatureWaiter): Promise<IssuedX509Svid>;
  /**
   * Builds the signing input of a JWT-SVID and reads the bytes back with the independent reader against the profile
   * (JWT-SVID §2, §3) and the order.
   * @throws AssayError `CERTIFICATE_LINT_FAILED` naming the first rule broken, `AUTHORITY_EXPIRED`, `INVALID_AUDIENCE`
   * without an audience, `INTERNAL` for further claims that cannot be.
   */
  prepareJwtSvid(order: JwtSvidOrder): PreparedJwtSvid;
  /**
   * Signs what `prepareJwtSvid` returned, once, whether or not the signing succeeds.
   * @throws AssayError `INTERNAL` for anything else or a second time, `KEY_UNAVAILABLE`, the reason of the waiter's signal.
   */
  signJwtSvid(prepared: PreparedJwtSvid, waiter?: SignatureWaiter): Promise<IssuedJwtSvid>;
  /**
   * Builds the signing input of a WIT-SVID and reads the bytes back with the independent reader against the profile
   * (WIT-SVID §2 to §4) and the order.
   * @throws AssayError `CERTIFICATE_LINT_FAILED` naming the first rule broken, `AUTHORITY_EXPIRED`, `UNIMPLEMENTED`
   * where WIT-SVIDs are switched off.
   */
  prepareWitSvid(order: WitSvidOrder): PreparedWitSvid;
  /**
   * Signs what `prepareWitSvid` returned, once, whether or not the signing succeeds.
   * @throws AssayError `INTERNAL` for anything else or a second time, `KEY_UNAVAILABLE`, the reason of the waiter's signal.
   */
  signWitSvid(prepared: PreparedWitSvid, waiter?: SignatureWaiter): Promise<IssuedWitSvid>;
  /**
   * Builds the signing input of an access token (RFC 9068), reads the bytes back as the others do, and signs them by the
   * JWT authority.
   * @throws AssayError `CERTIFICATE_LINT_FAILED` naming the first rule broken, `AUTHORITY_EXPIRED`, `KEY_UNAVAILABLE`,
   * `PRECONDITION_FAILED` where no issuer is configured, `INTERNAL` for further claims that cannot be.
   */
  mintAccessToken(order: AccessTokenOrder): Promise<IssuedToken>;
  /**
   * Builds a status list token (Token Status List §5.1), reads it back as the others do, and signs it by the JWT authority.
   * @throws AssayError `CERTIFICATE_LINT_FAILED` naming the first rule broken, `AUTHORITY_EXPIRED`, `KEY_UNAVAILABLE`.
   */
  signStatusList(order: StatusListOrder): Promise<string>;
  /**
   * Builds a CRL of an X.509 authority of any state but revoked, reads the bytes back with the reader of everybody's lists
   * against RFC 5280 §5 and the order, signs them and verifies the signature. Gives it in DER.
   * @throws AssayError `AUTHORITY_NOT_FOUND` where this server does not hold the authority's key (any longer),
   * `CERTIFICATE_LINT_FAILED` naming the first rule broken, `KEY_UNAVAILABLE`.
   */
  signCrl(order: CrlOrder): Promise<Uint8Array>;
  /**
   * Builds the TBSCertificate of the X.509 authority of a server below this one and reads it back against X509-SVID §3.2 to
   * §4.4, RFC 5280 and the order.
   * @throws AssayError `CERTIFICATE_LINT_FAILED` naming the first rule broken, `AUTHORITY_EXPIRED`, `INVALID_CSR` for a key
   * that no authority may have, `PRECONDITION_FAILED` where who signed our own authority allows none below it.
   */
  prepareDownstreamCa(order: DownstreamCaOrder): PreparedDownstreamCa;
  /**
   * Signs what `prepareDownstreamCa` returned, once, whether or not the signing succeeds.
   * @throws AssayError `INTERNAL` for anything else or a second time, `KEY_UNAVAILABLE`.
   */
  signDownstreamCa(prepared: PreparedDownstreamCa): Promise<IssuedDownstreamCa>;
  /**
   * Publishes a JWT authority of a server below this one: upstream where there is an upstream that publishes, else in the own
   * bundle. Gives all JWT authorities of the trust domain.
   * @throws AssayError `INVALID_BUNDLE`, `PRECONDITION_FAILED` where there are too many or it was revoked here, `UPSTREAM_UNAVAILABLE`,
   * `UPSTREAM_REFUSED`, `STORE_UNAVAILABLE`.
   */
  publishJwtAuthority(key: JwtAuthorityKey): Promise<readonly JwtAuthorityKey[]>;
  /**
   * Publishes a WIT authority of a server below this one in the own bundle. Gives all WIT authorities of the trust domain.
   * @throws AssayError `INVALID_BUNDLE`, `PRECONDITION_FAILED` where there are too many or it was revoked here, `STORE_UNAVAILABLE`.
   */
  publishWitAuthority(key: WitAuthorityKey): Promise<readonly WitAuthorityKey[]>;
  /** The own bundle now; its refresh hint is not longer than `longestRefreshHint`. */
  bundle(): SpiffeBundle;
  /**
   * How long others may be told to wait between two looks at the own bundle, in whole seconds from 1: whoever keeps to it has every
   * successor before it signs.
   */
  longestRefreshHint(): number;
  /** Calls the listener with every newer own bundle, whoever wrote it. A listener must not throw. */
  onBundleChange(listener: (bundle: SpiffeBundle) => void): Disposable;
  /** Adds authorities from outside to the own bundle. @throws AssayError `INVALID_BUNDLE`, `STORE_UNAVAILABLE`. */
  appendToBundle(additions: BundleAdditions): Promise<SpiffeBundle>;
  /** This server's authorities of all states. */
  authorities(): readonly AuthorityRecord[];
  /** The authorities of a kind that an operator moves. @throws AssayError `UNIMPLEMENTED` for a kind that is off. */
  authorityStates(kind: AuthorityKind): AuthorityStates;
  /**
   * Makes and publishes the next authority. Where there is a second JWT authority with RS256, its next one too.
   * @throws AssayError `KEY_UNAVAILABLE`, `STORE_UNAVAILABLE`, `UNIMPLEMENTED` for a kind that is off.
   */
  prepareAuthority(kind: AuthorityKind): Promise<AuthorityRecord>;
  /**
   * Lets the prepared authority sign; with the JWT authority the prepared one with RS256 too, if there is one.
   * @throws AssayError `AUTHORITY_NOT_FOUND`, `STORE_UNAVAILABLE`, `UNIMPLEMENTED` for a kind that is off.
   */
  activateAuthority(kind: AuthorityKind, id?: string): Promise<AuthorityRecord>;
  /**
   * Marks an old authority in the bundle: it is still trusted, and what it signed is to be replaced.
   * @throws AssayError `AUTHORITY_NOT_FOUND`, `PRECONDITION_FAILED` for one that is not old or was signed upstream,
   * `STORE_UNAVAILABLE`, `UNIMPLEMENTED` for a kind that is off.
   */
  taintAuthority(kind: AuthorityKind, id: string): Promise<AuthorityRecord>;
  /**
   * Takes a tainted authority out of the bundle and destroys its private key.
   * @throws AssayError `AUTHORITY_NOT_FOUND`, `PRECONDITION_FAILED` for one that is not tainted, `KEY_UNAVAILABLE`,
   * `STORE_UNAVAILABLE`, `UNIMPLEMENTED` for a kind that is off.
   */
  revokeAuthority(kind: AuthorityKind, id: string): Promise<AuthorityRecord>;
  /** The root upstream that an authority chains to: a subject key identifier in hex; `undefined` if it signed itself. */
  upstreamIdOf(authority: AuthorityRecord): string | undefined;
  /** Whether our X.509 authorities are signed upstream, and what could not be done there when last tried. */
  upstream(): UpstreamState;
  /**
   * Marks a root upstream: it is still trusted, and what chains to it is to be replaced.
   * @param subjectKeyId In lower-case hex.
   * @throws AssayError `AUTHORITY_NOT_FOUND`, `PRECONDITION_FAILED` for one that an active or prepared authority chains to,
   * or that is revoked, `STORE_UNAVAILABLE`.
   */
  taintUpstreamAuthority(subjectKeyId: string): Promise<UpstreamRoot>;
  /**
   * Takes a tainted root upstream out of the bundle; it stays out, though it be listed upstream.
   * @throws AssayError `AUTHORITY_NOT_FOUND`, `PRECONDITION_FAILED` for one that is not tainted, or in use, `STORE_UNAVAILABLE`.
   */
  revokeUpstreamAuthority(subjectKeyId: string): Promise<UpstreamRoot>;
  /**
   * Prepares, activates and forgets authorities as their lives ask for; also done by itself every ten seconds, and
   * more often where an authority lives for less than four minutes.
   * @throws AssayError as `prepareAuthority`.
   */
  keepUp(): Promise<void>;
}

/** The authority that signs, the one that will, and the newest one that did: old or tainted, and not revoked. */
export type AuthorityStates = Readonly<Partial<Record<"active" | "prepared" | "old", AuthorityRecord>>>;

/** The X.509 authority of a server below, as it was decided elsewhere. */
export interface DownstreamCaOrder {
  /** SubjectPublicKeyInfo of a key whose possession was proved. */
  readonly publicKey: Uint8Array;
  /** Lifetime from now on in seconds, at least 1; the authority's own end caps it. */
  readonly ttl: number;
}

/** One that has passed the lint and may be signed once. Only `prepareDownstreamCa` makes one that can be. */
export type PreparedDownstreamCa = Omit<PreparedX509Svid, "spiffeId">;

/** The certificate of a CA below, signed. */
export interface IssuedDownstreamCa extends PreparedDownstreamCa {
  /** DER: the CA's own certificate and what is between it and a root of the bundle, without the root. */
  readonly chain: readonly Uint8Array[];
}

/** How it stands with the upstream authority. */
export interface UpstreamState {
  readonly isConfigured: boolean;
  /** Whether roots upstream are known, though it be configured no longer. */
  readonly hasRoots: boolean;
  /** What failed when it was last tried; it is tried again. */
  readonly failing: readonly string[];
}

/** A root upstream. */
export interface UpstreamRoot {
  /** Its subject key identifier in hex. */
  readonly id: string;
  /** Unix seconds. */
  readonly notAfter: number;
}

/** An X509-SVID to be made, as it was decided elsewhere. */
export interface X509SvidOrder {
  readonly spiffeId: SpiffeId;
  /** SubjectPublicKeyInfo of a key whose possession was proved. */
  readonly publicKey: Uint8Array;
  /** DNS SANs; the first is also the common name unless `subject` is given. */
  readonly dnsNames: readonly string[];
  /** Lifetime from now on in seconds, at least 1; the authority's own end caps it. */
  readonly ttl: number;
  /** Subject in place of the configured one. */
  readonly subject?: DistinguishedName;
}

/** An X509-SVID that has passed the lint and may be signed once. Only `prepareX509Svid` makes one that can be. */
export interface PreparedX509Svid {
  readonly spiffeId: SpiffeId;
  /** Serial number in lower-case hex without leading zero octets. */
  readonly serial: string;
  /** Unix seconds. */
  readonly notBefore: number;
  /** Unix seconds. */
  readonly notAfter: number;
  /** The X.509 authority that will sign. */
  readonly authorityId: string;
}

/** A signed X509-SVID without its private key, which never was here. */
export interface IssuedX509Svid extends PreparedX509Svid {
  /** DER of the leaf. */
  readonly certificate: Uint8Array;
  /** DER of leaf and intermediates in signing order, without the root. */
  readonly chain: readonly Uint8Array[];
}

/** A JWT-SVID to be made, as it was decided elsewhere. */
export interface JwtSvidOrder {
  readonly spiffeId: SpiffeId;
  readonly audiences: readonly Audience[];
  /** Lifetime from now on in seconds, at least 1; the authority's own end caps it. */
  readonly ttl: number;
  /** Whether the token carries a `jti`. */
  readonly includeJti: boolean;
  /** Asked for where the relying parties know nothing else; the JWT authority's own otherwise. */
  readonly algorithm?: "RS256";
  /** Claims besides those of the profile, none of which they can replace. */
  readonly claims?: ExtraClaims;
}

/** A JWT-SVID that has passed the lint and may be signed once. Only `prepareJwtSvid` makes one that can be. */
export interface PreparedJwtSvid {
  readonly spiffeId: SpiffeId;
  /** The JWT authority that will sign; the `kid` of the token. */
  readonly keyId: string;
  /**
   * By which this one token can be traced: its `jti` where it has one, else the SHA-256 of its signing input in
   * lower-case hex. Says nothing that would help to use the token.
   */
  readonly tokenId: string;
  readonly jti?: string;
  /** Unix seconds. */
  readonly issuedAt: number;
  /** Unix seconds. */
  readonly expiresAt: number;
}

/** A signed JWT-SVID. */
export interface IssuedJwtSvid extends PreparedJwtSvid {
  /** JWS compact serialisation. A bearer secret: never logged. */
  readonly token: string;
}

/** A WIT-SVID to be made, as it was decided elsewhere. */
export interface WitSvidOrder {
  readonly spiffeId: SpiffeId;
  /** DER SubjectPublicKeyInfo of the key that it is bound to. */
  readonly publicKey: Uint8Array;
  /** The algorithm by which the holder signs with that key; must fit it. */
  readonly keyAlgorithm: SvidAlgorithm;
  /** Lifetime from now on in seconds, at least 1; the authority's own end caps it. */
  readonly ttl: number;
}

/** A WIT-SVID that has passed the lint and may be signed once. Only `prepareWitSvid` makes one that can be. */
export interface PreparedWitSvid {
  readonly spiffeId: SpiffeId;
  /** The WIT authority that will sign; the `kid` of the token. */
  readonly keyId: string;
  readonly jti: string;
  /** Unix seconds. */
  readonly issuedAt: number;
  /** Unix seconds. */
  readonly expiresAt: number;
}

/** A signed WIT-SVID without its private key, which never was here. */
export interface IssuedWitSvid extends PreparedWitSvid {
  /** JWS compact serialisation. Worth nothing without the private key, and yet not for everybody's eyes. */
  readonly token: string;
}

/** An access token to be made, as it was decided elsewhere. */
export interface AccessTokenOrder {
  readonly subject: string;
  readonly clientId: string;
  /** The one resource that it is for. */
  readonly audience: string;
  /** Scopes with single spaces between them. */
  readonly scope?: string;
  /** Lifetime from now on in seconds, at least 1; the authority's own end caps it. */
  readonly ttl: number;
  /** Identifier of this one token, unguessable. */
  readonly jti: string;
  /** Whose possession the bearer must prove; `undefined` for a bearer token. */
  readonly confirmation: Confirmation | undefined;
  /** Its place in a status list. */
  readonly status?: StatusReference;
  /** Who acts for the subject. */
  readonly act?: ActClaim;
  /** Claims besides those of the profile, none of which they can replace. */
  readonly extra?: ExtraClaims;
  /** Asked for where the resource knows nothing else; the JWT authority's own otherwise. */
  readonly algorithm?: "RS256";
}

/** A signed access token. */
export interface IssuedToken {
  /** JWS compact serialisation. Never logged. */
  readonly token: string;
  readonly jti: string;
  /** The JWT authority that signed; the `kid` of the token. */
  readonly keyId: string;
  /** Unix seconds. */
  readonly issuedAt: number;
  /** Unix seconds. */
  readonly expiresAt: number;
}

/** A status list to be signed. */
export interface StatusListOrder {
  /** URI that tokens name. */
  readonly uri: string;
  readonly bits: 1;
  /** One bit for each place, the first in the least significant of the first octet, 1 for revoked; at most 1 MiB. */
  readonly list: Uint8Array;
  /** How long it may be kept, in seconds, at least 1. */
  readonly ttl: number;
  /** Unix seconds; the authority's own end caps it. */
  readonly expiresAt: number;
}

/** A CRL to be signed. Times in Unix seconds. */
export interface CrlOrder {
  /** The X.509 authority whose certificates these are. */
  readonly authorityId: string;
  /** Each once. */
  readonly revoked: readonly RevokedCertificate[];
  /** Larger than that of every list of the authority before. */
  readonly number: bigint;
  readonly thisUpdate: number;
  readonly nextUpdate: number;
}
