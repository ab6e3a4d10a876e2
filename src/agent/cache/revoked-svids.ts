import { type CertificateRevocationList, readCrl } from "../../crypto/crl.ts";

/** A certificate by its serial number and the key identifier of its issuer, both lower-case hex. */
interface CertificateName {
  readonly serial: string;
  readonly authorityId: string;
}

/**
 * Tells certificates that revocation lists (DER) name. The signatures of the lists are not verified: they come from the
 * server, and all that follows is that a certificate is replaced. One that cannot be read names nobody.
 */
export function revokedCertificates(crls: readonly Uint8Array[]): (certificate: CertificateName) => boolean {
  const byAuthority = new Map<string, ReadonlySet<string>[]>();
  for (const crl of crls.flatMap(read)) {
    const id = Buffer.from(crl.authorityKeyId).toString("hex");
    byAuthority.set(id, [...(byAuthority.get(id) ?? []), crl.revoked]);
  }
  return ({ serial, authorityId }) => {
    return byAuthority.get(authorityId)?.some((revoked) => revoked.has(serial)) === true;
  };
}

function read(der: Uint8Array): readonly CertificateRevocationList[] {
  try {
    return [readCrl(der, "INVALID_CRL")];
  } catch {
    return [];
  }
}
