import { KEY_USAGE } from "../crypto/certificate-extensions.ts";
import { readCertificate } from "../crypto/certificate-reader.ts";
import { type CrlFields, lintTbsCrl, writeTbsCrl } from "../crypto/crl-writer.ts";
import { isCrlOf, readCrl } from "../crypto/crl.ts";
import { assembleSigned } from "../crypto/signed-der.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { Signing } from "./signing.ts";
import type { X509Authority } from "./x509-authority.ts";

/**
 * The signer of CRLs.
 * @param authority The X.509 authority of an id, its key in hand. @throws AssayError `AUTHORITY_NOT_FOUND`.
 */
export function createCrlSigner(authority: (id: string) => Promise<X509Authority>): Signing["signCrl"] {
  return async ({ authorityId, revoked, number, thisUpdate, nextUpdate }) => {
    const by = await authority(authorityId);
    const { subject: issuer, subjectKeyId: authorityKeyId, signatureAlgorithm } = by;
    const certificate = readCertificate(by.record.chain[0] ?? new Uint8Array());
    if (((certificate.keyUsage ?? 0) & KEY_USAGE.crlSign) === 0) {
      throw refused("keyUsage of the authority lacks cRLSign, so nobody would take a list of it");
    }
    const fields: CrlFields = {
      issuer,
      authorityKeyId,
      signatureAlgorithm,
      number,
      thisUpdate,
      nextUpdate,
      revoked,
    };
    const tbs = writeTbsCrl(fields);
    const [finding] = lintTbsCrl(tbs, fields);
    if (finding !== undefined) throw refused(`${finding.rule}: ${finding.detail}`);
    const der = assembleSigned(tbs, signatureAlgorithm, await by.key.sign(tbs, "der"));
    // A key may have been replaced behind its name meanwhile; a list that does not verify says that nobody is revoked.
    if (!isCrlOf(readCrl(der, "CERTIFICATE_LINT_FAILED"), certificate)) {
      throw new AssayError(
        "KEY_UNAVAILABLE",
        `key of X.509 authority ${authorityId} made another's signature`,
      );
    }
    return der;
  };
}

function refused(detail: string): AssayError {
  return new AssayError("CERTIFICATE_LINT_FAILED", `CRL: ${detail}`);
}
