import type { MessageInitShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { objectReference, pidReference } from "../../../test/fakes/broker-client.ts";
import {
  type KubernetesObjectReferenceSchema,
  WorkloadReferenceSchema,
} from "../../proto/gen/spiffe/broker/api_pb.ts";
import { parseReference, referenceText } from "./workload-reference.ts";

type ObjectInit = MessageInitShape<typeof KubernetesObjectReferenceSchema>;

const parse = (init: { reference?: unknown }) =>
  parseReference(create(WorkloadReferenceSchema, init as MessageInitShape<typeof WorkloadReferenceSchema>));
const object = (init: ObjectInit) => parse(objectReference(init));
const POD: ObjectInit = { type: { plural: "pods", group: "core" } };

describe("a reference to a process", () => {
  it("is a positive number", () => {
    expect(parse(pidReference(1))).toEqual({ type: "workload_pid", pid: 1 });
    expect(parse(pidReference(2 ** 31 - 1))).toMatchObject({ pid: 2 ** 31 - 1 });
    for (const pid of [0, -1, -(2 ** 31)]) {
      expect(() => parse(pidReference(pid))).toThrowCode("WORKLOAD_REFERENCE_INVALID", /positive/);
    }
  });
});

describe("a reference to an object of Kubernetes", () => {
  it.each<[string, ObjectInit, object]>([
    ["pods.core a/b", { ...POD, key: { namespace: "a", name: "b" } }, { key: { namespace: "a", name: "b" } }],
    ["pods.core uid u-1", { ...POD, uid: "u-1" }, { uid: "u-1" }],
    [
      "pods.core a/b uid u",
      { ...POD, key: { namespace: "a", name: "b" }, uid: "u" },
      { key: { namespace: "a", name: "b" }, uid: "u" },
    ],
    [
      "clusterroles.rbac.authorization.k8s.io system:node",
      {
        type: { plural: "clusterroles", group: "rbac.authorization.k8s.io" },
        key: { namespace: "", name: "system:node" },
      },
      { group: "rbac.authorization.k8s.io", key: { namespace: "", name: "system:node" } },
    ],
    [
      "deployments.apps a/b",
      { type: { plural: "deployments", group: "apps" }, key: { namespace: "a", name: "b" } },
      {},
    ],
  ])("may be %s", (text, init, expected) => {
    const parsed = object(init);
    expect(parsed).toMatchObject({ type: "kubernetes_object", ...expected });
    expect(referenceText(parsed)).toBe(`kubernetes ${text}`);
  });

  it.each<[string, ObjectInit, RegExp]>([
    ["no type", { uid: "u" }, /type\.plural/],
    ["no plural", { type: { plural: "", group: "core" }, uid: "u" }, /type\.plural/],
    ["a plural with a slash", { type: { plural: "pods/exec", group: "core" }, uid: "u" }, /type\.plural/],
    ["a plural that climbs", { type: { plural: "..", group: "core" }, uid: "u" }, /type\.plural/],
    ["a plural in capitals", { type: { plural: "Pods", group: "core" }, uid: "u" }, /type\.plural/],
    ["an empty group", { type: { plural: "pods", group: "" }, uid: "u" }, /type\.group/],
    ["a group with a version", { type: { plural: "pods", group: "apps/v1" }, uid: "u" }, /type\.group/],
    ["a group that climbs", { type: { plural: "pods", group: "a..b" }, uid: "u" }, /type\.group/],
    ["a long group", { type: { plural: "pods", group: "a.".repeat(127) + "com" }, uid: "u" }, /type\.group/],
    ["neither key nor uid", POD, /key or uid/],
    ["an empty key", { ...POD, key: {} }, /key\.name/],
    ["a key without name", { ...POD, key: { namespace: "a" } }, /key\.name/],
    ["a key without name beside a uid", { ...POD, key: { namespace: "a" }, uid: "u" }, /key\.name/],
    ["a name with a slash", { ...POD, key: { namespace: "a", name: "b/c" } }, /key\.name/],
    ["a name that climbs", { ...POD, key: { namespace: "a", name: ".." } }, /key\.name/],
    ["a name with an escape", { ...POD, key: { namespace: "a", name: "%2e" } }, /key\.name/],
    ["a name with a newline", { ...POD, key: { namespace: "a", name: "b\n" } }, /key\.name/],
    ["a long name", { ...POD, key: { namespace: "a", name: "b".repeat(254) } }, /key\.name/],
    ["a namespace with a dot", { ...POD, key: { namespace: "a.b", name: "c" } }, /key\.namespace/],
    ["a uid with a slash", { ...POD, uid: "a/b" }, /uid/],
    ["a uid with a space", { ...POD, uid: "a b" }, /uid/],
  ])("may not have %s", (_, init, detail) => {
    expect(() => object(init)).toThrowCode("WORKLOAD_REFERENCE_INVALID", detail);
  });
});

describe("a reference", () => {
  it.each<[string, { reference?: unknown } | undefined]>([
    ["missing", undefined],
    ["empty", {}],
    ["without type", { reference: create(AnySchema, { value: Uint8Array.of(8, 1) }) }],
    [
      "of a foreign type",
      { reference: create(AnySchema, { typeUrl: "type.googleapis.com/a.Pid", value: Uint8Array.of(8, 1) }) },
    ],
    [
      "of a known name under another host",
      {
        reference: create(AnySchema, {
          typeUrl: "evil.test/spiffe.broker.WorkloadPIDReference",
          value: Uint8Array.of(8, 1),
        }),
      },
    ],
    [
      "with bytes that are no message",
      {
        reference: create(AnySchema, {
          typeUrl: "type.googleapis.com/spiffe.broker.WorkloadPIDReference",
          value: Uint8Array.of(8),
        }),
      },
    ],
  ])("that is %s is refused", (_, init) => {
    expect(() => (init === undefined ? parseReference(undefined) : parse(init))).toThrowCode(
      "WORKLOAD_REFERENCE_INVALID",
    );
  });

  it("is read or refused, whatever its bytes are", () => {
    const types = ["WorkloadPIDReference", "KubernetesObjectReference", "X"];
    fc.assert(
      fc.property(fc.constantFrom(...types), fc.uint8Array({ maxLength: 200 }), (type, bytes) => {
        const typeUrl = `type.googleapis.com/spiffe.broker.${type}`;
        const value = Uint8Array.from(bytes);
        try {
          const parsed = parse({ reference: create(AnySchema, { typeUrl, value }) });
          expect(referenceText(parsed)).not.toMatch(/[\n\0]/);
        } catch (error) {
          expect(error).toMatchObject({ code: "WORKLOAD_REFERENCE_INVALID" });
        }
      }),
      { numRuns: 10_000 },
    );
  });
});
