import { svidKeyTypeOf } from "../../spiffe/svid-key-type.ts";
import type { WorkloadEntry } from "../../issuance/workload/workload-entry.ts";
import type { RevokedTokens } from "../../proto/gen/assay/api/server/v1/agent_sync_pb.ts";
import type { RevocationLists } from "../../proto/gen/assay/api/types/v1/revocation_list_pb.ts";
import type { Bundle, JWTKey, WITKey } from "../../proto/gen/spire/api/types/bundle_pb.ts";
import type { Entry } from "../../proto/gen/spire/api/types/entry_pb.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { JwtAuthorityKey, SpiffeBundle } from "../../spiffe/bundle.ts";
import { canonicalSelectors, selectorOf } from "../../spiffe/selector.ts";
import { parseTrustDomain, parseTrustDomainOrId, type TrustDomain } from "../../spiffe/trust-domain.ts";
import { spiffeIdFromWire } from "../../wire/spiffe-id.ts";

/**
 * An entry as the server sends it.
 * @throws AssayError `INVALID_ENTRY`, `INVALID_SPIFFE_ID`, `INVALID_SELECTOR` or `INVALID_TRUST_DOMAIN` where a field that
 * decides who gets what is malformed.
 */
export function entryFromWire(entry: Entry): WorkloadEntry {
  if (entry.id === "") throw new AssayError("INVALID_ENTRY", "entry has no id");
  const selectors = canonicalSelectors(entry.selectors.map(({ type, value }) => selectorOf(type, value)));
  // No selector would match every caller.
  if (selectors.length === 0) throw new AssayError("INVALID_ENTRY", `entry ${entry.id} has no selectors`);
  return {
    id: entry.id,
    revision: Number(entry.revisionNumber),
    createdAt: Number(entry.createdAt),
    spiffeId: spiffeIdFromWire(entry.spiffeId, "spiffe_id"),
    parentId: spiffeIdFromWire(entry.parentId, "parent_id"),
    selectors,
    x509SvidTtl: entry.x509SvidTtl,
    jwtSvidTtl: entry.jwtSvidTtl,
    federatesWith: entry.federatesWith.map((name) => parseTrustDomainOrId(name)),
    admin: entry.admin,
    downstream: entry.downstream,
    storeSvid: entry.storeSvid,
    expiresAt: Number(entry.expiresAt),
    dnsNames: entry.dnsNames,
    hint: entry.hint,
    disableX509SvidPrefetch: entry.additionalAttributes?.disableX509SvidPrefetch ?? false,
    jwtSvidIncludeJti: entry.additionalAttributes?.jwtSvidIncludeJti ?? false,
    // One that is not known here is left to the server to refuse.
    svidKeyType: svidKeyTypeOf(entry.assay?.svidKeyType ?? "") ?? "",
  };
}

/** A bundle as the server sends it. @throws AssayError `INVALID_TRUST_DOMAIN`. */
export function bundleFromWire(bundle: Bundle): SpiffeBundle {
  return {
    trustDomain: parseTrustDomain(bundle.trustDomain),
    sequence: bundle.sequenceNumber,
    refreshHint: Number(bundle.refreshHint),
    x509Authorities: bundle.x509Authorities.map(({ asn1, tainted }) => ({
      certificate: Uint8Array.from(asn1),
      tainted,
    })),
    jwtAuthorities: bundle.jwtAuthorities.map(keyFromWire),
    witAuthorities: bundle.witAuthorities.map(keyFromWire),
  };
}

/** Revocation lists as the server sends them, by trust domain. @throws AssayError `INVALID_TRUST_DOMAIN`. */
export function crlsFromWire({ lists }: RevocationLists): ReadonlyMap<TrustDomain, readonly Uint8Array[]> {
  const crls = new Map<TrustDomain, Uint8Array[]>();
  for (const { trustDomain, crl } of lists) {
    const name = parseTrustDomain(trustDomain);
    const known = crls.get(name);
    if (known === undefined) crls.set(name, [Uint8Array.from(crl)]);
    else known.push(Uint8Array.from(crl));
  }
  return crls;
}

/** Revoked tokens as the server sends them: by id, with the end of each in Unix seconds. */
export function revokedTokensFromWire({ tokens }: RevokedTokens): readonly (readonly [string, number])[] {
  return tokens.map(({ id, expiresAt }) => [id, Number(expiresAt)]);
}

function keyFromWire({ keyId, publicKey, expiresAt, tainted }: JWTKey | WITKey): JwtAuthorityKey {
  return { keyId, publicKey: Uint8Array.from(publicKey), expiresAt: Number(expiresAt), tainted };
}
