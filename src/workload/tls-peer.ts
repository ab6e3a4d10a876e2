import type { DetailedPeerCertificate, TLSSocket } from "node:tls";
import { type Clock, systemClock } from "../clock.ts";
import type { SpiffeId } from "../spiffe/id.ts";
import { peerChain } from "../tls/peer-chain.ts";
import { type Authorizer, requireAuthorized } from "./authorize.ts";
import type { X509BundleSource } from "./bundles.ts";
import { validateX509Svid } from "./validate.ts";

/** How peers are judged. */
export interface PeerPolicy {
  /** Who may be at the other end. There is no default: whoever wants everybody says so. */
  readonly authorize: Authorizer;
  /** Whom to believe; where the own X509-SVID comes from, unless given. */
  readonly bundles?: X509BundleSource;
  /** The machine's clock unless given. */
  readonly clock?: Clock;
}

/** A peer of a TLS connection that has proved its X509-SVID and was let in. */
export interface TlsPeer {
  readonly spiffeId: SpiffeId;
  /** End of the X509-SVID that it showed, Unix seconds. The connection may live longer. */
  readonly notAfter: number;
}

/**
 * Validates the chain that a peer showed with the bundle of its own trust domain, then asks the authorizer.
 * @throws AssayError `INVALID_CERTIFICATE`, `BUNDLE_NOT_FOUND`, `PEER_REFUSED`.
 */
export function judgePeer(
  certificate: Partial<DetailedPeerCertificate>,
  role: "client" | "server",
  bundles: X509BundleSource,
  { authorize, clock = systemClock }: PeerPolicy,
): TlsPeer {
  const { spiffeId, notAfter } = validateX509Svid(peerChain(certificate), bundles, { role, clock });
  requireAuthorized(authorize, spiffeId);
  return { spiffeId, notAfter };
}

/** Writes down on a connection who its peer is. Only for those who have judged it. */
export function markPeer(socket: TLSSocket, peer: TlsPeer): void {
  Object.defineProperty(socket, PEER, { value: Object.freeze({ ...peer }), configurable: true });
}

/**
 * Who is at the other end of a connection that this package has let in, `undefined` for every other connection. Takes
 * what Node hands to request handlers as `request.socket`, of HTTP/2 too.
 */
export function peerOf(socket: object): TlsPeer | undefined {
  return (socket as { readonly [PEER]?: TlsPeer })[PEER];
}

const PEER = Symbol("assay.tls-peer");
