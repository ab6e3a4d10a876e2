import { type Clock, unixSeconds } from "../clock.ts";
import { type IssuingCa, lintSubordinateCaTbs, writeSubordinateCaTbs } from "../crypto/ca-certificate.ts";
import { readCertificate } from "../crypto/certificate-reader.ts";
import { OIDS } from "../crypto/der/oid.ts";
import { keyTypeOf } from "../crypto/keys.ts";
import { type Random, randomSerial, serialToDecimal, serialToHex } from "../crypto/random.ts";
import { assembleSigned } from "../crypto/signed-der.ts";
import { type DistinguishedName, readName } from "../crypto/x501-name.ts";
import { AssayError } from "../errors/assay-error.ts";
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
  /** How many CAs may follow below one that is signed here; any number where absent. */
  readonly pathLength?: number;
  /** Whether one that is signed here may sign for the trust domain only, by its own words. */
  readonly nameConstraints?: boolean;
}

/** The two steps in which the X.509 authority of a server below this one is signed. */
export type DownstreamCaSigner = Pick<Signing, "prepareDownstreamCa" | "signDownstreamCa">;

/** The signer of X.509 authorities of servers below this one. */
export function createDownstreamCaSigner(dependencies: DownstreamCaSignerDependencies): DownstreamCaSigner {
  const { trustDomain, clock, random, authority, nameConstraints = false } = dependencies;
  const pending = new Pending<PreparedDownstreamCa, { readonly tbs: Uint8Array; readonly by: X509Authority }>(
    "downstream CA",
  );

  return {
    prepareDownstreamCa({ publicKey, ttl }) {
      const by = authority();
      const now = unixSeconds(clock);
      if (!(ttl >= 1)) throw refused("lifetime must be at least one second");
      keyTypeOf(publicKey, "INVALID_CSR");
      const pathLength = pathLengthBelow(by, dependencies.pathLength);
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

/** What the operator allows, and never more than who signed our own authority left us. */
function pathLengthBelow({ record }: X509Authority, configured: number | undefined): number | undefined {
  const own = readCertificate(record.chain[0] ?? new Uint8Array()).basicConstraints?.pathLength;
  if (own === undefined) return configured;
  if (own === 0) {
    throw new AssayError(
      "PRECONDITION_FAILED",
      "the upstream authority allows no CA below this server's X.509 authority (pathLenConstraint 0)",
    );
  }
  return Math.min(own - 1, configured ?? own - 1);
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

function refused(detail: string): AssayError {
  return new AssayError("CERTIFICATE_LINT_FAILED", `downstream CA: ${detail}`);
}

const BACKDATE_SECONDS = 10;
const REPLACED: ReadonlySet<string> = new Set([OIDS.organizationalUnit, OIDS.serialNumber]);
