import { KubernetesApi } from "../../../cloud/kubernetes/kubernetes-api.ts";
import { serviceAccountAccess } from "../../../cloud/kubernetes/service-account.ts";
import { AssayError } from "../../../errors/assay-error.ts";

/** Where the Kubernetes API is, and how the agent proves itself to it. */
export interface ApiClientOptions {
  /** An https URL; a path in it comes before every path asked for. */
  readonly server: string;
  /** The bearer token, read anew for each request: the cluster replaces it every hour. */
  readonly tokenFile: string;
  /** PEM certificates of the authorities that the server is believed by; read anew for each request. */
  readonly caFile: string;
}

/** The Kubernetes API as the attestor asks it. */
export type ApiClient = Pick<KubernetesApi, "ask"> & Disposable;

/** Makes the client; its errors are `WORKLOAD_ATTESTATION_FAILED`. */
export function openApiClient({ server, ...files }: ApiClientOptions): ApiClient {
  const code = "WORKLOAD_ATTESTATION_FAILED";
  return new KubernetesApi({
    server,
    access: serviceAccountAccess(files, code),
    code,
    userAgent: "assay-agent",
  });
}

/** Trouble that says nothing about a workload. */
export function failed(detail: string, cause?: unknown): AssayError {
  return new AssayError("WORKLOAD_ATTESTATION_FAILED", detail, { cause });
}
