import { readCertificate } from "../../crypto/certificate-reader.ts";
import { isSignedBy } from "../../crypto/certificate-signature.ts";
import { serialToHex } from "../../crypto/random.ts";
import { parseX509Svid } from "../../crypto/x509-svid.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { AuditMatch } from "../../observe/audit-search.ts";
import type { StoredAuditRecord } from "../../observe/audit-record.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import type { CredentialKind, CredentialRecord, CredentialStore } from "../../store/task-store.ts";

/** Something that was issued, as it has to be known for its revocation. */
export type IssuedCredential = Omit<CredentialRecord, "revokedAt" | "reason">;

/** Where facts about what was issued are found. */
export interface IssuedFacts {
  readonly credentials: Pick<CredentialStore, "get">;
  /** The newest records first. @throws AssayError `AUDIT_UNAVAILABLE`. */
  readonly searchAudit: (match: AuditMatch, limit: number) => Promise<readonly StoredAuditRecord[]>;
}

/** An X509-SVID by its serial number, as the store or the audit log knows it. */
export async function issuedX509(facts: IssuedFacts, serial: string): Promise<IssuedCredential | undefined> {
  const stored = await facts.credentials.get("x509", serial);
  if (stored !== undefined) return stored;
  return firstIssued(await facts.searchAudit({ field: "serial", value: serial }, FEW));
}

/** A token by its id, as the store or the audit log knows it. */
export async function issuedToken(facts: IssuedFacts, id: string): Promise<IssuedCredential | undefined> {
  for (const kind of TOKEN_KINDS) {
    const stored = await facts.credentials.get(kind, id);
    if (stored !== undefined) return stored;
  }
  return firstIssued(await facts.searchAudit({ field: "jti", value: id }, FEW));
}

/**
 * An X509-SVID by itself.
 * @throws AssayError `INVALID_CERTIFICATE` where it is none, or no authority of the bundle signed it.
 */
export function x509InHand(der: Uint8Array, bundle: SpiffeBundle): IssuedCredential {
  const leaf = readCertificate(der);
  const { spiffeId, serial, notBefore, notAfter } = parseX509Svid(leaf);
  const signer = bundle.x509Authorities
    .map(({ certificate }) => readCertificate(certificate))
    .find((authority) => isSignedBy(leaf, authority));
  if (signer === undefined) {
    throw new AssayError(
      "INVALID_CERTIFICATE",
      `certificate of ${spiffeId} was signed by no X.509 authority of ${bundle.trustDomain}`,
    );
  }
  const authorityId = Buffer.from(signer.subjectKeyId ?? []).toString("hex");
  const id = serialToHex(serial);
  return { ...NOTHING, kind: "x509", id, authorityId, spiffeId, issuedAt: notBefore, expiresAt: notAfter };
}

/** The subject key identifier of an authority's certificate (DER), in lower-case hex. */
export function authorityIdOf(certificate: Uint8Array): string {
  return Buffer.from(readCertificate(certificate).subjectKeyId ?? []).toString("hex");
}

/** What a record of the audit log says was issued; `undefined` where it was nothing that can be revoked. */
export function issuedByRecord(record: StoredAuditRecord): IssuedCredential | undefined {
  const kind = KINDS.get(record.event);
  const { outcome, spiffe_id, authority_id, expires_at, time } = record;
  const id = kind === "x509" ? record.serial : record.jti;
  if (kind === undefined || outcome !== "issued" || id === undefined) return undefined;
  if (spiffe_id === undefined || authority_id === undefined || expires_at === undefined) return undefined;
  return {
    ...NOTHING,
    kind,
    id,
    authorityId: authority_id,
    spiffeId: parseSpiffeId(spiffe_id),
    entryId: record.entry_id ?? "",
    issuedAt: Math.floor(Date.parse(time) / 1000),
    expiresAt: expires_at,
  };
}

function firstIssued(records: readonly StoredAuditRecord[]): IssuedCredential | undefined {
  for (const record of records) {
    const issued = issuedByRecord(record);
    if (issued !== undefined) return issued;
  }
  return undefined;
}

const KINDS: ReadonlyMap<StoredAuditRecord["event"], CredentialKind> = new Map([
  ["svid.x509.issued", "x509"],
  ["node.attested", "x509"],
  ["node.renewed", "x509"],
  ["authority.downstream.issued", "x509"],
  ["svid.jwt.issued", "jwt"],
  ["svid.wit.issued", "wit"],
  ["token.issued", "access_token"],
]);
const TOKEN_KINDS = ["jwt", "wit", "access_token"] as const;
const NOTHING = { entryId: "", taskId: "", parent: "" } as const;
// The record of its issuance, and perhaps some of what became of it.
const FEW = 20;
