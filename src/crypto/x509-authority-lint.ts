import { AssayError } from "../errors/assay-error.ts";
import { KEY_USAGE } from "./certificate-extensions.ts";
import { type Certificate, readCertificate } from "./certificate-reader.ts";
import { OIDS } from "./der/oid.ts";
import { findingsOf, type LintCheck, type LintFinding, type LintVerdict, verdictsOf } from "./lint.ts";

/** What the certificate of an X.509 authority must say. */
export interface ExpectedX509Authority {
  /** Trust domain name without scheme; the authority's SPIFFE ID is `spiffe://` and this, without a path. */
  readonly trustDomain: string;
}

/**
 * Compares a CA certificate with the profile of X509-SVID §3.2 to §4.4 and RFC 5280. An empty list means that it
 * may be published and used. Never throws for what the bytes say.
 */
export function lintX509AuthorityCertificate(
  der: Uint8Array,
  expected: ExpectedX509Authority,
): readonly LintFinding[] {
  let authority: Certificate;
  try {
    authority = readCertificate(der, "CERTIFICATE_LINT_FAILED");
  } catch (error) {
    if (error instanceof AssayError) return [{ rule: "RFC5280-4.1", detail: error.detail }];
    throw error;
  }
  return findingsOf((check) => walk(authority, expected, check));
}

/** Every rule of {@link lintX509AuthorityCertificate} with its verdict on a certificate that was read already. */
export function judgeX509Authority(
  authority: Certificate,
  expected: ExpectedX509Authority,
): readonly LintVerdict[] {
  return verdictsOf((check) => walk(authority, expected, check));
}

function walk(authority: Certificate, expected: ExpectedX509Authority, check: LintCheck): void {
  const { basicConstraints, keyUsage = 0, subjectAltName } = authority;
  const critical = (oid: string) => authority.extensions.some((one) => one.oid === oid && one.critical);
  const selfIssued = Buffer.compare(authority.issuer, authority.subject) === 0;
  const uris = subjectAltName?.uris ?? [];
  const rules: readonly (readonly [boolean, string, string])[] = [
    [uris.length === 1, "XS-01", `subjectAltName must have exactly one URI, has ${uris.length}`],
    [
      uris[0] === `spiffe://${expected.trustDomain}`,
      "XS-08",
      "URI must be the trust domain's SPIFFE ID without a path",
    ],
    [basicConstraints?.ca === true, "XS-13", "cA must be true"],
    [critical(OIDS.basicConstraints), "RFC5280-4.2.1.9", "basicConstraints must be critical"],
    [authority.keyUsage !== undefined, "XS-17", "keyUsage must be present"],
    [critical(OIDS.keyUsage), "XS-18", "keyUsage must be critical"],
    [(keyUsage & KEY_USAGE.keyCertSign) !== 0, "XS-19", "keyCertSign must be set"],
    [(keyUsage & ~CA_USAGE) === 0, "XS-43", "keyUsage of an authority must be keyCertSign and cRLSign only"],
    [authority.extKeyUsage === undefined, "XS-28", "extKeyUsage must be absent"],
    [authority.subject.length > 2, "RFC5280-4.1.2.6", "subject must not be empty"],
    [authority.subjectKeyId !== undefined, "RFC5280-4.2.1.2", "subjectKeyIdentifier must be present"],
    [
      selfIssued || authority.authorityKeyId !== undefined,
      "RFC5280-4.2.1.1",
      "authorityKeyIdentifier must be present where the certificate is not self-signed",
    ],
    [authority.notBefore < authority.notAfter, "RFC5280-4.1.2.5", "notBefore must lie before notAfter"],
  ];
  for (const [holds, rule, detail] of rules) check(holds, rule, detail);
}

const CA_USAGE = KEY_USAGE.keyCertSign | KEY_USAGE.crlSign;
