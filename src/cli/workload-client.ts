import { readCertificate } from "../crypto/certificate-reader.ts";
import { parseCertificates } from "../crypto/pem.ts";
import { serialToHex } from "../crypto/random.ts";
import { AssayError } from "../errors/assay-error.ts";
import { SpiffeWorkloadAPI, type X509SVIDResponse } from "../proto/gen/spiffe/workload/workload_pb.ts";
import type { ServiceClient } from "../rpc/client.ts";
import { parseEndpointAddress } from "../spiffe/endpoint-address.ts";
import { connectFault, openClient } from "./admin-client.ts";
import type { CliIo } from "./io.ts";

/** The Workload API as a client sees it. */
export type WorkloadClient = ServiceClient<typeof SpiffeWorkloadAPI>;

/** What every call of the Workload API carries (Workload Endpoint §3). */
export const SECURITY_HEADER = { headers: { "workload.spiffe.io": "true" } } as const;

/**
 * Opens a client of the Workload API, runs the command with it and closes it.
 * @param endpoint `unix:///path` as in `SPIFFE_ENDPOINT_SOCKET`, or the path alone.
 * @throws AssayError `USAGE` for an address that is none, `SERVER_UNAVAILABLE` where nobody answers.
 */
export async function withWorkloadClient<Result>(
  io: CliIo,
  endpoint: string,
  run: (client: WorkloadClient) => Promise<Result>,
): Promise<Result> {
  const socket = socketOf(endpoint);
  using client = openClient({ kind: "unix", path: socket }, "--socket");
  try {
    return await run(client.service(SpiffeWorkloadAPI));
  } catch (error) {
    if (error instanceof AssayError && error.code === "SERVER_UNAVAILABLE" && !io.signal.aborted) {
      throw new AssayError(
        "SERVER_UNAVAILABLE",
        `${connectFault(socket, error)}; does an agent run there, and is --socket right?`,
        {
          cause: error,
        },
      );
    }
    throw error;
  }
}

/** The first message of a stream, read; the stream is left. @throws AssayError `SERVER_UNAVAILABLE` where there is none. */
export async function first<Message, Result>(
  messages: AsyncIterable<Message>,
  read: (message: Message) => Result,
): Promise<Result> {
  for await (const message of messages) return read(message);
  throw new AssayError("SERVER_UNAVAILABLE", "the stream ended before its first message");
}

/** One X509-SVID as a person or a program wants to see it. */
export interface X509SvidView {
  readonly spiffe_id: string;
  readonly hint: string;
  readonly not_before: string;
  readonly not_after: string;
  readonly serial: string;
  /** Subject key id of the authority that signed it, in hex. */
  readonly authority: string;
  readonly dns_names: readonly string[];
  /** DER, leaf first. */
  readonly chain: readonly Uint8Array[];
  /** PKCS#8 DER. */
  readonly private_key: Uint8Array;
  /** DER of the trust domain's X.509 authorities. */
  readonly bundle: readonly Uint8Array[];
}

/** The X509-SVIDs of an answer, read. @throws AssayError `INVALID_CERTIFICATE` for an answer that is malformed. */
export function x509SvidViews(response: X509SVIDResponse): readonly X509SvidView[] {
  return response.svids.map((svid) => {
    const chain = parseCertificates(svid.x509Svid);
    const leaf = chain[0] ?? readCertificate(new Uint8Array());
    return {
      spiffe_id: svid.spiffeId,
      hint: svid.hint,
      not_before: rfc3339(leaf.notBefore),
      not_after: rfc3339(leaf.notAfter),
      serial: serialToHex(leaf.serial),
      authority: hex(leaf.authorityKeyId),
      dns_names: leaf.subjectAltName?.dnsNames ?? [],
      chain: chain.map(({ der }) => der),
      private_key: svid.x509SvidKey,
      bundle: parseCertificates(svid.bundle).map(({ der }) => der),
    };
  });
}

/** One trust domain's authorities as a person or a program wants to see them. */
export interface BundleView {
  readonly trust_domain: string;
  readonly x509_authorities: readonly {
    /** In hex; empty where the certificate has none. */
    readonly subject_key_id: string;
    readonly expires_at: string;
    /** DER. */
    readonly certificate: Uint8Array;
  }[];
  /** A JWK Set. */
  readonly jwt_authorities: { readonly keys: readonly { readonly kid?: string }[] };
}

/** The bundles of the two answers, joined by trust domain. @throws AssayError `INVALID_CERTIFICATE`, `INVALID_BUNDLE`. */
export function bundleViews(
  x509: Readonly<Record<string, Uint8Array>>,
  jwt: Readonly<Record<string, Uint8Array>>,
): readonly BundleView[] {
  const names = [...new Set([...Object.keys(x509), ...Object.keys(jwt)])].toSorted();
  return names.map((name) => ({
    // The wire names a trust domain by its SPIFFE ID (Workload API §5.2.2).
    trust_domain: name.replace("spiffe://", ""),
    x509_authorities: parseCertificates(x509[name] ?? new Uint8Array()).map((certificate) => ({
      subject_key_id: hex(certificate.subjectKeyId),
      expires_at: rfc3339(certificate.notAfter),
      certificate: certificate.der,
    })),
    jwt_authorities: jwt[name] === undefined ? { keys: [] } : keySet(jwt[name]),
  }));
}

function keySet(bytes: Uint8Array): BundleView["jwt_authorities"] {
  try {
    return JSON.parse(Buffer.from(bytes).toString("utf8")) as BundleView["jwt_authorities"];
  } catch (error) {
    throw new AssayError("INVALID_BUNDLE", "the answer's JWT bundle is not JSON", { cause: error });
  }
}

function socketOf(endpoint: string): string {
  if (endpoint.startsWith("/")) return endpoint;
  try {
    const address = parseEndpointAddress(endpoint);
    if (address.scheme === "unix") return address.path;
  } catch (error) {
    if (!(error instanceof AssayError)) throw error;
    throw new AssayError("USAGE", `--socket: ${error.detail}`, { cause: error });
  }
  throw new AssayError("USAGE", "--socket: expected a Unix socket, a path or unix:///path");
}

function hex(bytes: Uint8Array | undefined): string {
  return bytes === undefined ? "" : Buffer.from(bytes).toString("hex");
}

function rfc3339(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace(".000Z", "Z");
}
