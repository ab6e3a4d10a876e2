import { createPublicKey, hash, verify, X509Certificate } from "node:crypto";
import type { SpiffeBundle } from "../../src/spiffe/bundle.ts";

/** The four lines of authorities, each with its own schedule. */
export type LineName = "x509" | "jwt" | "rs256" | "wit";

export const LINES: readonly LineName[] = ["x509", "jwt", "rs256", "wit"];

/** An SVID in somebody's hands, as a party that knows nothing of our code sees it. Times in Unix seconds. */
export interface HeldSvid {
  readonly line: LineName;
  readonly authorityId: string;
  readonly notBefore: number;
  readonly notAfter: number;
  /** Why a bundle does not speak for it at a time, judged by OpenSSL's code alone; `undefined` where it does. */
  judge(bundle: SpiffeBundle, now: number): string | undefined;
}

/** An X509-SVID of a self-signed authority. */
export function heldX509(authorityId: string, certificate: Uint8Array): HeldSvid {
  const leaf = new X509Certificate(certificate);
  const verdicts = new WeakMap<SpiffeBundle, X509Certificate | string>();
  const rootIn = (bundle: SpiffeBundle): X509Certificate | string => {
    for (const { certificate: der } of bundle.x509Authorities) {
      const root = parsedRoot(der);
      if (leaf.checkIssued(root) && leaf.verify(root.publicKey)) return root;
    }
    return "no authority of the bundle has signed it";
  };
  return {
    line: "x509",
    authorityId,
    notBefore: seconds(leaf.validFromDate),
    notAfter: seconds(leaf.validToDate),
    judge(bundle, now) {
      const root = verdicts.get(bundle) ?? rootIn(bundle);
      verdicts.set(bundle, root);
      if (typeof root === "string") return root;
      const isInTime = seconds(root.validFromDate) <= now && now <= seconds(root.validToDate);
      return isInTime ? undefined : "its authority's certificate is not valid now";
    },
  };
}

/** A JWT-SVID or WIT-SVID. */
export function heldToken(line: Exclude<LineName, "x509">, token: string): HeldSvid {
  const [head = "", body = "", signature = ""] = token.split(".");
  const { kid, alg } = JSON.parse(Buffer.from(head, "base64url").toString()) as { kid: string; alg: string };
  const { iat, exp } = JSON.parse(Buffer.from(body, "base64url").toString()) as { iat: number; exp: number };
  const verdicts = new WeakMap<SpiffeBundle, { fault: string | undefined }>();
  const faultIn = (bundle: SpiffeBundle): string | undefined => {
    const keys = line === "wit" ? bundle.witAuthorities : bundle.jwtAuthorities;
    const named = keys.filter(({ keyId }) => keyId === kid);
    if (named.length !== 1) return `${named.length} keys of the bundle have its key ID`;
    const key = createPublicKey({
      key: Buffer.from(named[0]?.publicKey ?? []),
      format: "der",
      type: "spki",
    });
    const ecdsa = alg === "ES256" ? { dsaEncoding: "ieee-p1363" as const } : {};
    const isGood = verify(
      "sha256",
      Buffer.from(`${head}.${body}`),
      { key, ...ecdsa },
      Buffer.from(signature, "base64url"),
    );
    return isGood ? undefined : "the key of the bundle did not sign it";
  };
  return {
    line,
    authorityId: kid,
    notBefore: iat,
    notAfter: exp,
    judge(bundle) {
      const known = verdicts.get(bundle) ?? { fault: faultIn(bundle) };
      verdicts.set(bundle, known);
      return known.fault;
    },
  };
}

/** Ids of all authorities of a bundle with their taint marks. */
export function authoritiesOf(bundle: SpiffeBundle): ReadonlyMap<string, boolean> {
  return new Map([
    ...bundle.x509Authorities.map(({ certificate, tainted }) => [skidOf(certificate), tainted] as const),
    ...[...bundle.jwtAuthorities, ...bundle.witAuthorities].map(
      ({ keyId, tainted }) => [keyId, tainted] as const,
    ),
  ]);
}

/** The subject key identifier of an authority as this profile makes it: SHA-1 of the key's bits. Read once per certificate. */
function skidOf(der: Uint8Array): string {
  return parsed(der).skid;
}

function parsedRoot(der: Uint8Array): X509Certificate {
  return parsed(der).certificate;
}

function parsed(der: Uint8Array): Parsed {
  const known = certificates.get(der);
  if (known !== undefined) return known;
  const certificate = new X509Certificate(der);
  const spki = certificate.publicKey.export({ format: "der", type: "spki" });
  // P-256: the bits are the last 65 octets.
  const made = { certificate, skid: hash("sha1", spki.subarray(-65), "hex") };
  certificates.set(der, made);
  return made;
}

function seconds(date: Date): number {
  return Math.floor(date.getTime() / 1000);
}

interface Parsed {
  readonly certificate: X509Certificate;
  readonly skid: string;
}

const certificates = new WeakMap<Uint8Array, Parsed>();
