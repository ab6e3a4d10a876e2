import { unixSeconds } from "../clock.ts";
import { readCertificationRequest } from "../crypto/pkcs10.ts";
import { AssayError } from "../errors/assay-error.ts";
import { decideDownstreamCa } from "../policy/downstream-ca.ts";
import type { IssuedDownstreamCa } from "../signing/signing.ts";
import type { SpiffeId } from "../spiffe/id.ts";
import type { EntryRecord } from "../store/records.ts";
import { formatSelector } from "../spiffe/selector.ts";
import { parseSpiffeId } from "../spiffe/id.ts";
import type { Caller } from "./caller.ts";
import type { DecisionOptions } from "./decision.ts";
import { issueOne } from "./entry-svids.ts";
import { allowedTtl, type SvidOptions } from "./x509-svids.ts";

/** What the issuance of X.509 authorities to servers below stands on. */
export interface DownstreamIssuanceOptions extends DecisionOptions, SvidOptions {
  /** Lifetime of this server's own authorities in seconds. */
  readonly caTtl: number;
  /** The unexpired entries of this ID with the downstream flag. */
  readonly downstreamEntries: (id: SpiffeId) => readonly EntryRecord[];
}

/**
 * Signs the X.509 authority of a server below this one, which is a workload whose entry says so. The request contributes its
 * public key and nothing else.
 * @throws AssayError `AUTHORIZATION_DENIED` without such an entry, `INVALID_CSR`, `POLICY_DENIED`, `AUDIT_UNAVAILABLE` and
 * signing's.
 */
export async function issueDownstreamCa(
  options: DownstreamIssuanceOptions,
  caller: Caller,
  request: { readonly csr: Uint8Array; readonly ttl: number },
): Promise<IssuedDownstreamCa> {
  const { signing, policy, clock, caTtl, trustDomain } = options;
  return issueOne(options, DOWNSTREAM, caller, {}, async (draft) => {
    const id = caller.svid?.spiffeId;
    // Where there are several, the one that lasts longest: another's end says nothing about this one's.
    const [entry] = (id === undefined ? [] : options.downstreamEntries(id)).toSorted(
      (a, b) => endOf(b) - endOf(a),
    );
    if (entry === undefined)
      throw new AssayError("AUTHORIZATION_DENIED", "caller is not a downstream workload");
    draft.note({
      spiffe_id: parseSpiffeId(`spiffe://${trustDomain}`),
      entry_id: entry.id,
      entry_revision: entry.revision,
      selectors: entry.selectors.map(formatSelector),
    });
    const csr = readCertificationRequest(request.csr);
    const ttl = allowedTtl(
      decideDownstreamCa(
        {
          keyType: csr.keyType,
          caTtl,
          requestedTtl: request.ttl,
          entryExpiresAt: entry.expiresAt,
          now: unixSeconds(clock),
          authorityNotAfter: signing.x509AuthorityNotAfter(),
        },
        policy,
      ),
    );
    return signing.signDownstreamCa(signing.prepareDownstreamCa({ publicKey: csr.spki, ttl }));
  });
}

function endOf({ expiresAt }: EntryRecord): number {
  return expiresAt === 0 ? Number.POSITIVE_INFINITY : expiresAt;
}

const DOWNSTREAM = {
  events: { issued: "authority.downstream.issued", refused: "authority.downstream.denied" },
  facts: ({ serial, authorityId, notAfter }: IssuedDownstreamCa) => ({
    serial,
    authority_id: authorityId,
    expires_at: notAfter,
  }),
} as const;
