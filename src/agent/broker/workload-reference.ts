import { type DescMessage, fromBinary, type MessageShape } from "@bufbuild/protobuf";
import { AssayError } from "../../errors/assay-error.ts";
import type { KubernetesObject } from "../../plugin/workload-attestor.ts";
import {
  type KubernetesObjectReference,
  KubernetesObjectReferenceSchema,
  type WorkloadReference,
  WorkloadPIDReferenceSchema,
} from "../../proto/gen/spiffe/broker/api_pb.ts";

/** A workload as a broker names it (Broker API §3.1). */
export type ParsedReference = { readonly type: "workload_pid"; readonly pid: number } | KubernetesObject;

/**
 * Reads what a broker names a workload by, as far as that can be judged without looking for it (Broker API §3.1.3).
 * @throws AssayError `WORKLOAD_REFERENCE_INVALID` naming the field.
 */
export function parseReference(wire: WorkloadReference | undefined): ParsedReference {
  const any = wire?.reference;
  if (any === undefined || any.typeUrl === "") throw refused("reference must be given");
  switch (any.typeUrl) {
    case PID_TYPE_URL: {
      const { pid } = decoded(WorkloadPIDReferenceSchema, any.value);
      if (pid <= 0) throw refused("pid must be a positive number");
      return { type: "workload_pid", pid };
    }
    case KUBERNETES_TYPE_URL:
      return kubernetesObject(decoded(KubernetesObjectReferenceSchema, any.value));
    default:
      throw refused(
        `reference must be of a known type, ${PID_TYPE_URL} or ${KUBERNETES_TYPE_URL}, got ${JSON.stringify(any.typeUrl.slice(0, MAX_QUOTED))}`,
      );
  }
}

/** A reference on one line, as the audit log shows it. */
export function referenceText(reference: ParsedReference): string {
  if (reference.type === "workload_pid") return `pid ${reference.pid}`;
  const { plural, group, key, uid } = reference;
  const parts = [
    `kubernetes ${plural}.${group}`,
    key === undefined ? "" : key.namespace === "" ? key.name : `${key.namespace}/${key.name}`,
    uid === undefined ? "" : `uid ${uid}`,
  ];
  return parts.filter((part) => part !== "").join(" ");
}

function kubernetesObject({ type, key, uid }: KubernetesObjectReference): KubernetesObject {
  const { plural = "", group = "" } = type ?? {};
  requireForm("type.plural", plural, /^[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$/, "the plural name of a kind");
  requireForm("type.group", group, SUBDOMAIN, "the name of an API group, core for the core group");
  if (key === undefined && uid === "") throw refused("key or uid must be given");
  if (key !== undefined) {
    requireForm("key.name", key.name, /^(?!\.\.?$)[^/%\p{Cc}\p{Cs}]{1,253}$/u, "the name of an object");
    if (key.namespace !== "") {
      requireForm("key.namespace", key.namespace, /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/, "a namespace");
    }
  }
  if (uid !== "") requireForm("uid", uid, /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, "the uid of an object");
  return {
    type: "kubernetes_object",
    plural,
    group,
    ...(key === undefined ? {} : { key: { namespace: key.namespace, name: key.name } }),
    ...(uid === "" ? {} : { uid }),
  };
}

function requireForm(field: string, value: string, pattern: RegExp, expected: string): void {
  if (value.length <= MAX_NAME && pattern.test(value)) return;
  throw refused(`${field} must be ${expected}`);
}

function decoded<Desc extends DescMessage>(schema: Desc, bytes: Uint8Array): MessageShape<Desc> {
  try {
    return fromBinary(schema, bytes, { readUnknownFields: false });
  } catch (cause) {
    throw refused(`reference must be a ${schema.typeName} in protobuf's binary form`, cause);
  }
}

function refused(detail: string, cause?: unknown): AssayError {
  return new AssayError("WORKLOAD_REFERENCE_INVALID", detail, { cause });
}

const PID_TYPE_URL = "type.googleapis.com/spiffe.broker.WorkloadPIDReference";
const KUBERNETES_TYPE_URL = "type.googleapis.com/spiffe.broker.KubernetesObjectReference";
const SUBDOMAIN = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/;
const MAX_NAME = 253;
const MAX_QUOTED = 200;
