import { createPrivateKey, createPublicKey, type KeyObject, sign } from "node:crypto";
import { stat } from "node:fs/promises";
import { KEY_USAGE } from "../../crypto/certificate-extensions.ts";
import type { Certificate } from "../../crypto/certificate-reader.ts";
import { verifyChain } from "../../crypto/chain.ts";
import { parsePemCertificates } from "../../crypto/pem.ts";
import type { SigningAlgorithm } from "../../crypto/signature-algorithm.ts";
import { keyTypeOf } from "../../crypto/keys.ts";
import { AssayError, toAssayError } from "../../errors/assay-error.ts";
import { fileError } from "../../files/file-error.ts";
import { readBounded } from "../../files/read-bounded.ts";

/** Where a CA is. */
export interface CaFiles {
  readonly certificate: string;
  readonly key: string;
  readonly bundle?: string;
}

/** A CA that can sign. */
export interface LoadedCa {
  readonly certificate: Certificate;
  readonly subjectKeyId: Uint8Array;
  /** DER: the CA's own certificate and others up to but without the root; none where it is the root. */
  readonly intermediates: readonly Uint8Array[];
  /** DER. */
  readonly roots: readonly Uint8Array[];
  readonly signatureAlgorithm: SigningAlgorithm;
  readonly sign: (bytes: Uint8Array) => Uint8Array;
}

/**
 * Reads a CA's files and checks that they belong together: the key is that of the first certificate, which is a CA's that may
 * sign certificates and lives, and leads over the others to a root.
 * @param now Unix seconds.
 * @throws AssayError `UPSTREAM_UNAVAILABLE` where a file cannot be read, `UPSTREAM_REFUSED` naming what does not fit.
 */
export async function loadCa(files: CaFiles, now: number): Promise<LoadedCa> {
  const [own, ...others] = await readCertificates("cert_file_path", files.certificate);
  if (own === undefined) throw refused("cert_file_path", files.certificate, "holds no certificate");
  const key = await readKey(files.key);
  if (!isKeyOf(key, own.spki)) {
    throw refused(
      "key_file_path",
      files.key,
      `does not hold the key of the certificate in ${files.certificate}`,
    );
  }
  const { subjectKeyId } = own;
  const fault = caFault(own, now);
  if (fault !== undefined || subjectKeyId === undefined) {
    throw refused("cert_file_path", files.certificate, fault ?? "has no subject key identifier");
  }
  const isRoot = Buffer.compare(own.subject, own.issuer) === 0;
  if (!isRoot && files.bundle === undefined) {
    throw refused(
      "cert_file_path",
      files.certificate,
      "holds a certificate that is not self-signed, so bundle_file_path must name the roots",
    );
  }
  const roots = files.bundle === undefined ? [own] : await readCertificates("bundle_file_path", files.bundle);
  const isAmongRoots = roots.some(({ der }) => Buffer.compare(der, own.der) === 0);
  if (!isAmongRoots) requireChain(files, own, others, roots, now);
  const signatureAlgorithm = algorithmOf(own.spki);
  return {
    certificate: own,
    subjectKeyId,
    intermediates: isAmongRoots ? [] : [own, ...others].map(({ der }) => der),
    roots: roots.map(({ der }) => der),
    signatureAlgorithm,
    sign: (bytes) => sign(signatureAlgorithm === "ecdsa-sha384" ? "sha384" : "sha256", bytes, key),
  };
}

function caFault(own: Certificate, now: number): string | undefined {
  if (own.basicConstraints?.ca !== true) return "holds a certificate that is not a CA's";
  if (own.keyUsage !== undefined && (own.keyUsage & KEY_USAGE.keyCertSign) === 0) {
    return "holds a certificate that may not sign certificates";
  }
  if (own.basicConstraints.pathLength === 0) return "holds a certificate that allows no CA below it";
  if (now < own.notBefore) return "holds a certificate that is not valid yet";
  return now >= own.notAfter ? "holds a certificate that has expired" : undefined;
}

function requireChain(
  files: CaFiles,
  own: Certificate,
  intermediates: readonly Certificate[],
  roots: readonly Certificate[],
  now: number,
): void {
  try {
    verifyChain({ leaf: own, intermediates, roots, at: now });
  } catch (error) {
    const reason = toAssayError(error).detail;
    throw refused(
      "cert_file_path",
      files.certificate,
      `leads to no root in ${files.bundle ?? "it"}: ${reason}`,
    );
  }
}

async function readCertificates(setting: string, path: string): Promise<readonly Certificate[]> {
  const pem = await readBounded(path, MAX_BYTES, { code: "UPSTREAM_UNAVAILABLE" });
  try {
    return parsePemCertificates(pem.toString("latin1"), MAX_CERTIFICATES);
  } catch (error) {
    throw refused(setting, path, `cannot be used: ${toAssayError(error).detail}`);
  }
}

async function readKey(path: string): Promise<KeyObject> {
  await requirePrivate(path);
  const pem = await readBounded(path, MAX_BYTES, { code: "UPSTREAM_UNAVAILABLE" });
  let key: KeyObject;
  try {
    key = createPrivateKey({ key: pem, format: "pem" });
  } catch {
    // The cause is left out: some of OpenSSL's errors tell about the content.
    throw refused("key_file_path", path, "holds no private key in PEM without a passphrase");
  } finally {
    pem.fill(0);
  }
  if (key.asymmetricKeyType === "ec" || key.asymmetricKeyType === "rsa") return key;
  throw refused("key_file_path", path, "holds a key that is neither EC nor RSA");
}

// A mounted secret is a link, and its group is the one that the platform gave the server; everybody else is a stranger.
async function requirePrivate(path: string): Promise<void> {
  const facts = await stat(path).catch((cause: unknown) => {
    throw fileError("read", path, cause, { code: "UPSTREAM_UNAVAILABLE" });
  });
  const user = process.geteuid?.() ?? facts.uid;
  if (facts.uid !== user && facts.uid !== 0) {
    throw refused("key_file_path", path, `is owned by uid ${facts.uid}; give it to uid ${user} with chown`);
  }
  if ((facts.mode & 0o037) === 0) return;
  const mode = (facts.mode & 0o777).toString(8).padStart(4, "0");
  throw refused(
    "key_file_path",
    path,
    `has mode ${mode}, so others could have had the key; make a new one and chmod 600 it`,
  );
}

function isKeyOf(key: KeyObject, spki: Uint8Array): boolean {
  try {
    return createPublicKey(key).equals(
      createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" }),
    );
  } catch {
    return false;
  }
}

function algorithmOf(spki: Uint8Array): SigningAlgorithm {
  switch (keyTypeOf(spki, "UPSTREAM_REFUSED")) {
    case "ec-p256":
      return "ecdsa-sha256";
    case "ec-p384":
      return "ecdsa-sha384";
    case "rsa":
      return "rsa-sha256";
  }
}

function refused(setting: string, path: string, fault: string): AssayError {
  return new AssayError("UPSTREAM_REFUSED", `${setting} ${path} ${fault}`);
}

const MAX_BYTES = 1_048_576;
const MAX_CERTIFICATES = 64;
