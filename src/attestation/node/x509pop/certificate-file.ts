import type { Certificate } from "../../../crypto/certificate-reader.ts";
import { parsePemCertificates } from "../../../crypto/pem.ts";
import { AssayError } from "../../../errors/assay-error.ts";
import { readBounded } from "../../../files/read-bounded.ts";

/**
 * The certificates of a PEM file, at least one.
 * @throws AssayError `CONFIG_INVALID` naming the file.
 */
export async function readCertificateFile(path: string): Promise<readonly Certificate[]> {
  const bytes = await readBounded(path, MAX_FILE_BYTES, { code: "CONFIG_INVALID" });
  try {
    return parsePemCertificates(bytes.toString("latin1"));
  } catch (cause) {
    const reason = cause instanceof AssayError ? cause.detail : "it cannot be parsed";
    throw new AssayError("CONFIG_INVALID", `certificates in ${path}: ${reason}`, { cause });
  }
}

const MAX_FILE_BYTES = 4_194_304;
