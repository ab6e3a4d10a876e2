/**
 * upstream/cert-manager/ — an upstream authority that is an issuer of cert-manager in a Kubernetes cluster.
 *
 * Must never judge what was signed, nor touch a request that does not carry the trust domain's label.
 * Called by signing, by way of the server's composition.
 */
import { z } from "zod";
import { pause, withDeadline } from "../../cloud/deadline.ts";
import { readKubeconfig } from "../../cloud/kubernetes/kubeconfig.ts";
import { KubernetesApi, type KubernetesRequest } from "../../cloud/kubernetes/kubernetes-api.ts";
import {
  CLUSTER_API,
  SERVICE_ACCOUNT,
  serviceAccountAccess,
} from "../../cloud/kubernetes/service-account.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { PluginHost } from "../../plugin/host.ts";
import {
  defineUpstreamAuthority,
  type UpstreamAuthority,
  type UpstreamX509Ca,
  type UpstreamX509CaOrder,
} from "../../plugin/upstream-authority.ts";
import {
  certificateRequest,
  isOver,
  type IssuerReference,
  plainText,
  readSigned,
  requestState,
  TRUST_DOMAIN_LABEL,
  trustDomainLabel,
} from "./certificate-request.ts";

const dnsName = z
  .string()
  .max(253)
  .regex(/^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/, "expected small letters, digits, dots and dashes");

/** The `cert-manager` upstream authority plugin. */
export const certManagerUpstream = defineUpstreamAuthority({
  kind: "upstreamAuthority",
  apiVersion: 1,
  name: "cert-manager",
  config: z.strictObject({
    kube_config_file: z
      .string()
      .min(1)
      .max(4096)
      .optional()
      .describe(
        "Kubeconfig to reach the cluster with; the service account of the server's own pod where there is none",
      ),
    namespace: dnsName.describe("Namespace in which CertificateRequests are made"),
    issuer_name: dnsName.describe("Name of the issuer that signs"),
    issuer_kind: z
      .string()
      .max(63)
      .regex(/^[A-Za-z][A-Za-z0-9]*$/)
      .default("Issuer")
      .describe("Kind of the issuer: Issuer, ClusterIssuer or an external one's"),
    issuer_group: dnsName.default("cert-manager.io").describe("API group of the issuer"),
  }),
  async create(config, host) {
    const code = "UPSTREAM_UNAVAILABLE";
    const access = serviceAccountAccess(
      { tokenFile: `${SERVICE_ACCOUNT}/token`, caFile: `${SERVICE_ACCOUNT}/ca.crt` },
      code,
    );
    const file = config.kube_config_file;
    const cluster =
      file === undefined ? { server: CLUSTER_API, access } : await readKubeconfig(file, "CONFIG_INVALID");
    const api = new KubernetesApi({ ...cluster, code, userAgent: "assay-server" });
    const issuer = { name: config.issuer_name, kind: config.issuer_kind, group: config.issuer_group };
    return openCertManager(api, { namespace: config.namespace, issuer, host });
  },
});

/** What an upstream authority on cert-manager needs besides the cluster. */
interface CertManagerOptions {
  readonly namespace: string;
  readonly issuer: IssuerReference;
  readonly host: PluginHost;
}

function openCertManager(api: KubernetesApi, options: CertManagerOptions): UpstreamAuthority {
  const { namespace, issuer, host } = options;
  const { clock, log, trustDomain } = host;
  const collection = `/apis/cert-manager.io/v1/namespaces/${encodeURIComponent(namespace)}/certificaterequests`;
  const closed = new AbortController();
  const tidying = new Set<Promise<void>>();

  async function mintX509Ca({ csr, ttl, signal: wait }: UpstreamX509CaOrder): Promise<UpstreamX509Ca> {
    const ends = AbortSignal.any([wait, closed.signal]);
    try {
      return await withDeadline({ clock, timeout: TIMEOUT, signal: ends }, async (signal) => {
        const body = certificateRequest({ csr, ttl, namespace, trustDomain, issuer });
        const made = await asked({ path: collection, body }, signal);
        const named = nameSchema.safeParse(made);
        if (!named.success)
          throw refused("the Kubernetes API answers a new CertificateRequest without its name");
        const { name } = named.data.metadata;
        log.info("a CertificateRequest waits to be signed", { namespace, name });
        return readSigned(await signed(`${collection}/${encodeURIComponent(name)}`, signal));
      });
    } catch (error) {
      if (error instanceof AssayError) throw error;
      const reason = error instanceof Error ? error.message : "unknown reason";
      throw new AssayError("UPSTREAM_UNAVAILABLE", `cert-manager did not sign: ${reason}`);
    } finally {
      const work = tidy().finally(() => tidying.delete(work));
      tidying.add(work);
    }
  }

  /** Looks at the request until it is signed or refused; a cluster that is away for a moment is asked again. */
  async function signed(path: string, signal: AbortSignal) {
    for (;;) {
      await pause(clock, POLL_EVERY, signal);
      let object: unknown;
      try {
        object = await asked({ path }, signal);
      } catch (error) {
        if (error instanceof AssayError && error.code === "UPSTREAM_UNAVAILABLE") continue;
        throw error;
      }
      const now = requestState(object);
      if (now.state === "signed") return now;
      if (now.state === "refused")
        throw refused(`cert-manager refuses the CertificateRequest: ${now.reason}`);
    }
  }

  /** Deletes the trust domain's requests that are over: cert-manager keeps them for ever. */
  async function tidy(): Promise<void> {
    try {
      await withDeadline({ clock, timeout: TIDY_TIMEOUT, signal: closed.signal }, async (signal) => {
        const selector = `${TRUST_DOMAIN_LABEL}=${trustDomainLabel(trustDomain)}`;
        const query = new URLSearchParams({ labelSelector: selector, limit: "500" });
        const listed = listSchema.safeParse(
          await asked({ path: `${collection}?${query.toString()}` }, signal),
        );
        if (!listed.success) throw refused("the list of CertificateRequests has another form than expected");
        for (const object of listed.data.items.filter(isOver)) {
          const path = `${collection}/${encodeURIComponent(object.metadata.name)}`;
          await asked({ path, method: "DELETE" }, signal);
        }
      });
    } catch (error) {
      if (!closed.signal.aborted) {
        log.warn("old CertificateRequests could not be deleted", { error: String(error) });
      }
    }
  }

  async function asked(request: KubernetesRequest, signal: AbortSignal): Promise<unknown> {
    const { status, body } = await api.ask(request, signal);
    if (status >= 200 && status < 300) return body;
    if (status === 404 && request.method === "DELETE") return undefined;
    const said = messageSchema.safeParse(body);
    const shown = said.success ? `: ${plainText(said.data.message)}` : "";
    const detail = `the Kubernetes API answers ${request.path.replace(/\?.*/, "")} with ${status}${shown}`;
    throw new AssayError(
      status >= 500 || status === 429 ? "UPSTREAM_UNAVAILABLE" : "UPSTREAM_REFUSED",
      detail,
    );
  }

  return {
    mintX509Ca,
    async [Symbol.asyncDispose]() {
      closed.abort(new Error("the upstream authority is closed"));
      await Promise.all(tidying);
      api[Symbol.dispose]();
    },
  };
}

function refused(detail: string): AssayError {
  return new AssayError("UPSTREAM_REFUSED", detail);
}

const TIMEOUT = 90_000;
const TIDY_TIMEOUT = 30_000;
const POLL_EVERY = 500;
const name = z.object({ name: z.string().min(1).max(253) });
const nameSchema = z.object({ metadata: name });
const listSchema = z.object({ items: z.array(z.looseObject({ metadata: name })).max(1000) });
const messageSchema = z.object({ message: z.string() });
