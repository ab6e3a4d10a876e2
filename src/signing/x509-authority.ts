import { createCaRequest } from "../crypto/ca-request.ts";
import { readCertificate } from "../crypto/certificate-reader.ts";
import { subjectKeyIdentifier } from "../crypto/keys.ts";
import { type Random, randomSerial, serialToDecimal } from "../crypto/random.ts";
import type { SigningAlgorithm } from "../crypto/signature-algorithm.ts";
import { OIDS } from "../crypto/der/oid.ts";
import { X509SvidLint } from "../crypto/x509-svid-lint-memory.ts";
import { createX509SvidTemplate, type X509SvidTemplate } from "../crypto/x509-svid-template.ts";
import type { DistinguishedName } from "../crypto/x501-name.ts";
import { lintX509AuthorityCertificate } from "../crypto/x509-authority-lint.ts";
import { createX509AuthorityCertificate } from "../crypto/x509-authority.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { KeyType, ManagedKey } from "../plugin/key-manager.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type { AuthorityRecord } from "../store/records.ts";
import { type Authority, type AuthorityKind, signingAlgorithmOf } from "./authority.ts";
import { successorLead } from "./rotation-schedule.ts";
import { isSelfIssued, x509AuthorityEdits } from "./bundle-edit.ts";
import type { UpstreamTrust } from "./upstream/upstream-trust.ts";

/** An X.509 authority ready to sign: what all its X509-SVIDs have in common is worked out once. */
export interface X509Authority extends Authority {
  readonly template: X509SvidTemplate;
  /** What looks its leaves over before they are signed. */
  readonly lint: X509SvidLint;
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
  /** What is trusted upstream, and the way to have authorities signed there; they sign themselves where absent. */
  readonly trust?: Pick<UpstreamTrust, "isConfigured" | "mintX509Ca" | "rootStateOf" | "rootSince">;
  /** Seconds that others were told to wait at most between two looks at the bundle; 0 where absent. */
  readonly refreshHint?: () => number;
}

/**
 * X.509 authorities (X509-SVID §3.2), self-signed or signed upstream; their ID is the subject key identifier of their key
 * in lower-case hex.
 */
export function x509AuthorityKind(options: X509AuthorityOptions): AuthorityKind<X509Authority> {
  const { trust, refreshHint = () => 0 } = options;
  const leadOf = ({ notBefore, notAfter }: AuthorityRecord) =>
    successorLead(notAfter - notBefore, refreshHint());
  const revive = (record: AuthorityRecord, key: ManagedKey) =>
    reviveX509Authority(record, key, options.svidSubject);
  return {
    kind: "x509",
    slots: ["x509-CA-A", "x509-CA-B", "x509-CA-C"],
    keyType: options.keyType,
    async found(key, now) {
      const made =
        trust?.isConfigured === true
          ? await mintedUpstream(options, trust, key)
          : await selfSigned(options, key, now);
      const record: AuthorityRecord = {
        ...made,
        id: Buffer.from(subjectKeyIdentifier(key.publicKey)).toString("hex"),
        kind: "x509",
        state: "prepared",
        serverId: options.serverId,
        keyId: key.id,
        publicKey: key.publicKey,
        changedAt: now,
      };
      return revive(record, key);
    },
    replaceAfter(record) {
      const isOwn = record.chain.slice(0, 1).every(isSelfIssued);
      if (isOwn) return trust?.isConfigured === true ? leadOf(record) : undefined;
      const root = trust?.rootStateOf(record);
      if (root === "revoked") return 0;
      if (root === "tainted") return Math.min(leadOf(record), TAINTED_LEAD_SECONDS);
      return trust?.isConfigured === true ? undefined : leadOf(record);
    },
    knownSince: (record) =>
      record.chain.slice(0, 1).every(isSelfIssued) ? record.changedAt : (trust?.rootSince(record) ?? 0),
    revive,
    ...x509AuthorityEdits,
  };
}

type Made = Pick<AuthorityRecord, "chain" | "notBefore" | "notAfter">;

async function selfSigned(options: X509AuthorityOptions, key: ManagedKey, now: number): Promise<Made> {
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
    throw new AssayError("CERTIFICATE_LINT_FAILED", `X.509 authority: ${finding.rule}: ${finding.detail}`);
  }
  return { chain: [certificate], notBefore, notAfter };
}

// The lifetime is the upstream's decision, and the schedule of what follows goes by it.
async function mintedUpstream(
  options: X509AuthorityOptions,
  trust: NonNullable<X509AuthorityOptions["trust"]>,
  key: ManagedKey,
): Promise<Made> {
  const { trustDomain, random, ttlSeconds, subject } = options;
  const csr = await createCaRequest(
    {
      trustDomain,
      spki: key.publicKey,
      subject: [
        { oid: OIDS.country, value: subject?.country ?? "US" },
        { oid: OIDS.organization, value: subject?.organization ?? "SPIFFE" },
        // Names tell authorities apart, as those of self-signed ones do.
        { oid: OIDS.serialNumber, value: serialToDecimal(randomSerial(random)) },
      ],
    },
    signingAlgorithmOf(key.type),
    (info) => key.sign(info, "der"),
  );
  const { chain, notBefore, notAfter } = await trust.mintX509Ca(csr, key.publicKey, ttlSeconds);
  return { chain, notBefore, notAfter };
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
  const isOwn = Buffer.compare(subject, issuer) === 0;
  const signatureAlgorithm = signingAlgorithmOf(key.type);
  const template = createX509SvidTemplate({
    issuer: subject,
    authorityKeyId: subjectKeyId,
    signatureAlgorithm,
    ...(svidSubject === undefined ? {} : { defaultSubject: svidSubject }),
  });
  const intermediates = isOwn ? [] : record.chain;
  const lint = new X509SvidLint({
    issuer: subject,
    authorityKeyId: subjectKeyId,
    signatureAlgorithm,
    authorityNotAfter: record.notAfter,
  });
  return { record, key, template, lint, subject, subjectKeyId, signatureAlgorithm, intermediates };
}

const BACKDATE_SECONDS = 10;
// What is tainted is not to sign for long; in this time servers and agents below have asked for the bundle more than once.
const TAINTED_LEAD_SECONDS = 30;
