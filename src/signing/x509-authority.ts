import { readCertificate } from "../crypto/certificate-reader.ts";
import { subjectKeyIdentifier } from "../crypto/keys.ts";
import { type Random, randomSerial } from "../crypto/random.ts";
import type { SigningAlgorithm } from "../crypto/signature-algorithm.ts";
import { createX509SvidTemplate, type X509SvidTemplate } from "../crypto/x509-svid-template.ts";
import type { DistinguishedName } from "../crypto/x501-name.ts";
import { lintX509AuthorityCertificate } from "../crypto/x509-authority-lint.ts";
import { createX509AuthorityCertificate } from "../crypto/x509-authority.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { KeyType, ManagedKey } from "../plugin/key-manager.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type { AuthorityRecord } from "../store/records.ts";
import { type Authority, type AuthorityKind, signingAlgorithmOf } from "./authority.ts";
import { x509AuthorityEdits } from "./bundle-edit.ts";

/** An X.509 authority ready to sign: what all its X509-SVIDs have in common is worked out once. */
export interface X509Authority extends Authority {
  readonly template: X509SvidTemplate;
  /** Its subject, DER Name. */
  readonly subject: Uint8Array;
  readonly subjectKeyId: Uint8Array;
  readonly signatureAlgorithm: SigningAlgorithm;
  /** What is served after a leaf: its own certificate and others up to but without the root. Empty if self-signed. */
  readonly intermediates: readonly Uint8Array[];
}

/** What new X.509 authorities are made of. */
export interface X509AuthorityOptions {
  readonly trustDomain: TrustDomain;
  readonly serverId: string;
  readonly keyType: KeyType;
  /** Lifetime in seconds. */
  readonly ttlSeconds: number;
  /** `C` and `O` of the subject; `US` and `SPIFFE` unless given. */
  readonly subject?: { readonly country?: string; readonly organization?: string };
  /** Subject of X509-SVIDs that name none; `C=US, O=SPIRE` unless given. */
  readonly svidSubject?: DistinguishedName;
  readonly random: Random;
}

/** Self-signed X.509 authorities (X509-SVID §3.2); their ID is the subject key identifier in lower-case hex. */
export function x509AuthorityKind(options: X509AuthorityOptions): AuthorityKind<X509Authority> {
  const revive = (record: AuthorityRecord, key: ManagedKey) =>
    reviveX509Authority(record, key, options.svidSubject);
  return {
    kind: "x509",
    slots: ["x509-CA-A", "x509-CA-B"],
    keyType: options.keyType,
    async found(key, now) {
      const notBefore = now - BACKDATE_SECONDS;
      const notAfter = now + options.ttlSeconds;
      const certificate = await createX509AuthorityCertificate(
        {
          trustDomain: options.trustDomain,
          spki: key.publicKey,
          serial: randomSerial(options.random),
          notBefore,
          notAfter,
          signatureAlgorithm: signingAlgorithmOf(key.type),
          ...options.subject,
        },
        (tbs) => key.sign(tbs, "der"),
      );
      const [finding] = lintX509AuthorityCertificate(certificate, { trustDomain: options.trustDomain });
      if (finding !== undefined) {
        throw new AssayError(
          "CERTIFICATE_LINT_FAILED",
          `X.509 authority: ${finding.rule}: ${finding.detail}`,
        );
      }
      const record: AuthorityRecord = {
        id: Buffer.from(subjectKeyIdentifier(key.publicKey)).toString("hex"),
        kind: "x509",
        state: "prepared",
        serverId: options.serverId,
        keyId: key.id,
        publicKey: key.publicKey,
        chain: [certificate],
        notBefore,
        notAfter,
        changedAt: now,
      };
      return revive(record, key);
    },
    revive,
    ...x509AuthorityEdits,
  };
}

/**
 * An authority from its record and key. The certificate's own words are what its SVIDs must match, so issuer and key
 * identifier are read from it and not from the record.
 * @throws AssayError `INVALID_CERTIFICATE` where the record holds no readable certificate.
 */
function reviveX509Authority(
  record: AuthorityRecord,
  key: ManagedKey,
  svidSubject?: DistinguishedName,
): X509Authority {
  const certificate = readCertificate(record.chain[0] ?? new Uint8Array());
  const { subject, issuer, subjectKeyId } = certificate;
  if (subjectKeyId === undefined) {
    throw new AssayError("INVALID_CERTIFICATE", `X.509 authority ${record.id} has no subject key identifier`);
  }
  const selfSigned = Buffer.compare(subject, issuer) === 0;
  const signatureAlgorithm = signingAlgorithmOf(key.type);
  const template = createX509SvidTemplate({
    issuer: subject,
    authorityKeyId: subjectKeyId,
    signatureAlgorithm,
    ...(svidSubject === undefined ? {} : { defaultSubject: svidSubject }),
  });
  const intermediates = selfSigned ? [] : record.chain;
  return { record, key, template, subject, subjectKeyId, signatureAlgorithm, intermediates };
}

const BACKDATE_SECONDS = 10;
