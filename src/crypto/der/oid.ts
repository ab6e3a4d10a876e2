/**
 * An OBJECT IDENTIFIER's content octets in dotted form, or undefined where they are not DER (X.690 §8.19): empty,
 * more than 64 octets, a padded or an unfinished arc.
 * @param start Where the octets begin among the bytes, and `end` where they end; all of them unless told.
 */
export function decodeOid(bytes: Uint8Array, start = 0, end: number = bytes.length): string | undefined {
  // Nearly every one is of the list below: comparing a few octets is cheaper than putting a text together.
  for (let known = KNOWN[end - start]; known !== undefined; known = known.next) {
    const { octets } = known;
    let at = octets.length - 1;
    while (at >= 0 && bytes[start + at] === octets[at]) at--;
    if (at < 0) return known.text;
  }
  return dottedForm(bytes, start, end);
}

function dottedForm(bytes: Uint8Array, start: number, end: number): string | undefined {
  if (end <= start || end - start > MAX_OCTETS) return undefined;
  let text = "";
  let arc = 0;
  let big: bigint | undefined;
  let inside = false;
  for (let at = start; at < end; at++) {
    const octet = bytes[at] as number;
    if (!inside && octet === 0x80) return undefined;
    inside = octet >= 0x80;
    if (big === undefined && arc > LARGEST_SHIFTABLE) big = BigInt(arc);
    if (big === undefined) arc = arc * 128 + (octet & 0x7f);
    else big = big * 128n + BigInt(octet & 0x7f);
    if (inside) continue;
    text += text === "" ? firstArcs(big ?? arc) : `.${big ?? arc}`;
    arc = 0;
    big = undefined;
  }
  return inside ? undefined : text;
}

/** Content octets of a dotted OBJECT IDENTIFIER. For the constants of this program: every arc below 2^31. */
export function encodeOid(dotted: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  const octets: number[] = [];
  for (const arc of [first * 40 + second, ...rest]) {
    const groups = [arc & 0x7f];
    for (let left = arc >>> 7; left > 0; left >>>= 7) groups.unshift((left & 0x7f) | 0x80);
    octets.push(...groups);
  }
  return Uint8Array.from(octets);
}

/** The object identifiers that X.509 issuing needs, by the names the standards give them. */
export const OIDS = {
  ecPublicKey: "1.2.840.10045.2.1",
  p256: "1.2.840.10045.3.1.7",
  p384: "1.3.132.0.34",
  p521: "1.3.132.0.35",
  rsaEncryption: "1.2.840.113549.1.1.1",
  ed25519: "1.3.101.112",
  ed448: "1.3.101.113",
  ecdsaWithSha256: "1.2.840.10045.4.3.2",
  ecdsaWithSha384: "1.2.840.10045.4.3.3",
  ecdsaWithSha512: "1.2.840.10045.4.3.4",
  sha256WithRsaEncryption: "1.2.840.113549.1.1.11",
  sha384WithRsaEncryption: "1.2.840.113549.1.1.12",
  sha512WithRsaEncryption: "1.2.840.113549.1.1.13",
  extensionRequest: "1.2.840.113549.1.9.14",
  subjectKeyIdentifier: "2.5.29.14",
  keyUsage: "2.5.29.15",
  subjectAltName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  crlNumber: "2.5.29.20",
  reasonCode: "2.5.29.21",
  certificatePolicies: "2.5.29.32",
  authorityKeyIdentifier: "2.5.29.35",
  extKeyUsage: "2.5.29.37",
  anyExtendedKeyUsage: "2.5.29.37.0",
  serverAuth: "1.3.6.1.5.5.7.3.1",
  clientAuth: "1.3.6.1.5.5.7.3.2",
  commonName: "2.5.4.3",
  serialNumber: "2.5.4.5",
  country: "2.5.4.6",
  organization: "2.5.4.10",
  organizationalUnit: "2.5.4.11",
} as const;

function firstArcs(value: number | bigint): string {
  if (value < 40) return `0.${value}`;
  if (value < 80) return `1.${Number(value) - 40}`;
  return `2.${typeof value === "bigint" ? value - 80n : value - 80}`;
}

/** One of the object identifiers of this program, and the next of the same length. */
interface KnownOid {
  readonly octets: Uint8Array;
  readonly text: string;
  readonly next: KnownOid | undefined;
}

function knownByLength(): readonly (KnownOid | undefined)[] {
  const lists: (KnownOid | undefined)[] = [];
  for (const text of Object.values(OIDS)) {
    const octets = encodeOid(text);
    lists[octets.length] = { octets, text, next: lists[octets.length] };
  }
  return lists;
}

const KNOWN = knownByLength();
const MAX_OCTETS = 64;
const LARGEST_SHIFTABLE = 2 ** 45;
