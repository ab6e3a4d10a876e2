import { once } from "node:events";
import { rmSync, writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { createServer } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FakeClock } from "../../../../test/fakes/clock.ts";
import { FakeKubernetesApi, fakePod, type Instead } from "../../../../test/fakes/kubernetes-api.ts";
import { silentLog } from "../../../observe/log.ts";
import type { KubernetesObject, WorkloadAttestor } from "../../../plugin/workload-attestor.ts";
import { parseSpiffeId } from "../../../spiffe/id.ts";
import { parseTrustDomain } from "../../../spiffe/trust-domain.ts";
import { kubernetesObject } from "./kubernetes-object.ts";

const broker = parseSpiffeId("spiffe://example.org/broker");
const never = new AbortController().signal;
const POD: KubernetesObject = {
  type: "kubernetes_object",
  plural: "pods",
  group: "core",
  key: { namespace: "shop", name: "web-1" },
};

let api: FakeKubernetesApi;
let clock: FakeClock;
const made: WorkloadAttestor[] = [];
beforeEach(async () => {
  clock = new FakeClock();
  api = await FakeKubernetesApi.start();
  api.put(
    "pods.core",
    fakePod({ name: "web-1", uid: "pod-1", labels: { app: "web", "example.com/tier": "" } }),
  );
});
afterEach(async () => {
  for (const attestor of made.splice(0)) await attestor[Symbol.asyncDispose]();
  await api[Symbol.asyncDispose]();
});

async function attestor(config: Readonly<Record<string, unknown>> = {}) {
  const result = await kubernetesObject.config["~standard"].validate({
    api_server: api.url,
    token_file: api.tokenFile,
    ca_file: api.caFile,
    node_name: "node-1",
    ...config,
  });
  if (result.issues !== undefined) throw new Error(result.issues.map(({ message }) => message).join("; "));
  const host = { trustDomain: parseTrustDomain("example.org"), clock, log: silentLog };
  const instance = await kubernetesObject.create(result.value, host);
  made.push(instance);
  return {
    look: async (reference: KubernetesObject, signal = never) =>
      (await instance.attestReference?.(reference, broker, signal))?.map(
        ({ type, value }) => `${type}:${value}`,
      ),
  };
}

const POD_SELECTORS = [
  "k8s:sa:web",
  "k8s:ns:shop",
  "k8s:node-name:node-1",
  "k8s:pod-uid:pod-1",
  "k8s:pod-name:web-1",
  "k8s:pod-image-count:2",
  "k8s:pod-init-image-count:1",
  "k8s:pod-image:shop/web:1",
  "k8s:pod-image:shop/web@sha256:aa",
  "k8s:pod-image:shop/side:1",
  "k8s:pod-init-image:shop/init:1",
  "k8s:pod-label:app:web",
  "k8s:pod-label:example.com/tier:",
  "k8s:pod-owner:ReplicaSet:web-5d",
  "k8s:pod-owner-uid:ReplicaSet:rs-1",
];

describe("a pod", () => {
  it.each<[string, Partial<KubernetesObject>]>([
    ["its key", {}],
    ["its key and uid", { uid: "pod-1" }],
  ])("is found by %s, with what the cluster says about it", async (_, fields) => {
    expect(await (await attestor()).look({ ...POD, ...fields })).toEqual(POD_SELECTORS);
  });

  it("is found by its uid alone, among the pods of the node", async () => {
    for (let i = 0; i < 1100; i++) {
      api.put(
        "pods.core",
        fakePod({ name: `p-${i}`, uid: `u-${i}`, nodeName: i < 600 ? "node-1" : "node-2" }),
      );
    }
    const { key: _, ...byUid } = POD;
    const { look } = await attestor();
    expect(await look({ ...byUid, uid: "u-599" })).toContain("k8s:pod-name:p-599");
    const lists = api.seen.filter(({ path }) => path.startsWith("/api/v1/pods?"));
    expect(lists.map(({ accept }) => accept)).toEqual(
      Array(2).fill("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),
    );
    await expect(look({ ...byUid, uid: "u-600" })).rejects.toThrowCode("WORKLOAD_NOT_FOUND");
    await expect(look({ ...byUid, uid: "nobody" })).rejects.toThrowCode("WORKLOAD_NOT_FOUND");
  });

  it("is not found under another uid, even where one of that uid exists", async () => {
    api.put("pods.core", fakePod({ name: "web-2", uid: "pod-2" }));
    const { look } = await attestor();
    await expect(look({ ...POD, uid: "pod-2" })).rejects.toThrowCode("WORKLOAD_NOT_FOUND");
    // Nor after it was replaced by another of its name.
    expect(await look({ ...POD, uid: "pod-1" })).toHaveLength(POD_SELECTORS.length);
    api.put("pods.core", fakePod({ name: "web-1", uid: "pod-9" }));
    await expect(look({ ...POD, uid: "pod-1" })).rejects.toThrowCode("WORKLOAD_NOT_FOUND");
  });

  it.each(["Succeeded", "Failed"])("is not found once it has ended (%s)", async (phase) => {
    api.put("pods.core", fakePod({ name: "web-1", uid: "pod-1", phase }));
    await expect((await attestor()).look(POD)).rejects.toThrowCode("WORKLOAD_NOT_FOUND", /has ended/);
  });

  it("of another node is found only where all may be named", async () => {
    api.put("pods.core", fakePod({ name: "web-1", uid: "pod-1", nodeName: "node-2" }));
    await expect((await attestor()).look(POD)).rejects.toThrowCode("WORKLOAD_NOT_FOUND", /on this node/);
    const all = await attestor({ pod_scope: "cluster", node_name: undefined });
    expect(await all.look(POD)).toContain("k8s:node-name:node-2");
  });
});

describe("an object of another kind", () => {
  const KUSTOMIZATION: KubernetesObject = {
    type: "kubernetes_object",
    plural: "kustomizations",
    group: "flux.example.com",
    key: { namespace: "shop", name: "site" },
  };

  it("is found in the version that has it, by its metadata alone", async () => {
    api.put("kustomizations.flux.example.com", {
      metadata: {
        name: "site",
        namespace: "shop",
        uid: "k-1",
        labels: { team: "a" },
        annotations: { secret: "no selector" },
        ownerReferences: [
          { apiVersion: "v1", kind: "ConfigMap", name: "c", uid: "c-1" },
          { apiVersion: "apps/v1", kind: "Deployment", name: "d", uid: "d-1", controller: true },
        ],
      },
    });
    expect(await (await attestor()).look(KUSTOMIZATION)).toEqual([
      "k8s:uid:k-1",
      "k8s:resource:kustomizations.flux.example.com",
      "k8s:plural:kustomizations",
      "k8s:group:flux.example.com",
      "k8s:version:v1beta1",
      "k8s:apiVersion:flux.example.com/v1beta1",
      "k8s:kind:Kustomization",
      "k8s:name:site",
      "k8s:namespace:shop",
      "k8s:key:shop/site",
      "k8s:label:team:a",
      "k8s:owner-key:core/ConfigMap/c",
      "k8s:owner-uid:core/ConfigMap/c-1",
      "k8s:owner-key:apps/Deployment/d",
      "k8s:owner-uid:apps/Deployment/d-1",
      "k8s:controller-key:apps/Deployment/d",
      "k8s:controller-uid:apps/Deployment/d-1",
    ]);
    expect(api.seen.at(-1)).toMatchObject({
      path: "/apis/flux.example.com/v1beta1/namespaces/shop/kustomizations/site",
      accept: "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
    });
  });

  it("has no namespace where its kind has none", async () => {
    api.put("nodes.core", { metadata: { name: "node-1", uid: "n-1" } });
    const node: KubernetesObject = { type: "kubernetes_object", plural: "nodes", group: "core" };
    const { look } = await attestor();
    const found = await look({ ...node, key: { namespace: "", name: "node-1" } });
    expect(found).toContain("k8s:key:node-1");
    expect(found).toContain("k8s:apiVersion:v1");
    expect(found?.filter((text) => text.startsWith("k8s:namespace"))).toEqual([]);
    await expect(look({ ...node, key: { namespace: "shop", name: "node-1" } })).rejects.toThrowCode(
      "WORKLOAD_REFERENCE_INVALID",
      /must have no namespace/,
    );
    await expect(look({ ...POD, key: { namespace: "", name: "web-1" } })).rejects.toThrowCode(
      "WORKLOAD_REFERENCE_INVALID",
      /must have a namespace/,
    );
  });

  it.each([
    ["a kind that the group has not", { plural: "widgets", group: "apps" }],
    ["a group that the cluster has not", { plural: "widgets", group: "example.org" }],
    ["a part of an object", { plural: "pods/log", group: "core" }],
  ])("is not found where it is of %s", async (_, type) => {
    const asked = (await attestor()).look({ ...KUSTOMIZATION, ...type });
    if (type.plural === "pods/log") await expect(asked).rejects.toThrowCode("WORKLOAD_NOT_FOUND");
    else await expect(asked).rejects.toThrowCode("WORKLOAD_NOT_FOUND", /the cluster has no kind/);
  });

  it("is asked for at the cluster's word about its kind, which is remembered for a while", async () => {
    api.put("deployments.apps", { metadata: { name: "site", namespace: "shop", uid: "d" } });
    const { look } = await attestor();
    const reference = { ...KUSTOMIZATION, plural: "deployments", group: "apps" };
    await look(reference);
    await look(reference);
    const discoveries = () => api.seen.filter(({ path }) => path === "/apis/apps/v1").length;
    expect(discoveries()).toBe(1);
    await clock.advance(600_001);
    await look(reference);
    expect(discoveries()).toBe(2);
  });
});

describe("whether a broker may name an object", () => {
  it("is decided by the cluster, about the broker's SPIFFE ID and what was found", async () => {
    const { look } = await attestor();
    expect(await look(POD)).toHaveLength(POD_SELECTORS.length);
    expect(api.seen.find(({ method }) => method === "POST")).toMatchObject({
      path: "/apis/authorization.k8s.io/v1/subjectaccessreviews",
      body: {
        spec: {
          user: broker,
          resourceAttributes: {
            verb: "impersonate-via-spire",
            group: "",
            resource: "pods",
            namespace: "shop",
            name: "web-1",
          },
        },
      },
    });
    api.allowed = () => false;
    await expect(look(POD)).rejects.toThrowCode("WORKLOAD_NOT_ENTITLED", /impersonate-via-spire pods\.core/);
  });

  it("is decided before the object is looked up, so that nobody else learns whether it is there", async () => {
    api.allowed = ({ name }) => name === "mine";
    const { look } = await attestor();
    for (const name of ["web-1", "nobody"]) {
      const key = { namespace: "shop", name };
      await expect(look({ ...POD, key })).rejects.toThrowCode("WORKLOAD_NOT_ENTITLED");
      await expect(look({ ...POD, key, uid: "pod-1" })).rejects.toThrowCode("WORKLOAD_NOT_ENTITLED");
    }
    await expect(look({ ...POD, key: { namespace: "shop", name: "mine" } })).rejects.toThrowCode(
      "WORKLOAD_NOT_FOUND",
    );
    // What a uid means is not known before.
    const { key: _, ...byUid } = POD;
    await expect(look({ ...byUid, uid: "pod-1" })).rejects.toThrowCode("WORKLOAD_NOT_ENTITLED");
  });

  it("is not asked where the policy is permissive", async () => {
    api.allowed = () => false;
    const { look } = await attestor({ access_policy: "permissive" });
    expect(await look(POD)).toHaveLength(POD_SELECTORS.length);
  });

  it.each<[string, number, unknown]>([
    ["refuses to review", 403, {}],
    ["fails", 500, {}],
    ["says nothing", 201, {}],
    ["says it in another form", 201, { status: { allowed: "true" } }],
  ])("is not to be had where the cluster %s", async (_, status, body) => {
    instead("/subjectaccessreviews", (response) => answer(response, status, JSON.stringify(body)));
    await expect((await attestor()).look(POD)).rejects.toThrowCode("WORKLOAD_ATTESTATION_FAILED");
  });

  it("is no where the cluster both allows and denies", async () => {
    instead("/subjectaccessreviews", (response) =>
      answer(response, 201, JSON.stringify({ status: { allowed: true, denied: true } })),
    );
    await expect((await attestor()).look(POD)).rejects.toThrowCode("WORKLOAD_NOT_ENTITLED");
  });
});

describe("trouble with the cluster", () => {
  it.each<[string, (response: ServerResponse) => void]>([
    ["401", (response) => answer(response, 401, "{}")],
    ["403", (response) => answer(response, 403, '{"kind":"Status"}')],
    ["500", (response) => answer(response, 500, "oops")],
    ["a redirect", (response) => void response.writeHead(302, { location: "https://localhost:1/" }).end()],
    ["no JSON", (response) => answer(response, 200, "<html>")],
    ["another form", (response) => answer(response, 200, "[]")],
    ["no uid", (response) => answer(response, 200, '{"metadata":{"name":"web-1","namespace":"shop"}}')],
    [
      "labels that are no text",
      (response) =>
        answer(
          response,
          200,
          '{"metadata":{"name":"web-1","namespace":"shop","uid":"u","labels":{"a":1}},"spec":{}}',
        ),
    ],
    [
      "another object",
      (response) => answer(response, 200, JSON.stringify(fakePod({ name: "web-2", uid: "u" }))),
    ],
    [
      "another namespace",
      (response) =>
        answer(response, 200, JSON.stringify(fakePod({ name: "web-1", uid: "u", namespace: "bank" }))),
    ],
    [
      "a pod without spec",
      (response) => answer(response, 200, '{"metadata":{"name":"web-1","namespace":"shop","uid":"u"}}'),
    ],
    [
      "a body that is cut",
      (response) =>
        void response.writeHead(200, { "content-length": "100" }).write("{", () => response.destroy()),
    ],
    ["a body without end", (response) => endless(response)],
    ["a connection that closes", (response) => void response.destroy()],
  ])("is no word about the pod: %s", async (_, how) => {
    const { look } = await attestor();
    instead("/pods/", how);
    await expect(look(POD)).rejects.toThrowCode("WORKLOAD_ATTESTATION_FAILED");
    // And is over when it is over.
    api.instead = () => false;
    expect(await look(POD)).toHaveLength(POD_SELECTORS.length);
  });

  it.each<[string, (response: ServerResponse) => void]>([
    ["403", (response) => answer(response, 403, "{}")],
    ["another form", (response) => answer(response, 200, '{"resources":{}}')],
  ])("while its kinds are asked for is not remembered: %s", async (_, how) => {
    const { look } = await attestor();
    instead("/api/v1", how);
    await expect(look(POD)).rejects.toThrowCode("WORKLOAD_ATTESTATION_FAILED");
    api.instead = () => false;
    expect(await look(POD)).toHaveLength(POD_SELECTORS.length);
  });

  it("ends a search by uid that has no end", async () => {
    const { look } = await attestor();
    const { key: _, ...byUid } = POD;
    instead("/pods?", (response) => answer(response, 200, '{"items":[],"metadata":{"continue":"more"}}'));
    await expect(look({ ...byUid, uid: "u" })).rejects.toThrowCode(
      "WORKLOAD_ATTESTATION_FAILED",
      /too many pods/,
    );
    expect(api.seen.filter(({ path }) => path.includes("continue="))).toHaveLength(19);
  });

  it("sends no token to a server that another authority vouches for", async () => {
    const other = await FakeKubernetesApi.start();
    try {
      const { look } = await attestor({ ca_file: other.caFile });
      await expect(look(POD)).rejects.toThrowCode("WORKLOAD_ATTESTATION_FAILED", /cannot be asked/);
      expect(api.seen).toEqual([]);
    } finally {
      await other[Symbol.asyncDispose]();
    }
  });

  it("sends no token to a server of another name", async () => {
    const { look } = await attestor({ api_server: api.url.replace("localhost", "127.0.0.1") });
    await expect(look(POD)).rejects.toThrowCode("WORKLOAD_ATTESTATION_FAILED", /cannot be asked/);
    expect(api.seen).toEqual([]);
  });

  it("is said where the server is not there, or its files are not", async () => {
    const gone = createServer().listen(0, "127.0.0.1");
    await once(gone, "listening");
    const { port } = gone.address() as { port: number };
    gone.close();
    const away = await attestor({ api_server: `https://localhost:${port}` });
    await expect(away.look(POD)).rejects.toThrowCode("WORKLOAD_ATTESTATION_FAILED", /cannot be asked/);
    for (const [key, text] of [
      ["token_file", ""],
      ["token_file", "two lines\nx"],
      ["token_file", undefined],
      ["ca_file", undefined],
    ] as const) {
      const path = api.path("odd");
      rmSync(path, { force: true });
      if (text !== undefined) writeFileSync(path, text);
      const { look } = await attestor({ [key]: path });
      await expect(look(POD)).rejects.toThrowCode("WORKLOAD_ATTESTATION_FAILED", /odd/);
    }
  });

  it("gives up as soon as nobody waits any more", async () => {
    const { look } = await attestor();
    const stop = new AbortController();
    const reason = new Error("nobody waits");
    const arrived = new Promise<void>((resolve) => instead("/pods/", () => resolve()));
    const asked = expect(look(POD, stop.signal)).rejects.toBe(reason);
    await arrived;
    stop.abort(reason);
    await asked;
    await expect(look(POD, stop.signal)).rejects.toBe(reason);
  });
});

describe("the token", () => {
  it("is read anew for each request", async () => {
    const { look } = await attestor();
    await look(POD);
    api.writeToken("token-2");
    expect(await look(POD)).toHaveLength(POD_SELECTORS.length);
    expect(api.seen.at(-1)?.authorization).toBe("Bearer token-2");
  });
});

describe("the configuration", () => {
  it.each<[string, object, RegExp]>([
    ["a node", { node_name: undefined }, /node_name or node_name_file/],
    ["one node", { node_name_file: "/n" }, /node_name or node_name_file/],
    ["an https URL", { api_server: "http://localhost" }, /https URL/],
    ["a URL without password", { api_server: "https://a:b@localhost" }, /https URL/],
    ["a known policy", { access_policy: "none" }, /enforced/],
    ["no unknown key", { surelyUnknown: 1 }, /surelyUnknown/],
  ])("must have %s", async (_, config, expected) => {
    await expect(attestor(config as Record<string, unknown>)).rejects.toThrow(expected);
  });

  it("may take the node's name from a file", async () => {
    writeFileSync(api.path("hostname"), "node-1\n");
    const { look } = await attestor({ node_name: undefined, node_name_file: api.path("hostname") });
    expect(await look(POD)).toHaveLength(POD_SELECTORS.length);
    writeFileSync(api.path("hostname"), "\n");
    await expect(
      attestor({ node_name: undefined, node_name_file: api.path("hostname") }),
    ).rejects.toThrowCode("CONFIG_INVALID", /is empty/);
  });
});

function instead(part: string, how: (response: ServerResponse) => void): void {
  const replacing: Instead = (request, response) => {
    if (request.url?.includes(part) !== true) return false;
    how(response);
    return true;
  };
  api.instead = replacing;
}

function answer(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, { "content-type": "application/json" }).end(body);
}

function endless(response: ServerResponse): void {
  response.writeHead(200, { "content-type": "application/json" });
  response.on("error", () => undefined);
  const chunk = Buffer.alloc(65_536, 0x20);
  const more = (): void => {
    if (!response.destroyed) response.write(chunk, () => setImmediate(more));
  };
  more();
}
