import type { DetailedPeerCertificate } from "node:tls";
import { AssayError } from "../errors/assay-error.ts";

/**
 * The certificates that a peer showed, in DER, leaf first, as Node links them; none where it showed none. At most 16, for a
 * peer chooses how many it sends.
 * @throws AssayError `INVALID_CERTIFICATE` for more.
 */
export function peerChain(leaf: Partial<DetailedPeerCertificate>): readonly Uint8Array[] {
  const chain: Buffer[] = [];
  let current: Partial<DetailedPeerCertificate> | undefined = leaf;
  while (current?.raw !== undefined) {
    const { raw }: { raw?: Buffer } = current;
    // The last certificate names itself as its issuer.
    if (chain.some((known) => known.equals(raw))) break;
    if (chain.push(raw) > MAX_CHAIN) throw new AssayError("INVALID_CERTIFICATE", "chain is too long");
    current = current.issuerCertificate;
  }
  return chain;
}

/** Certificates in DER as Node's TLS takes them: PEM blocks, one after the other. */
export function certificatesPem(certificates: readonly Uint8Array[]): string {
  return certificates
    .map((der) => {
      const base64 = Buffer.from(der.buffer, der.byteOffset, der.byteLength).toString("base64");
      const lines = base64.match(/.{1,64}/g) ?? [];
      return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
    })
    .join("");
}

const MAX_CHAIN = 16;
