import { z } from "zod";
import { AssayError } from "../../../errors/assay-error.ts";
import { readBounded } from "../../../files/read-bounded.ts";
import { defineWorkloadAttestor } from "../../../plugin/workload-attestor.ts";
import type { SpiffeId } from "../../../spiffe/id.ts";
import { type ApiClient, failed, openApiClient } from "./api-client.ts";
import { findObject, type FoundObject, type ObjectKey, requireScope } from "./find-object.ts";
import { objectSelectors, podSelectors, readPod } from "./object-selectors.ts";
import { CORE, type ResourceKind, ResourceKinds } from "./resource-kinds.ts";

const SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";

/** Looks objects of a Kubernetes cluster up that brokers name, and selects on what the cluster says about them. */
export const kubernetesObject = defineWorkloadAttestor({
  kind: "workloadAttestor",
  apiVersion: 1,
  name: "kubernetes_object",
  selectorType: "k8s",
  config: z
    .strictObject({
      api_server: z
        .string()
        .refine(isApiServer, "expected an https URL without user, query and fragment")
        .default("https://kubernetes.default.svc")
        .describe("URL of the Kubernetes API"),
      token_file: z
        .string()
        .min(1)
        .default(`${SERVICE_ACCOUNT}/token`)
        .describe("File with the token that the agent shows; read for each request"),
      ca_file: z
        .string()
        .min(1)
        .default(`${SERVICE_ACCOUNT}/ca.crt`)
        .describe("PEM file with the authorities that the API is believed by; read for each request"),
      access_policy: z
        .enum(["enforced", "permissive"])
        .default("enforced")
        .describe(
          "enforced: a SubjectAccessReview decides whether a broker may name an object; permissive: none is made",
        ),
      pod_scope: z
        .enum(["node", "cluster"])
        .default("node")
        .describe("Which pods may be named: those of the agent's node, or all"),
      node_name: z.string().min(1).max(253).optional().describe("Name of the agent's node in the cluster"),
      node_name_file: z
        .string()
        .min(1)
        .optional()
        .describe("File with that name, read at the start, for a configuration that all nodes share"),
    })
    .refine(
      ({ pod_scope, node_name, node_name_file }) =>
        pod_scope === "cluster" || (node_name === undefined) !== (node_name_file === undefined),
      {
        path: ["node_name"],
        error: "expected node_name or node_name_file, and one of them (or set pod_scope to cluster)",
      },
    ),
  create: async (config, { clock }) => {
    const node = config.pod_scope === "node" ? await nodeName(config) : undefined;
    const client = openApiClient({
      server: config.api_server,
      tokenFile: config.token_file,
      caFile: config.ca_file,
    });
    const kinds = new ResourceKinds(client, clock);
    return {
      async attestReference(reference, broker, signal) {
        const kind = await kinds.find(reference.plural, reference.group, signal);
        const isPod = kind.plural === "pods" && kind.group === CORE;
        const review = async (object: ObjectKey): Promise<void> => {
          if (config.access_policy === "enforced") {
            await requireAccess(client, { kind, object, broker }, signal);
          }
        };
        const { key } = reference;
        if (key !== undefined) {
          requireScope(key, kind);
          // Before it is looked up: whoever may not have it is not told whether it is there.
          await review(key);
        }
        const found = await findObject(
          client,
          {
            reference,
            kind,
            metadataOnly: !isPod,
            ...(isPod && node !== undefined ? { fieldSelector: `spec.nodeName=${node}` } : {}),
          },
          signal,
        );
        if (key === undefined) await review(found.metadata);
        return isPod ? runningPod(found, node) : objectSelectors(found, kind);
      },
      async [Symbol.asyncDispose]() {
        client[Symbol.dispose]();
      },
    };
  },
});

async function nodeName({
  node_name: name,
  node_name_file: file,
}: {
  readonly node_name?: string | undefined;
  readonly node_name_file?: string | undefined;
}): Promise<string | undefined> {
  if (file === undefined) return name;
  const text = (await readBounded(file, MAX_NODE_NAME, { code: "CONFIG_INVALID" })).toString("utf8").trim();
  if (text !== "") return text;
  throw new AssayError("CONFIG_INVALID", `node_name_file ${file} is empty`);
}

function runningPod(found: FoundObject, node: string | undefined) {
  const pod = readPod(found);
  if (node !== undefined && pod.spec.nodeName !== node) {
    throw new AssayError("WORKLOAD_NOT_FOUND", "there is no such pod on this node");
  }
  if (ENDED.has(pod.status.phase)) throw new AssayError("WORKLOAD_NOT_FOUND", "the pod has ended");
  return podSelectors(found, pod);
}

interface AccessQuestion {
  readonly kind: ResourceKind;
  readonly object: ObjectKey;
  readonly broker: SpiffeId;
}

/** Has the cluster decide. The broker's SPIFFE ID is the user, as in SPIRE, so that its roles serve here as well. */
async function requireAccess(
  client: ApiClient,
  { kind, object, broker }: AccessQuestion,
  signal: AbortSignal,
): Promise<void> {
  const { namespace, name } = object;
  const body = {
    apiVersion: "authorization.k8s.io/v1",
    kind: "SubjectAccessReview",
    spec: {
      user: broker,
      resourceAttributes: {
        verb: "impersonate-via-spire",
        group: kind.group === CORE ? "" : kind.group,
        version: kind.version,
        resource: kind.plural,
        namespace,
        name,
      },
    },
  };
  const path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
  const answer = await client.ask({ path, body }, signal);
  if (answer.status !== 201 && answer.status !== 200) {
    throw failed(`the Kubernetes API answers a SubjectAccessReview with ${answer.status}`);
  }
  const read = reviewSchema.safeParse(answer.body);
  if (!read.success) {
    throw failed("the Kubernetes API answers a SubjectAccessReview in another form than expected");
  }
  const { allowed, denied } = read.data.status;
  if (allowed && denied !== true) return;
  throw new AssayError(
    "WORKLOAD_NOT_ENTITLED",
    `the cluster does not allow ${broker} to impersonate-via-spire ${kind.plural}.${kind.group}`,
  );
}

function isApiServer(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password, search, hash } = new URL(text);
  return protocol === "https:" && username + password + search + hash === "";
}

// Pods that will never run again (Kubernetes' pod lifecycle).
const ENDED: ReadonlySet<string> = new Set(["Succeeded", "Failed"]);
const MAX_NODE_NAME = 256;
const reviewSchema = z.object({
  status: z.object({ allowed: z.boolean(), denied: z.boolean().nullish() }),
});
