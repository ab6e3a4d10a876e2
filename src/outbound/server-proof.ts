import { constants } from "node:crypto";
import { checkServerIdentity, type ConnectionOptions, type PeerCertificate } from "node:tls";
import { INTERMEDIATE_CIPHERS, INTERMEDIATE_GROUPS } from "../tls/handshake.ts";
import { certificatesPem, peerChain } from "../tls/peer-chain.ts";

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
          ca: proof.authorities.map((der) => certificatesPem([der])),
          // A bundle's authority may be an intermediate (X509-SVID §5: each of the bundle is an anchor).
          allowPartialTrustChain: true,
          checkServerIdentity: (_name: string, certificate: PeerCertificate) => {
            try {
              proof.verify(peerChain(certificate));
              return undefined;
            } catch (error) {
              return error instanceof Error ? error : new Error(String(error));
            }
          },
        }),
  };
}
