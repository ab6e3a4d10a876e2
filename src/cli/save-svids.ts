import { join } from "node:path";
import { toPem } from "../crypto/pem.ts";
import { atomicWrite } from "../files/atomic-write.ts";
import { ensurePrivateFolder } from "../files/private-folder.ts";
import type { X509SvidView } from "./workload-client.ts";

/**
 * Writes X509-SVIDs as PEM files: `svid.N.pem` (chain), `svid.N.key` (PKCS#8, mode 0600), `bundle.N.pem`. Each file is
 * replaced as a whole.
 * @throws AssayError where the folder cannot be written.
 */
export async function saveX509Svids(folder: string, svids: readonly X509SvidView[]): Promise<void> {
  await ensurePrivateFolder(folder);
  for (const [index, svid] of svids.entries()) {
    const pem = (label: "CERTIFICATE" | "PRIVATE KEY", ders: readonly Uint8Array[]) => Buffer.from(ders.map((der) => toPem(label, der)).join(""));
    await atomicWrite(join(folder, `svid.${index}.key`), pem("PRIVATE KEY", [svid.private_key]));
    await atomicWrite(join(folder, `svid.${index}.pem`), pem("CERTIFICATE", svid.chain), { mode: 0o644 });
    await atomicWrite(join(folder, `bundle.${index}.pem`), pem("CERTIFICATE", svid.bundle), { mode: 0o644 });
  }
}
