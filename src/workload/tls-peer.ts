import type { DetailedPeerCertificate, TLSSocket } from "node:tls";
import { type Clock, systemClock, unixSeconds } from "../clock.ts";
import { readCertificate } from "../crypto/certificate-reader.ts";
import { AssayError } from "../errors/assay-error.ts";
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

/**
 * Judges the peer of an open connection again: by the bundles and revocation lists of now, and by the authorizer. Age
 * alone is no reason to refuse, since a connection may outlive the X509-SVID that it was opened with: one that has ended
 * since is judged as of its end. Takes any TLS connection of Node, of `tls.connect` and of a server.
 * @param bundles Whom to believe where the policy names no others: an `X509Source`, as a rule.
 * @throws AssayError `INVALID_CERTIFICATE`, `BUNDLE_NOT_FOUND`, `PEER_REFUSED`.
 */
export function verifyPeer(socket: TLSSocket, bundles: X509BundleSource, policy: PeerPolicy): TlsPeer {
  const { authorize, clock = systemClock } = policy;
  // Null where the connection is over, an object without members where the peer has shown nothing.
  const certificate: Partial<DetailedPeerCertificate> | null = socket.getPeerCertificate(true);
  const chain = peerChain(certificate ?? {});
  const [leaf] = chain;
  if (leaf === undefined) throw new AssayError("PEER_REFUSED", "the peer has shown no X509-SVID");
  const at = Math.min(unixSeconds(clock), readCertificate(leaf).notAfter);
  const { spiffeId, notAfter } = validateX509Svid(chain, policy.bundles ?? bundles, { at });
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
