/**
 * upstream/cert-manager/ — an upstream authority that is an issuer of cert-manager in a Kubernetes cluster.
 *
 * Must never judge what was signed, nor touch a request that does not carry the trust domain's label.
 * Called by signing, by way of the server's composition.
 */
import { z } from "zod";
import { pause, withDeadline } from "../../cloud/deadline.ts";
import type { JsonAnswer } from "../../cloud/json-exchange.ts";
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
      file === undefined
        ? { server: CLUSTER_API, access }
        : await readKubeconfig("kube_config_file", file, { invalid: "CONFIG_INVALID", unavailable: code });
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
  const pathOf = (name: string) => `${collection}/${encodeURIComponent(name)}`;
  const closed = new AbortController();
  /** Orders until nothing is left to tidy after them. */
  const working = new Set<Promise<void>>();

  async function mintX509Ca(order: UpstreamX509CaOrder): Promise<UpstreamX509Ca> {
    const noted: { made?: Promise<string> } = {};
    const minted = mint(order, noted);
    const work = minted
      .then(ignore, ignore)
      .then(() => tidy(noted.made))
      .finally(() => working.delete(work));
    working.add(work);
    return minted;
  }

  /** Notes the request as soon as one may be there. */
  async function mint(
    { csr, ttl, signal: wait }: UpstreamX509CaOrder,
    noted: { made?: Promise<string> },
  ): Promise<UpstreamX509Ca> {
    const ends = AbortSignal.any([wait, closed.signal]);
    try {
      return await withDeadline({ clock, timeout: TIMEOUT, signal: ends }, async (signal) => {
        noted.made = make(csr, ttl);
        const made = await noted.made;
        log.info("a CertificateRequest waits to be signed", { namespace, name: made });
        return readSigned(await signed(pathOf(made), signal));
      });
    } catch (error) {
      if (error instanceof AssayError) throw error;
      const reason = error instanceof Error ? error.message : "unknown reason";
      throw new AssayError("UPSTREAM_UNAVAILABLE", `cert-manager did not sign: ${reason}`);
    }
  }

  /** Makes a request and tells its name. It goes on where nobody waits any more: without the name nothing could be deleted. */
  async function make(csr: Uint8Array, ttl: number): Promise<string> {
    const body = certificateRequest({ csr, ttl, namespace, trustDomain, issuer });
    const answer = await withDeadline({ clock, timeout: TIMEOUT + OWN_TIMEOUT }, (signal) =>
      asked({ path: collection, body }, signal),
    );
    const named = nameSchema.safeParse(answer.body);
    if (!named.success) throw refused("the Kubernetes API answers a new CertificateRequest without its name");
    return named.data.metadata.name;
  }

  /** Looks at the request until it is signed or refused; a cluster that is away for a moment is asked again. */
  async function signed(path: string, signal: AbortSignal) {
    for (;;) {
      await pause(clock, POLL_EVERY, signal);
      let object: unknown;
      try {
        object = (await asked({ path }, signal)).body;
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

  /** Deletes the order's own request, also where the wait was given up, and those that servers left that are gone. */
  async function tidy(made: Promise<string> | undefined): Promise<void> {
    if (made !== undefined) {
      await attempt("a CertificateRequest could not be deleted", OWN_TIMEOUT, undefined, async (signal) => {
        const own = await made.catch(ignore);
        if (own !== undefined) await deleteNamed(own, signal);
      });
    }
    if (closed.signal.aborted) return;
    await attempt("old CertificateRequests could not be deleted", TIDY_TIMEOUT, closed.signal, deleteLeft);
  }

  /** cert-manager keeps requests for ever; what is as old as this nobody waits for. */
  async function deleteLeft(signal: AbortSignal): Promise<void> {
    const left: string[] = [];
    const selector = `${TRUST_DOMAIN_LABEL}=${trustDomainLabel(trustDomain)}`;
    let next = "";
    for (let page = 0; page < MAX_PAGES; page++) {
      const query = new URLSearchParams({ labelSelector: selector, limit: `${PAGE}` });
      if (next !== "") query.set("continue", next);
      const { body, time } = await asked({ path: `${collection}?${query.toString()}` }, signal);
      const listed = listSchema.safeParse(body);
      if (!listed.success) throw refused("the list of CertificateRequests has another form than expected");
      // The cluster's own time, which it told the requests' by: ours may be ahead.
      const before = (time ?? clock.now()) - LEFT_AFTER;
      for (const { metadata } of listed.data.items) {
        if (Date.parse(metadata.creationTimestamp) < before) left.push(metadata.name);
      }
      next = listed.data.metadata?.continue ?? "";
      if (next === "") break;
    }
    for (const name of left) await deleteNamed(name, signal);
  }

  async function deleteNamed(name: string, signal: AbortSignal): Promise<void> {
    await asked({ path: pathOf(name), method: "DELETE" }, signal);
  }

  /** What cannot be tidied now is no fault of the order: it is logged, and tried again after a later one. */
  async function attempt(
    failed: string,
    timeout: number,
    end: AbortSignal | undefined,
    task: (signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    try {
      await withDeadline({ clock, timeout, signal: end }, task);
    } catch (error) {
      if (end?.aborted !== true) log.warn(failed, { namespace, error: String(error) });
    }
  }

  async function asked(request: KubernetesRequest, signal: AbortSignal): Promise<JsonAnswer> {
    const answer = await api.ask(request, signal);
    const { status, body } = answer;
    if (status >= 200 && status < 300) return answer;
    if (status === 404 && request.method === "DELETE") return answer;
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
      await Promise.all(working);
      api[Symbol.dispose]();
    },
  };
}

function refused(detail: string): AssayError {
  return new AssayError("UPSTREAM_REFUSED", detail);
}

function ignore(): undefined {
  // Whoever ordered is told.
}

const TIMEOUT = 90_000;
const OWN_TIMEOUT = 5000;
const TIDY_TIMEOUT = 30_000;
const POLL_EVERY = 500;
/** More than six times as long as any server waits. */
const LEFT_AFTER = 10 * 60_000;
/** Requests hold certificates: this many stay below the bytes that are read of one answer. */
const PAGE = 50;
const MAX_PAGES = 100;
const name = z.object({ name: z.string().min(1).max(253) });
const nameSchema = z.object({ metadata: name });
const listSchema = z.object({
  metadata: z.object({ continue: z.string().max(65_536).nullish() }).nullish(),
  items: z
    .array(z.object({ metadata: name.extend({ creationTimestamp: z.string().max(64).default("") }) }))
    .max(1000),
});
const messageSchema = z.object({ message: z.string() });
