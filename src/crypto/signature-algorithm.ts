import { OIDS } from "./der/oid.ts";
import { type DerReader, NULL, SEQUENCE } from "./der/reader.ts";

/** A signature algorithm that Assay reads in certificates and requests. It signs with those of {@link SigningAlgorithm}. */
export interface SignatureAlgorithm {
  /** Dotted object identifier. */
  readonly oid: string;
  /** Kind of key that makes such signatures; no key is of the kind `unsupported`. */
  readonly keyKind: "ec" | "rsa" | "unsupported";
  /** Digest name as `node:crypto` knows it; `none` where the kind is `unsupported`. */
  readonly digest: "sha256" | "sha384" | "sha512" | "none";
}

/** The signature algorithms that Assay's own authorities and SVID keys use. */
export type SigningAlgorithm = "ecdsa-sha256" | "ecdsa-sha384" | "rsa-sha256";

/**
 * Reads an AlgorithmIdentifier of a signature. ECDSA must have no parameters and RSA must have NULL (RFC 5758 §3.2,
 * RFC 4055 §5); everything not in the table, SHA-1, MD5 and RSASSA-PSS among it, is refused by its number.
 */
export function readSignatureAlgorithm(reader: DerReader, what: string): SignatureAlgorithm {
  const algorithm = readAnySignatureAlgorithm(reader, what);
  if (algorithm.keyKind === "unsupported") reader.fail(`${what} ${algorithm.oid} is not supported`);
  return algorithm;
}

/**
 * As {@link readSignatureAlgorithm}, but an algorithm that is not in the table is returned as one that no key fits. For
 * certificates: nobody verifies the signature of a trust anchor, so an old one must not spoil the bundle it stands in.
 */
export function readAnySignatureAlgorithm(reader: DerReader, what: string): SignatureAlgorithm {
  const fields = reader.enter(SEQUENCE, what);
  const oid = fields.oid(what);
  const algorithm = ALGORITHMS.get(oid);
  if (algorithm === undefined) return { oid, keyKind: "unsupported", digest: "none" };
  if (algorithm.keyKind === "rsa" && fields.content(NULL, `parameters of ${what}`).length > 0) {
    fields.fail(`parameters of ${what} must be NULL`);
  }
  fields.done(what);
  return algorithm;
}

const ALGORITHMS: ReadonlyMap<string, SignatureAlgorithm> = new Map(
  (
    [
      { oid: OIDS.ecdsaWithSha256, keyKind: "ec", digest: "sha256" },
      { oid: OIDS.ecdsaWithSha384, keyKind: "ec", digest: "sha384" },
      { oid: OIDS.ecdsaWithSha512, keyKind: "ec", digest: "sha512" },
      { oid: OIDS.sha256WithRsaEncryption, keyKind: "rsa", digest: "sha256" },
      { oid: OIDS.sha384WithRsaEncryption, keyKind: "rsa", digest: "sha384" },
      { oid: OIDS.sha512WithRsaEncryption, keyKind: "rsa", digest: "sha512" },
    ] satisfies SignatureAlgorithm[]
  ).map((algorithm) => [algorithm.oid, algorithm]),
);
