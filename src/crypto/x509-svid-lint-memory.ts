import type { LintFinding } from "./lint.ts";
import { readTbsCertificate } from "./certificate-reader.ts";
import { OIDS } from "./der/oid.ts";
import { type ExpectedX509Svid, hasPath, lintX509SvidTbs } from "./x509-svid-lint.ts";

/** What an authority's leaves have in common. */
export type ExpectedAuthority = Pick<
  ExpectedX509Svid,
  "issuer" | "authorityKeyId" | "signatureAlgorithm" | "authorityNotAfter"
>;

/** What one leaf must say beside that. */
export type ExpectedLeaf = Pick<ExpectedX509Svid, "spiffeId" | "spki" | "dnsNames"> &
  Required<Pick<ExpectedX509Svid, "notAfter" | "serial">>;

/**
 * {@link lintX509SvidTbs} for the leaves of one authority, quicker where many are alike. A leaf whose octets are those of one
 * that passed, but for a serial number, a public key, its key identifier and a SPIFFE ID of the same lengths, is DER of the
 * same structure and breaks no rule that the other kept; what is left to compare are those four with what was decided.
 * Everything else is read and judged in full, a leaf of another second among it. At most 256 leaves are remembered.
 */
export class X509SvidLint {
  readonly #authority: ExpectedAuthority;
  /** By their length: that of the SPIFFE ID is nearly all that leaves differ in. */
  readonly #passed = new Map<number, PassedLeaf>();

  constructor(authority: ExpectedAuthority) {
    this.#authority = authority;
  }

  /** The rules that a TBSCertificate breaks; none means that it may be signed. Never throws for what the bytes say. */
  findings(tbs: Uint8Array, expected: ExpectedLeaf): readonly LintFinding[] {
    const passed = this.#passed.get(tbs.length);
    if (passed !== undefined && isAlike(passed, tbs, expected)) return NONE;
    const findings = lintX509SvidTbs(tbs, { ...this.#authority, ...expected });
    if (findings.length === 0) this.#remember(tbs, expected);
    return findings;
  }

  #remember(tbs: Uint8Array, { dnsNames, spiffeId, serial }: ExpectedLeaf): void {
    const bytes = Uint8Array.from(tbs);
    const leaf = readTbsCertificate(bytes, "CERTIFICATE_LINT_FAILED");
    const names = leaf.extensions.find(({ oid }) => oid === OIDS.subjectAltName)?.value;
    const { subjectKeyId } = leaf;
    // A serial number with leading zeros is shorter as DER; one in 256 is read in full.
    if (names === undefined || subjectKeyId === undefined || leaf.serial.length !== serial.length) return;
    const uri = Buffer.from(names.buffer, names.byteOffset, names.length).indexOf(spiffeId, 0, "latin1");
    if (uri < 0) return;
    const at = {
      serial: leaf.serial.byteOffset,
      spki: leaf.spki.byteOffset,
      uri: names.byteOffset + uri,
    };
    const fixed = new Uint8Array(bytes.length).fill(0xff);
    fixed.fill(0, at.serial, at.serial + serial.length);
    fixed.fill(0, at.spki, at.spki + leaf.spki.length);
    fixed.fill(0, subjectKeyId.byteOffset, subjectKeyId.byteOffset + subjectKeyId.length);
    fixed.fill(0, at.uri, at.uri + spiffeId.length);
    if (this.#passed.size >= MOST_REMEMBERED) this.#passed.clear();
    this.#passed.set(tbs.length, {
      bytes,
      fixed,
      at,
      serial: leaf.serial,
      spkiLength: leaf.spki.length,
      idLength: spiffeId.length,
      notAfter: leaf.notAfter,
      dnsNames: [...dnsNames],
    });
  }
}

/** A leaf that passed. Its bytes are a copy at the start of their buffer, so that a view's offset is its place in them. */
interface PassedLeaf {
  readonly bytes: Uint8Array;
  /** For each octet whether it must be the same: all bits set, or none. */
  readonly fixed: Uint8Array;
  /** Where the parts that may differ begin. */
  readonly at: { readonly serial: number; readonly spki: number; readonly uri: number };
  readonly serial: Uint8Array;
  readonly spkiLength: number;
  readonly idLength: number;
  readonly notAfter: number;
  readonly dnsNames: readonly string[];
}

function isAlike(passed: PassedLeaf, tbs: Uint8Array, expected: ExpectedLeaf): boolean {
  const { spiffeId, spki, serial, notAfter, dnsNames } = expected;
  const { bytes, fixed, at } = passed;
  if (tbs.length !== bytes.length || spiffeId.length !== passed.idLength) return false;
  if (spki.length !== passed.spkiLength || passed.notAfter > notAfter) return false;
  if (dnsNames.length !== passed.dnsNames.length) return false;
  for (let n = 0; n < dnsNames.length; n++) if (dnsNames[n] !== passed.dnsNames[n]) return false;
  if (!hasPath(spiffeId) || !isSameForm(serial, passed.serial)) return false;
  for (let n = 0; n < bytes.length; n++) {
    if ((((tbs[n] as number) ^ (bytes[n] as number)) & (fixed[n] as number)) !== 0) return false;
  }
  return holds(tbs, at.serial, serial) && holds(tbs, at.spki, spki) && holdsText(tbs, at.uri, spiffeId);
}

/** Whether two serial numbers have as many octets in DER, a sign octet and the lack of one included. */
function isSameForm(serial: Uint8Array, other: Uint8Array): boolean {
  const first = serial[0] ?? 0;
  return serial.length === other.length && first !== 0 && first >= 0x80 === (other[0] ?? 0) >= 0x80;
}

function holds(bytes: Uint8Array, at: number, octets: Uint8Array): boolean {
  for (let n = 0; n < octets.length; n++) if (bytes[at + n] !== octets[n]) return false;
  return true;
}

/** As {@link holds}, and printable ASCII throughout. */
function holdsText(bytes: Uint8Array, at: number, text: string): boolean {
  for (let n = 0; n < text.length; n++) {
    const character = text.charCodeAt(n);
    if (character < 0x20 || character > 0x7e || bytes[at + n] !== character) return false;
  }
  return true;
}

const NONE: readonly LintFinding[] = [];
const MOST_REMEMBERED = 256;
