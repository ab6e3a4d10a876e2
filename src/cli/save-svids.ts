import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { toPem } from "../crypto/pem.ts";
import { atomicWrite } from "../files/atomic-write.ts";
import { fileError } from "../files/file-error.ts";
import type { X509SvidView } from "./workload-client.ts";

/**
 * Writes X509-SVIDs as PEM files: `svid.N.pem` (chain), `svid.N.key` (PKCS#8, mode 0600), `bundle.N.pem`. Each file is
 * replaced as a whole; a folder that is not there is made with mode 0700.
 * @throws AssayError `FILE_UNAVAILABLE` where the folder cannot be written.
 */
export async function saveX509Svids(folder: string, svids: readonly X509SvidView[]): Promise<void> {
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw fileError("use folder", folder, cause);
  }
  for (const [index, svid] of svids.entries()) {
    await atomicWrite(join(folder, `svid.${index}.key`), pem("PRIVATE KEY", [svid.private_key]));
    await atomicWrite(join(folder, `svid.${index}.pem`), pem("CERTIFICATE", svid.chain), { mode: 0o644 });
    await atomicWrite(join(folder, `bundle.${index}.pem`), pem("CERTIFICATE", svid.bundle), { mode: 0o644 });
  }
}

function pem(label: "CERTIFICATE" | "PRIVATE KEY", ders: readonly Uint8Array[]): Uint8Array {
  return Buffer.from(ders.map((der) => toPem(label, der)).join(""));
}
