import type { Clock } from "../../clock.ts";
import { unixSeconds } from "../../clock.ts";
import { readCertificate } from "../../crypto/certificate-reader.ts";
import { type CertificateRevocationList, isCrlOf, readCrl } from "../../crypto/crl.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { AuditRecord } from "../../observe/audit-record.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import type { CrlRecord } from "../../store/records.ts";
import type { CrlStore } from "../../store/store.ts";
import { changeRecord, type OperatorCall } from "./operator-call.ts";

/** Changes of revocation lists that operators bring. */
export interface RevocationOperations {
  /**
   * Takes a CRL (DER) over for the authority of the trust domain's bundle that signed it. It must be in force, and not
   * older than the one that is there.
   * @throws AssayError `INVALID_CRL` saying what is wrong, `BUNDLE_NOT_FOUND`, `PRECONDITION_FAILED` for an authority of
   * ours: those lists are signed by the server that has the key.
   */
  setCrl(call: OperatorCall, trustDomain: TrustDomain, crl: Uint8Array): Promise<CrlRecord>;
  /** Forgets an authority's CRL. @throws AssayError `CRL_NOT_FOUND`, `PRECONDITION_FAILED` for an authority of ours. */
  deleteCrl(call: OperatorCall, trustDomain: TrustDomain, authorityKeyId: string): Promise<void>;
}

/** Makes the operations on revocation lists. */
export function revocationOperations(options: {
  readonly bundleOf: (trustDomain: TrustDomain) => SpiffeBundle | undefined;
  readonly crls: CrlStore;
  /** Subject key ids of the X.509 authorities whose keys servers of this trust domain hold or held. */
  readonly ownAuthorities: () => Promise<ReadonlySet<string>>;
  readonly clock: Clock;
  readonly audit: { append(records: readonly AuditRecord[]): void };
}): RevocationOperations {
  const { bundleOf, crls, ownAuthorities, clock, audit } = options;

  /** A list of ours is on every verifier's way and must stay what the server knows, until its authority is gone. */
  async function requireOthers(authorityKeyId: string): Promise<void> {
    if (!(await ownAuthorities()).has(authorityKeyId)) return;
    throw new AssayError(
      "PRECONDITION_FAILED",
      `authority ${authorityKeyId} is a server's own, which signs its revocation list itself: use assay revoke`,
    );
  }

  return {
    async setCrl(call, trustDomain, der) {
      const bundle = bundleOf(trustDomain);
      if (bundle === undefined) {
        throw new AssayError("BUNDLE_NOT_FOUND", `there is no bundle of ${trustDomain}`);
      }
      const crl = readCrl(der, "INVALID_CRL");
      requireAuthority(crl, bundle);
      requireInForce(crl, unixSeconds(clock));
      const authorityKeyId = hex(crl.authorityKeyId);
      await requireOthers(authorityKeyId);
      const all = await crls.list();
      const stored = all.find(
        (list) => list.trustDomain === trustDomain && list.authorityKeyId === authorityKeyId,
      );
      if (stored !== undefined) requireNotOlder(crl, readCrl(stored.crl, "INTERNAL"));
      const others = all.filter((list) => list.trustDomain === trustDomain && list !== stored);
      if (others.reduce((sum, list) => sum + list.crl.length, der.length) > MAX_BYTES) {
        throw invalid(`the revocation lists of one trust domain must be at most ${MAX_BYTES} bytes together`);
      }
      const list = { trustDomain, authorityKeyId, crl: der };
      await crls.put(list);
      audit.append([
        changeRecord("crl.changed", call, { trust_domain: trustDomain, authority_id: authorityKeyId }),
      ]);
      return list;
    },

    async deleteCrl(call, trustDomain, authorityKeyId) {
      await requireOthers(authorityKeyId);
      if (!(await crls.delete(trustDomain, authorityKeyId))) {
        throw new AssayError(
          "CRL_NOT_FOUND",
          `there is no revocation list of authority ${authorityKeyId} of ${trustDomain}`,
        );
      }
      audit.append([
        changeRecord("crl.deleted", call, { trust_domain: trustDomain, authority_id: authorityKeyId }),
      ]);
    },
  };
}

function requireAuthority(
  crl: CertificateRevocationList,
  { trustDomain, x509Authorities }: SpiffeBundle,
): void {
  const authorities = x509Authorities.map(({ certificate }) => readCertificate(certificate));
  if (authorities.some((authority) => isCrlOf(crl, authority))) return;
  throw invalid(`no X.509 authority in the bundle of ${trustDomain} signed the revocation list`);
}

function requireInForce(crl: CertificateRevocationList, now: number): void {
  if (crl.thisUpdate > now + CLOCK_SKEW) throw invalid("thisUpdate is in the future");
  if (crl.nextUpdate <= now) throw invalid("nextUpdate is in the past: a newer list must be out");
}

/** An older list would make revoked certificates good again. */
function requireNotOlder(crl: CertificateRevocationList, stored: CertificateRevocationList): void {
  if (crl.number < stored.number) {
    throw invalid(`cRLNumber ${crl.number} is below ${stored.number} of the list that is there`);
  }
}

function invalid(detail: string): AssayError {
  return new AssayError("INVALID_CRL", detail);
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
}

const CLOCK_SKEW = 300;
// Messages of the Workload API carry them all, and clients take 4 MiB.
const MAX_BYTES = 1024 * 1024;
