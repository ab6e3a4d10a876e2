import { type Clock, unixSeconds } from "../clock.ts";
import { type IssuingCa, lintSubordinateCaTbs, writeSubordinateCaTbs } from "../crypto/ca-certificate.ts";
import { type Certificate, readCertificate } from "../crypto/certificate-reader.ts";
import { OIDS } from "../crypto/der/oid.ts";
import { keyTypeOf } from "../crypto/keys.ts";
import { type Random, randomSerial, serialToDecimal, serialToHex } from "../crypto/random.ts";
import { assembleSigned } from "../crypto/signed-der.ts";
import { type DistinguishedName, readName } from "../crypto/x501-name.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { SpiffeBundle } from "../spiffe/bundle.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import { Pending } from "./pending.ts";
import type { PreparedDownstreamCa, Signing } from "./signing.ts";
import type { X509Authority } from "./x509-authority.ts";

/** What the signer works with. */
export interface DownstreamCaSignerDependencies {
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly random: Random;
  /** The active authority. */
  readonly authority: () => X509Authority;
  /** The own bundle, in which the root above is. */
  readonly bundle: () => SpiffeBundle;
  /** How many CAs may follow below one that is signed here; any number where absent. */
  readonly pathLength?: number;
  /** Whether one that is signed here may sign for the trust domain only, by its own words. */
  readonly nameConstraints?: boolean;
}

/** The two steps in which the X.509 authority of a server below this one is signed. */
export type DownstreamCaSigner = Pick<Signing, "prepareDownstreamCa" | "signDownstreamCa">;

/** The signer of X.509 authorities of servers below this one. */
export function createDownstreamCaSigner(dependencies: DownstreamCaSignerDependencies): DownstreamCaSigner {
  const { trustDomain, clock, random, authority, bundle, nameConstraints = false } = dependencies;
  const pending = new Pending<PreparedDownstreamCa, { readonly tbs: Uint8Array; readonly by: X509Authority }>(
    "downstream CA",
  );

  return {
    prepareDownstreamCa({ publicKey, ttl }) {
      const by = authority();
      const now = unixSeconds(clock);
      if (!(ttl >= 1)) throw refused("lifetime must be at least one second");
      keyTypeOf(publicKey, "INVALID_CSR");
      const pathLength = pathLengthBelow(by, bundle(), dependencies.pathLength);
      const serial = randomSerial(random);
      const issuer: IssuingCa = {
        subject: by.subject,
        subjectKeyId: by.subjectKeyId,
        signatureAlgorithm: by.signatureAlgorithm,
        notAfter: by.record.notAfter,
      };
      const fields = {
        trustDomain,
        spki: publicKey,
        subject: subjectBelow(by, serial),
        serial,
        notBefore: Math.max(now - BACKDATE_SECONDS, by.record.notBefore),
        notAfter: Math.min(now + Math.floor(ttl), by.record.notAfter),
        ...(pathLength !== undefined && { pathLength }),
        nameConstraints,
      };
      const tbs = writeSubordinateCaTbs(fields, issuer);
      const [finding] = lintSubordinateCaTbs(tbs, fields, issuer);
      if (finding !== undefined) throw refused(`${finding.rule}: ${finding.detail}`);
      const { notBefore, notAfter } = fields;
      return pending.add(
        { serial: serialToHex(serial), notBefore, notAfter, authorityId: by.record.id },
        { tbs, by },
      );
    },

    async signDownstreamCa(prepared) {
      const { tbs, by } = pending.take(prepared);
      const certificate = assembleSigned(tbs, by.signatureAlgorithm, await by.key.sign(tbs, "der"));
      return { ...prepared, chain: [certificate, ...by.intermediates] };
    },
  };
}

/** What the operator allows, and never more than each CA from our own authority up to the root leaves us. */
function pathLengthBelow(
  { record }: X509Authority,
  bundle: SpiffeBundle,
  configured: number | undefined,
): number | undefined {
  const chain = record.chain.map((der) => readCertificate(der));
  let least = configured;
  const allow = ({ basicConstraints }: Certificate, at: number, name: string) => {
    const allowed = basicConstraints?.pathLength;
    if (allowed === undefined) return;
    // Those that name themselves as their issuer do not count (RFC 5280 §4.2.1.9).
    const between = chain.slice(0, at).filter((one) => !equal(one.subject, one.issuer)).length;
    const left = allowed - between - 1;
    if (left < 0) {
      throw new AssayError(
        "PRECONDITION_FAILED",
        `the upstream authority allows no CA below this server's X.509 authority (pathLenConstraint ${allowed} of ${name})`,
      );
    }
    least = Math.min(left, least ?? left);
  };
  for (const [at, certificate] of chain.entries()) {
    allow(certificate, at, at === 0 ? "the authority itself" : `chain/${at}`);
  }
  for (const root of rootsOf(chain.at(-1), bundle)) allow(root, chain.length, "the root");
  return least;
}

/** The roots that the last certificate of a chain may have been signed by; none for one that signed itself. */
function rootsOf(last: Certificate | undefined, { x509Authorities }: SpiffeBundle): readonly Certificate[] {
  const keyId = last?.authorityKeyId;
  if (last === undefined || keyId === undefined || equal(last.subject, last.issuer)) return [];
  return x509Authorities
    .map(({ certificate }) => readCertificate(certificate))
    .filter(({ subjectKeyId }) => subjectKeyId !== undefined && equal(subjectKeyId, keyId));
}

/** The authority's own subject with its place below, and a number by which names tell CAs apart. */
function subjectBelow(by: X509Authority, serial: Uint8Array): DistinguishedName {
  const kept = readName(by.subject, "INTERNAL").filter(({ oid }) => !REPLACED.has(oid));
  const depth = Math.max(1, by.record.chain.length);
  return [
    ...kept,
    { oid: OIDS.organizationalUnit, value: `DOWNSTREAM-${depth}` },
    { oid: OIDS.serialNumber, value: serialToDecimal(serial) },
  ];
}

function equal(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.compare(left, right) === 0;
}

function refused(detail: string): AssayError {
  return new AssayError("CERTIFICATE_LINT_FAILED", `downstream CA: ${detail}`);
}

const BACKDATE_SECONDS = 10;
const REPLACED: ReadonlySet<string> = new Set([OIDS.organizationalUnit, OIDS.serialNumber]);
