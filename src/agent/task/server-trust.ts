import { getCACertificates } from "node:tls";
import { type Clock, unixSeconds } from "../../clock.ts";
import { readCertificate } from "../../crypto/certificate-reader.ts";
import { parsePemCertificates, toPem } from "../../crypto/pem.ts";
import { validateX509Svid } from "../../crypto/x509-svid.ts";
import { AssayError, toAssayError } from "../../errors/assay-error.ts";
import { readBounded } from "../../files/read-bounded.ts";
import type { ServerProof } from "../../outbound/server-proof.ts";
import { trustDomainOf } from "../../spiffe/id.ts";
import { serverId } from "../../spiffe/reserved.ts";
import { readX509Authorities } from "../disk/trust-bundle.ts";

/** What a server is believed by: its X509-SVID and a bundle, or a certificate of the web for its name. */
export type ServerTrust =
  | { readonly kind: "bundle"; readonly path: string }
  | { readonly kind: "caFile"; readonly path: string }
  | { readonly kind: "system" };

/**
 * Reads what a server has to prove.
 * @throws AssayError `CONFIG_INVALID` naming the file.
 */
export async function serverProof(trust: ServerTrust, clock: Clock): Promise<ServerProof> {
  switch (trust.kind) {
    case "bundle": {
      const authorities = await readX509Authorities(trust.path);
      return { kind: "chain", authorities, verify: (chain) => verifyServer(chain, authorities, clock) };
    }
    case "caFile":
      return { kind: "web", authorities: await readAuthorities(trust.path) };
    case "system":
      return { kind: "web", authorities: webAuthorities() };
  }
}

/** PEM of the authorities of the web: those that Node brings, those of the system, and those that the operator added. */
export function webAuthorities(): readonly string[] {
  return [...new Set([...getCACertificates("default"), ...getCACertificates("system")])];
}

/** Believes a server by its SPIFFE ID alone: the one that is kept for servers. @throws AssayError `INVALID_CERTIFICATE`. */
function verifyServer(chain: readonly Uint8Array[], authorities: readonly Uint8Array[], clock: Clock): void {
  const roots = authorities.map((der) => readCertificate(der));
  const certificates = chain.map((der) => readCertificate(der));
  const { spiffeId } = validateX509Svid(certificates, roots, unixSeconds(clock));
  if (spiffeId === serverId(trustDomainOf(spiffeId))) return;
  throw new AssayError("INVALID_CERTIFICATE", `${spiffeId} is not the ID of a server`);
}

async function readAuthorities(path: string): Promise<readonly string[]> {
  const text = (await readBounded(path, MAX_BYTES, { code: "CONFIG_INVALID" })).toString("latin1");
  try {
    const certificates = parsePemCertificates(text);
    if (certificates.length > 0) return certificates.map(({ der }) => toPem("CERTIFICATE", der));
  } catch (cause) {
    throw new AssayError("CONFIG_INVALID", `${path}: ${toAssayError(cause).detail}`, { cause });
  }
  throw new AssayError("CONFIG_INVALID", `${path} holds no certificate (PEM)`);
}

const MAX_BYTES = 4 * 1024 * 1024;
