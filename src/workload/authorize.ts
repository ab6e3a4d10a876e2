import { AssayError, toAssayError } from "../errors/assay-error.ts";
import { parseSpiffeId, type SpiffeId, trustDomainOf } from "../spiffe/id.ts";
import { parseTrustDomainOrId } from "../spiffe/trust-domain.ts";

/**
 * Says whether a peer may be here, by the ID that it has proved. Called once for each connection or request; a refusal
 * is `false`, and an authorizer that throws refuses too.
 */
export type Authorizer = (peer: SpiffeId) => boolean;

/**
 * Asks an authorizer. Nothing but `true` lets anybody in: a promise, which an asynchronous one returns, does not.
 * @throws AssayError `PEER_REFUSED`.
 */
export function requireAuthorized(authorize: Authorizer, peer: SpiffeId): void {
  let verdict: unknown;
  try {
    verdict = authorize(peer);
  } catch (cause) {
    const reason = toAssayError(cause).detail;
    throw new AssayError("PEER_REFUSED", `authorizer failed for ${peer}: ${reason}`, { cause });
  }
  if (verdict !== true) throw new AssayError("PEER_REFUSED", `peer ${peer} is not authorized`);
}

/** Nobody but this ID. @throws AssayError `INVALID_SPIFFE_ID`. */
export function authorizeId(spiffeId: string): Authorizer {
  const wanted = parseSpiffeId(spiffeId);
  return (peer) => peer === wanted;
}

/** Nobody but these IDs. @throws AssayError `INVALID_SPIFFE_ID`. */
export function authorizeOneOf(spiffeIds: Iterable<string>): Authorizer {
  const wanted = new Set(Array.from(spiffeIds, (spiffeId) => parseSpiffeId(spiffeId)));
  return (peer) => wanted.has(peer);
}

/** Everybody of this trust domain, given as `example.org` or `spiffe://example.org`. @throws AssayError `INVALID_TRUST_DOMAIN`. */
export function authorizeMemberOf(trustDomain: string): Authorizer {
  const wanted = parseTrustDomainOrId(trustDomain);
  return (peer) => trustDomainOf(peer) === wanted;
}

/** Everybody who has an X509-SVID of a trust domain whose bundle the source has: foreign ones too. */
export function authorizeAny(): Authorizer {
  return () => true;
}
