import { type ChannelCredentials, credentials } from "@grpc/grpc-js";
import { constants, type KeyObject } from "node:crypto";
import { isIP } from "node:net";
import { createSecureContext, type PeerCertificate } from "node:tls";
import { AssayError } from "../errors/assay-error.ts";
import { certificatesPem, peerChain } from "../tls/peer-chain.ts";

/** A server on this machine, behind a Unix socket. */
export interface UnixTarget {
  readonly kind: "unix";
  /** Absolute path. */
  readonly path: string;
}

/** A server in the clear, where the network itself says who is at the other end: loopback, or a Workload Endpoint's. */
export interface TcpTarget {
  readonly kind: "tcp";
  /** IP address; an IPv6 address without brackets. */
  readonly host: string;
  readonly port: number;
}

/** A server that proves itself by an X509-SVID. */
export interface TlsTarget {
  readonly kind: "tls";
  /** DNS name or IP address; an IPv6 address without brackets. */
  readonly host: string;
  readonly port: number;
  /** DER certificates of which one must have signed the server's chain; it need not be self-signed. */
  readonly authorities: readonly Uint8Array[];
  /**
   * Decides who the server is. Called once for each connection, after its chain was found to lead to an authority
   * and be within its time; receives DER certificates, leaf first. Refuses by throwing. Names of hosts play no part.
   */
  readonly verifyServer: (chain: readonly Uint8Array[]) => void;
  /** What the client proves itself by, if it does. */
  readonly identity?: { readonly certificates: readonly Uint8Array[]; readonly privateKey: KeyObject };
}

/** Where a client connects to. */
export type RpcTarget = UnixTarget | TcpTarget | TlsTarget;

/** The target as the gRPC library wants it. Throws INVALID_REQUEST if it cannot be one. */
export function libraryTarget(target: RpcTarget): LibraryTarget {
  switch (target.kind) {
    case "unix":
      // A second slash would be read as the beginning of a host.
      if (!target.path.startsWith("/") || target.path.startsWith("//")) {
        throw new AssayError(
          "INVALID_REQUEST",
          `socket path must be absolute, got ${JSON.stringify(target.path)}`,
        );
      }
      return {
        address: `unix:${target.path}`,
        credentials: credentials.createInsecure(),
        // Many servers refuse a path as authority, or none at all.
        options: { "grpc.default_authority": "localhost" },
      };
    case "tcp":
      return { address: addressOf(target), credentials: credentials.createInsecure(), options: {} };
    case "tls":
      return {
        address: addressOf(target),
        credentials: tlsCredentials(target),
        // An address may not stand in the server name extension (RFC 6066 §3).
        options: isIP(target.host) === 0 ? {} : { "grpc.ssl_target_name_override": "localhost" },
      };
    default:
      throw new AssayError("INTERNAL", "target must be a Unix socket, a TCP or a TLS address");
  }
}

interface LibraryTarget {
  readonly address: string;
  readonly credentials: ChannelCredentials;
  readonly options: Readonly<Record<string, string | number>>;
}

function addressOf({ host, port }: TcpTarget | TlsTarget): string {
  return `dns:${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
}

function tlsCredentials(target: TlsTarget): ChannelCredentials {
  const { identity } = target;
  const context = createSecureContext({
    ca: target.authorities.map((der) => certificatesPem([der])),
    // A bundle's authority may be an intermediate (X509-SVID §5: any of the bundle is an anchor).
    allowPartialTrustChain: true,
    minVersion: "TLSv1.2",
    // A resumed session would keep the verdict of an earlier handshake.
    secureOptions: constants.SSL_OP_NO_TICKET,
    ...(identity === undefined
      ? {}
      : {
          cert: certificatesPem(identity.certificates),
          key: identity.privateKey.export({ type: "pkcs8", format: "pem" }),
        }),
  });
  return credentials.createFromSecureContext(context, {
    rejectUnauthorized: true,
    checkServerIdentity: (_host: string, certificate: PeerCertificate) => {
      try {
        target.verifyServer(peerChain(certificate));
        return undefined;
      } catch (error) {
        return error instanceof Error ? error : new Error(String(error));
      }
    },
  });
}
