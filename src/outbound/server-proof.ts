import { constants } from "node:crypto";
import {
  checkServerIdentity,
  type ConnectionOptions,
  type DetailedPeerCertificate,
  type PeerCertificate,
} from "node:tls";

/** How a server has to prove itself before a byte of a request is sent to it. */
export type ServerProof =
  | {
      /** By a certificate for the URL's host (RFC 6125) that leads to one of these authorities. */
      readonly kind: "web";
      /** PEM, one certificate each. */
      readonly authorities: readonly string[];
    }
  | {
      /** By a chain to one of these authorities, intermediates among them, of which `verify` approves. */
      readonly kind: "chain";
      /** DER certificates. */
      readonly authorities: readonly Uint8Array[];
      /** Receives DER certificates, leaf first; names of hosts play no part. Refuses by throwing. */
      readonly verify: (chain: readonly Uint8Array[]) => void;
    };

/**
 * The TLS options of a client that accepts no other proof: TLS 1.2 and 1.3 with the suites and groups of Mozilla's
 * "intermediate" profile (SPIFFE Federation §5), and no session of an earlier connection, whose verdict would live on.
 */
export function proofOptions(proof: ServerProof, host: string): ConnectionOptions {
  return {
    minVersion: "TLSv1.2",
    ciphers: INTERMEDIATE_CIPHERS,
    ecdhCurve: INTERMEDIATE_GROUPS,
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
    ALPNProtocols: ["http/1.1"],
    rejectUnauthorized: true,
    ...(proof.kind === "web"
      ? {
          ca: [...proof.authorities],
          checkServerIdentity: (_name: string, certificate: PeerCertificate) =>
            checkServerIdentity(host, certificate),
        }
      : {
          ca: proof.authorities.map(pem),
          // A bundle's authority may be an intermediate (X509-SVID §5: each of the bundle is an anchor).
          allowPartialTrustChain: true,
          checkServerIdentity: (_name: string, certificate: PeerCertificate) => {
            try {
              proof.verify(chainOf(certificate));
              return undefined;
            } catch (error) {
              return error instanceof Error ? error : new Error(String(error));
            }
          },
        }),
  };
}

function chainOf(leaf: Partial<DetailedPeerCertificate>): Uint8Array[] {
  const chain: Buffer[] = [];
  let current: Partial<DetailedPeerCertificate> | undefined = leaf;
  while (current?.raw !== undefined && chain.length < MAX_CHAIN) {
    const { raw }: { raw?: Buffer } = current;
    // The last certificate names itself as its issuer.
    if (chain.some((known) => known.equals(raw))) break;
    chain.push(raw);
    current = current.issuerCertificate;
  }
  return chain;
}

function pem(der: Uint8Array): string {
  const base64 = Buffer.from(der.buffer, der.byteOffset, der.byteLength).toString("base64");
  return `-----BEGIN CERTIFICATE-----\n${(base64.match(/.{1,64}/g) ?? []).join("\n")}\n-----END CERTIFICATE-----\n`;
}

const MAX_CHAIN = 16;

/** OpenSSL's names of the suites of Mozilla's "intermediate" profile, finite-field Diffie-Hellman left out. */
export const INTERMEDIATE_CIPHERS = [
  "TLS_AES_128_GCM_SHA256",
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
].join(":");

/** The groups of the same profile. */
export const INTERMEDIATE_GROUPS = "X25519:prime256v1:secp384r1";
