import { z } from "zod";
import { AssayError } from "../../../errors/assay-error.ts";
import type { KubernetesObject } from "../../../plugin/workload-attestor.ts";
import { type ApiClient, failed } from "./api-client.ts";
import { apiPath, type ResourceKind } from "./resource-kinds.ts";

/** The parts of an object's metadata that say what it is. */
export const metadataSchema = z.object({
  name: z.string().min(1),
  namespace: z.string().default(""),
  uid: z.string().min(1),
  labels: z.record(z.string(), z.string()).nullish(),
  ownerReferences: z
    .array(
      z.object({
        apiVersion: z.string(),
        kind: z.string(),
        name: z.string(),
        uid: z.string(),
        controller: z.boolean().nullish(),
      }),
    )
    .nullish(),
});
export type ObjectMetadata = z.output<typeof metadataSchema>;

/** What an object is called among those of its kind. */
export interface ObjectKey {
  /** Empty for kinds without namespaces. */
  readonly namespace: string;
  readonly name: string;
}

/** An object as the cluster has it now. */
export interface FoundObject {
  readonly metadata: ObjectMetadata;
  /** The object as it was answered, with nothing checked but its metadata. */
  readonly body: unknown;
}

/** What is looked for, and where. */
export interface ObjectSearch {
  readonly reference: KubernetesObject;
  readonly kind: ResourceKind;
  /** Asked for instead of whole objects where only metadata is needed. */
  readonly metadataOnly: boolean;
  /** Narrows a search by uid alone, such as to one node. */
  readonly fieldSelector?: string;
}

/**
 * Finds an object by its key, or by its uid alone; where both are given, the object of that key must have that uid
 * (Broker API §3.1.3). A search by uid looks at ten thousand objects at most.
 * @throws AssayError `WORKLOAD_NOT_FOUND`, `WORKLOAD_REFERENCE_INVALID` where the key has a namespace and the kind none, or
 * the other way round; `WORKLOAD_ATTESTATION_FAILED` in trouble.
 */
export async function findObject(
  client: Pick<ApiClient, "ask">,
  search: ObjectSearch,
  signal: AbortSignal,
): Promise<FoundObject> {
  const { reference, kind } = search;
  const key = reference.key ?? (await keyByUid(client, search, signal));
  requireScope(key, kind);
  const accept = search.metadataOnly ? METADATA_ONLY : undefined;
  const path = `${collectionPath(kind, key.namespace)}/${encodeURIComponent(key.name)}`;
  const { status, body } = await client.ask({ path, ...(accept === undefined ? {} : { accept }) }, signal);
  if (status === 404) throw missing(search);
  if (status !== 200) throw failed(`the Kubernetes API answers ${path} with ${status}`);
  const read = z.object({ metadata: metadataSchema }).safeParse(body);
  if (!read.success) throw failed(`the Kubernetes API answers ${path} in another form than expected`);
  const { metadata } = read.data;
  if (metadata.name !== key.name || metadata.namespace !== key.namespace) {
    throw failed(`the Kubernetes API answers ${path} with another object`);
  }
  if (reference.uid !== undefined && reference.uid !== metadata.uid) throw missing(search);
  return { metadata, body };
}

/** @throws AssayError `WORKLOAD_REFERENCE_INVALID` where the key has a namespace and the kind none, or the other way round. */
export function requireScope({ namespace }: ObjectKey, { plural, group, namespaced }: ResourceKind): void {
  if ((namespace !== "") === namespaced) return;
  const needed = namespaced ? "must have a namespace" : "must have no namespace";
  throw new AssayError("WORKLOAD_REFERENCE_INVALID", `key of ${plural}.${group} ${needed}`);
}

async function keyByUid(
  client: Pick<ApiClient, "ask">,
  search: ObjectSearch,
  signal: AbortSignal,
): Promise<ObjectKey> {
  const { kind, reference, fieldSelector } = search;
  let position = "";
  for (let page = 0; page < MAX_PAGES; page++) {
    const query = new URLSearchParams({ limit: `${PAGE}` });
    if (position !== "") query.set("continue", position);
    if (fieldSelector !== undefined) query.set("fieldSelector", fieldSelector);
    const path = `${collectionPath(kind, "")}?${query.toString()}`;
    const { status, body } = await client.ask({ path, accept: METADATA_LIST_ONLY }, signal);
    if (status === 404) throw missing(search);
    if (status !== 200) throw failed(`the Kubernetes API answers the list of ${kind.plural} with ${status}`);
    const read = listSchema.safeParse(body);
    if (!read.success) throw failed(`the Kubernetes API lists ${kind.plural} in another form than expected`);
    const found = read.data.items.find(({ metadata }) => metadata.uid === reference.uid);
    if (found !== undefined) return { namespace: found.metadata.namespace, name: found.metadata.name };
    position = read.data.metadata?.continue ?? "";
    if (position === "") throw missing(search);
  }
  throw failed(`there are too many ${kind.plural} to find one by its uid: brokers must give the key too`);
}

function collectionPath({ group, version, plural }: ResourceKind, namespace: string): string {
  const inside = namespace === "" ? "" : `/namespaces/${encodeURIComponent(namespace)}`;
  return `${apiPath(group, version)}${inside}/${encodeURIComponent(plural)}`;
}

function missing({ kind }: ObjectSearch): AssayError {
  return new AssayError("WORKLOAD_NOT_FOUND", `there is no such object of ${kind.plural}.${kind.group}`);
}

const METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const PAGE = 500;
const MAX_PAGES = 20;

const listSchema = z.object({
  metadata: z.object({ continue: z.string().max(65_536).nullish() }).nullish(),
  items: z
    .array(
      z.object({
        metadata: z.object({ name: z.string().min(1), namespace: z.string().default(""), uid: z.string() }),
      }),
    )
    .max(10_000),
});
