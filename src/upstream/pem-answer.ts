/**
 * upstream/ — upstream authorities: plugins that have our X.509 authorities signed from outside, one folder each.
 *
 * Must never know what an answer is for, nor judge it: signing checks everything that comes back.
 * Called by the server's composition, which gives the one that is configured to signing.
 */
import { parsePemCertificates } from "../crypto/pem.ts";
import { AssayError, toAssayError } from "../errors/assay-error.ts";
import { readBounded } from "../files/read-bounded.ts";
import type { X509AuthorityCertificate } from "../spiffe/bundle.ts";

/**
 * The certificates of a PEM text that a service answered with, in DER and in their order: 1 to 16, of 256 KiB together.
 * What they say and whether they fit the order is judged by whoever ordered them.
 * @param what For the error: `chain`.
 * @throws AssayError `UPSTREAM_REFUSED` where there is no such text or anything else in it.
 */
export function answeredCertificates(pem: unknown, what: string): readonly Uint8Array[] {
  if (typeof pem !== "string" || pem.length > MAX_PEM) {
    throw new AssayError(
      "UPSTREAM_REFUSED",
      `the answer has no ${what}, or one of more than ${MAX_PEM} bytes`,
    );
  }
  try {
    return parsePemCertificates(pem, MAX_CERTIFICATES).map(({ der }) => der);
  } catch (error) {
    throw new AssayError("UPSTREAM_REFUSED", `the ${what} in the answer: ${toAssayError(error).detail}`);
  }
}

/**
 * The certificates of a PEM file of the operator's, for trust beside what a service answers; at most 64.
 * @throws AssayError `CONFIG_INVALID` naming the setting.
 */
export async function readSupplementalRoots(setting: string, path: string): Promise<readonly Uint8Array[]> {
  const pem = await readBounded(path, MAX_FILE, { code: "CONFIG_INVALID" });
  try {
    return parsePemCertificates(pem.toString("latin1"), MAX_ROOTS).map(({ der }) => der);
  } catch (error) {
    throw new AssayError("CONFIG_INVALID", `${setting} ${path}: ${toAssayError(error).detail}`);
  }
}

/** Roots as a bundle holds them, each once, in the order in which they came first. */
export function asRoots(certificates: readonly Uint8Array[]): readonly X509AuthorityCertificate[] {
  const once = new Map(certificates.map((der) => [Buffer.from(der).toString("base64"), der]));
  return [...once.values()].map((certificate) => ({ certificate, tainted: false }));
}

const MAX_PEM = 262_144;
const MAX_CERTIFICATES = 16;
const MAX_FILE = 1_048_576;
const MAX_ROOTS = 64;
