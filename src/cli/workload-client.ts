import { readCertificate } from "../crypto/certificate-reader.ts";
import { parseCertificates } from "../crypto/pem.ts";
import { serialToHex } from "../crypto/random.ts";
import { AssayError } from "../errors/assay-error.ts";
import { SpiffeWorkloadAPI, type X509SVIDResponse } from "../proto/gen/spiffe/workload/workload_pb.ts";
import { RpcClient, type ServiceClient } from "../rpc/client.ts";
import { parseEndpointAddress } from "../spiffe/endpoint-address.ts";

/** The Workload API as a client sees it. */
export type WorkloadClient = ServiceClient<typeof SpiffeWorkloadAPI>;

/** What every call of the Workload API carries (Workload Endpoint §3). */
export const SECURITY_HEADER = { headers: { "workload.spiffe.io": "true" } } as const;

/**
 * Opens a client of the Workload API, runs the command with it and closes it.
 * @param endpoint `unix:///path` as in `SPIFFE_ENDPOINT_SOCKET`, or the path alone.
 * @throws AssayError `CONFIG_INVALID` for an address that is none, `SERVER_UNAVAILABLE` where nobody answers.
 */
export async function withWorkloadClient<Result>(
  endpoint: string,
  run: (client: WorkloadClient) => Promise<Result>,
): Promise<Result> {
  const address = parseEndpointAddress(endpoint.startsWith("/") ? `unix://${endpoint}` : endpoint);
  if (address.scheme !== "unix") {
    throw new AssayError("CONFIG_INVALID", "workload endpoint address: this command speaks to Unix sockets only");
  }
  using client = new RpcClient({ target: { kind: "unix", path: address.path } });
  try {
    return await run(client.service(SpiffeWorkloadAPI));
  } catch (error) {
    if (error instanceof AssayError && error.code === "SERVER_UNAVAILABLE") {
      throw new AssayError("SERVER_UNAVAILABLE", `${endpoint}: ${error.detail}; does an agent run there?`, {
        cause: error,
      });
    }
    throw error;
  }
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
      authority: leaf.authorityKeyId === undefined ? "" : Buffer.from(leaf.authorityKeyId).toString("hex"),
      dns_names: leaf.subjectAltName?.dnsNames ?? [],
      chain: chain.map(({ der }) => der),
      private_key: svid.x509SvidKey,
      bundle: parseCertificates(svid.bundle).map(({ der }) => der),
    };
  });
}

function rfc3339(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace(".000Z", "Z");
}
