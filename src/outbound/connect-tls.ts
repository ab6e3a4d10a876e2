import { isIP } from "node:net";
import { connect, type TLSSocket } from "node:tls";
import { AssayError } from "../errors/assay-error.ts";
import { proofOptions, type ServerProof } from "./server-proof.ts";

/** Where to connect to, and whom to expect there. */
export interface TlsConnect {
  /** The URL's host: for the server name extension and, where the proof is the web's, for the certificate. */
  readonly host: string;
  readonly port: number;
  /** The addresses to try, in order; nothing else is connected to. */
  readonly addresses: readonly string[];
  readonly proof: ServerProof;
  readonly signal: AbortSignal;
}

/**
 * A TLS connection to the first of the addresses that takes one, whose server has proved itself. A server that is
 * there and proves nothing ends the attempt: another address of the same name is no better.
 * @throws AssayError `REMOTE_UNAVAILABLE`.
 */
export async function connectTls(
  wanted: TlsConnect,
): Promise<{ readonly socket: TLSSocket; readonly address: string }> {
  let fault: AssayError | undefined;
  for (const address of wanted.addresses) {
    try {
      return { socket: await connectTo(address, wanted), address };
    } catch (error) {
      fault = faultOf(error, address, wanted);
      if (wanted.signal.aborted || !isUnreachable(error)) break;
    }
  }
  throw fault ?? new AssayError("REMOTE_UNAVAILABLE", `${wanted.host} has no address`);
}

function connectTo(address: string, { host, port, proof, signal }: TlsConnect): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason as Error);
      return;
    }
    const socket = connect({
      ...proofOptions(proof, host),
      host: address,
      port,
      // An address may not stand in the server name extension (RFC 6066 §3).
      ...(isIP(host) === 0 ? { servername: host } : {}),
    });
    const settle = () => {
      signal.removeEventListener("abort", stop);
      socket.removeListener("error", onError);
      socket.removeListener("close", onClose);
    };
    const refuse = (error: Error) => {
      settle();
      // What the socket still has to say after that interests nobody.
      socket.on("error", () => {});
      socket.destroy();
      reject(error);
    };
    const stop = () => refuse(signal.reason as Error);
    const onError = refuse;
    const onClose = () => refuse(new Error("the connection was closed during the handshake"));
    signal.addEventListener("abort", stop, { once: true });
    socket.once("error", onError);
    socket.once("close", onClose);
    socket.once("secureConnect", () => {
      if (!socket.authorized) {
        refuse(socket.authorizationError ?? new Error("the server proved nothing"));
        return;
      }
      settle();
      resolve(socket);
    });
  });
}

function faultOf(error: unknown, address: string, { host, port }: TlsConnect): AssayError {
  if (error instanceof AssayError && error.code === "REMOTE_UNAVAILABLE") return error;
  const { code } = error as NodeJS.ErrnoException;
  const where = `${host} at ${isIP(address) === 6 ? `[${address}]` : address}:${port}`;
  const reason =
    error instanceof AssayError ? error.detail : error instanceof Error ? error.message : String(error);
  const what = isUnreachable(error) ? "cannot be connected to" : "is not accepted";
  return new AssayError(
    "REMOTE_UNAVAILABLE",
    `${where} ${what}: ${reason}${code === undefined || reason.includes(code) ? "" : ` (${code})`}`,
    { cause: error },
  );
}

function isUnreachable(error: unknown): boolean {
  return UNREACHABLE.has((error as NodeJS.ErrnoException).code ?? "");
}

const UNREACHABLE: ReadonlySet<string> = new Set([
  "ECONNREFUSED",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "EADDRNOTAVAIL",
  "ETIMEDOUT",
]);
