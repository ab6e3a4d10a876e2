import { z } from "zod";
import { type Selector, selectorOf } from "../../../spiffe/selector.ts";
import { failed } from "./api-client.ts";
import type { FoundObject, ObjectMetadata } from "./find-object.ts";
import { CORE, type ResourceKind } from "./resource-kinds.ts";

/** A pod as far as its selectors need it. */
const podSchema = z.object({
  spec: z.object({
    serviceAccountName: z.string().default(""),
    nodeName: z.string().default(""),
  }),
  status: z
    .object({
      phase: z.string().default(""),
      containerStatuses: z.array(z.object({ image: z.string(), imageID: z.string() })).nullish(),
      initContainerStatuses: z.array(z.object({ image: z.string(), imageID: z.string() })).nullish(),
    })
    .prefault({}),
});

/** What a pod is beside its metadata. */
export type Pod = z.output<typeof podSchema>;

/** Reads a pod. @throws AssayError `WORKLOAD_ATTESTATION_FAILED` where it is in another form. */
export function readPod({ body }: FoundObject): Pod {
  const read = podSchema.safeParse(body);
  if (!read.success) throw failed("the Kubernetes API answers with a pod in another form than expected");
  return read.data;
}

/** Selectors of a pod, as SPIRE's `k8s` attestor names them; what is known of one container only is not among them. */
export function podSelectors({ metadata }: FoundObject, { spec, status }: Pod): readonly Selector[] {
  const containers = status.containerStatuses ?? [];
  const initContainers = status.initContainerStatuses ?? [];
  return selectors([
    ["sa", spec.serviceAccountName],
    ["ns", metadata.namespace],
    ["node-name", spec.nodeName],
    ["pod-uid", metadata.uid],
    ["pod-name", metadata.name],
    ["pod-image-count", `${containers.length}`],
    ["pod-init-image-count", `${initContainers.length}`],
    ...imagesOf(containers).map((image) => ["pod-image", image] as const),
    ...imagesOf(initContainers).map((image) => ["pod-init-image", image] as const),
    ...labelsOf(metadata).map((label) => ["pod-label", label] as const),
    ...(metadata.ownerReferences ?? []).flatMap(
      ({ kind, name, uid }) =>
        [
          ["pod-owner", `${kind}:${name}`],
          ["pod-owner-uid", `${kind}:${uid}`],
        ] as const,
    ),
  ]);
}

/** Selectors of an object of any other kind, as SPIRE's `k8s` attestor names them. */
export function objectSelectors({ metadata }: FoundObject, kind: ResourceKind): readonly Selector[] {
  const { group, version, plural } = kind;
  const { namespace, name } = metadata;
  return selectors([
    ["uid", metadata.uid],
    ["resource", `${plural}.${group}`],
    ["plural", plural],
    ["group", group],
    ["version", version],
    ["apiVersion", group === CORE ? version : `${group}/${version}`],
    ["kind", kind.kind],
    ["name", name],
    ...(namespace === "" ? [] : [["namespace", namespace] as const]),
    ["key", namespace === "" ? name : `${namespace}/${name}`],
    ...labelsOf(metadata).map((label) => ["label", label] as const),
    ...(metadata.ownerReferences ?? []).flatMap((owner) => {
      const slash = owner.apiVersion.indexOf("/");
      const prefix = `${slash < 0 ? CORE : owner.apiVersion.slice(0, slash)}/${owner.kind}`;
      const roles = owner.controller === true ? ["owner", "controller"] : ["owner"];
      return roles.flatMap((role) => [
        [`${role}-key`, `${prefix}/${owner.name}`] as const,
        [`${role}-uid`, `${prefix}/${owner.uid}`] as const,
      ]);
    }),
  ]);
}

function labelsOf({ labels }: ObjectMetadata): readonly string[] {
  return Object.entries(labels ?? {}).map(([key, value]) => `${key}:${value}`);
}

/** An image has two names: one that a person gave it, and one that is its content. */
function imagesOf(
  containers: readonly { readonly image: string; readonly imageID: string }[],
): readonly string[] {
  const names = containers.flatMap(({ image, imageID }) => [image, imageID]);
  return [...new Set(names)].filter((name) => name !== "");
}

function selectors(facts: readonly (readonly [string, string])[]): readonly Selector[] {
  return facts.flatMap(([field, value]) => (value === "" ? [] : [selectorOf("k8s", `${field}:${value}`)]));
}
