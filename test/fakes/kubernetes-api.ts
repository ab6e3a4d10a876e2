import type { IncomingMessage, ServerResponse } from "node:http";
import { FakeHttpsServer } from "./https-server.ts";

/** An object of the fake cluster. */
export interface FakeObject {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly uid: string;
    readonly [key: string]: unknown;
  };
  readonly [key: string]: unknown;
}

/** One request that arrived. */
export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly accept: string | undefined;
  readonly authorization: string | undefined;
  readonly body: unknown;
}

/** Answers instead of the fake itself; gives false where it does not. */
export type Instead = (request: IncomingMessage, response: ServerResponse) => boolean;

/**
 * A Kubernetes API on loopback over TLS, as far as the attestor asks it: discovery, objects by name, lists of metadata in
 * pages, and SubjectAccessReviews. It is no Kubernetes: it answers as its documentation says that Kubernetes does.
 */
export class FakeKubernetesApi implements AsyncDisposable {
  /** Group → version → kinds. The first version is the preferred one. */
  readonly groups: Record<
    string,
    Record<string, readonly { name: string; kind: string; namespaced: boolean }[]>
  > = {
    core: {
      v1: [
        { name: "pods", kind: "Pod", namespaced: true },
        { name: "pods/log", kind: "Pod", namespaced: true },
        { name: "nodes", kind: "Node", namespaced: false },
      ],
    },
    apps: { v1: [{ name: "deployments", kind: "Deployment", namespaced: true }] },
    "flux.example.com": {
      v2: [{ name: "others", kind: "Other", namespaced: true }],
      v1beta1: [{ name: "kustomizations", kind: "Kustomization", namespaced: true }],
    },
  };
  /** Objects by `plural.group`. */
  readonly objects = new Map<string, FakeObject[]>();
  readonly seen: SeenRequest[] = [];
  token = "token-1";
  /** Users who may impersonate through SPIRE; `undefined` where nobody is to be asked about. */
  allowed: (attributes: Record<string, string>, user: string) => boolean = () => true;
  instead: Instead = () => false;
  readonly #server: FakeHttpsServer;

  private constructor(server: FakeHttpsServer) {
    this.#server = server;
    server.serve((request, body, response) => this.#answer(request, body, response));
    this.writeToken("token-1");
  }

  static async start(): Promise<FakeKubernetesApi> {
    return new FakeKubernetesApi(await FakeHttpsServer.start("kubernetes", "localhost"));
  }

  get url(): string {
    return `https://localhost:${this.#server.port}`;
  }

  get caFile(): string {
    return this.path("ca.pem");
  }

  get tokenFile(): string {
    return this.path("token");
  }

  path(name: string): string {
    return this.#server.path(name);
  }

  /** Replaces the token that the server wants and that the file holds. */
  writeToken(token: string): void {
    this.token = token;
    this.#server.write("token", token, 0o644);
  }

  /** Adds an object, in the place of one with the same name. */
  put(resource: string, object: FakeObject): void {
    const others = this.all(resource).filter(
      ({ metadata: { name, namespace } }) =>
        name !== object.metadata.name || namespace !== object.metadata.namespace,
    );
    this.objects.set(resource, [...others, object]);
  }

  all(resource: string): FakeObject[] {
    return this.objects.get(resource) ?? [];
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#server[Symbol.asyncDispose]();
  }

  #answer(request: IncomingMessage, body: unknown, response: ServerResponse): void {
    const { method = "", url = "", headers } = request;
    this.seen.push({
      method,
      path: url,
      accept: headers.accept,
      authorization: headers.authorization,
      body,
    });
    if (this.instead(request, response)) return;
    if (headers.authorization !== `Bearer ${this.token}`) return send(response, 401, {});
    const { pathname, searchParams } = new URL(url, this.url);
    if (pathname.endsWith("/subjectaccessreviews")) {
      const { spec } = body as { spec: { user: string; resourceAttributes: Record<string, string> } };
      return send(response, 201, { status: { allowed: this.allowed(spec.resourceAttributes, spec.user) } });
    }
    const parts = pathname.slice(1).split("/").map(decodeURIComponent);
    const group = parts[0] === "api" ? "core" : (parts[1] ?? "");
    const [version, ...rest] = parts[0] === "api" ? parts.slice(1) : parts.slice(2);
    const versions = this.groups[group];
    if (versions === undefined) return send(response, 404, {});
    if (version === undefined) {
      const named = Object.keys(versions).map((one) => ({ groupVersion: `${group}/${one}`, version: one }));
      return send(response, 200, {
        kind: "APIGroup",
        name: group,
        versions: named,
        preferredVersion: named[0],
      });
    }
    const resources = versions[version];
    if (resources === undefined) return send(response, 404, {});
    if (rest.length === 0) return send(response, 200, { kind: "APIResourceList", resources });
    const namespace = rest[0] === "namespaces" && rest.length > 2 ? rest[1] : undefined;
    const [plural = "", name] = namespace === undefined ? rest : rest.slice(2);
    const inside = this.all(`${plural}.${group}`).filter(
      ({ metadata }) => namespace === undefined || metadata.namespace === namespace,
    );
    if (name === undefined) return send(response, 200, page(inside, searchParams));
    const found = inside.find(({ metadata }) => metadata.name === name);
    return send(response, found === undefined ? 404 : 200, found ?? { kind: "Status", code: 404 });
  }
}

function page(objects: readonly FakeObject[], query: URLSearchParams) {
  const limit = Number(query.get("limit") ?? "500");
  const from = Number(query.get("continue") ?? "0");
  const node = /^spec\.nodeName=(.*)$/.exec(query.get("fieldSelector") ?? "")?.[1];
  const all = objects.filter(
    (object) =>
      node === undefined || (object["spec"] as { nodeName?: string } | undefined)?.nodeName === node,
  );
  const items = all.slice(from, from + limit).map(({ metadata }) => ({ metadata }));
  const next = from + limit;
  return { items, metadata: next < all.length ? { continue: `${next}` } : {} };
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
}

/** A pod that runs on `node-1`. */
export function fakePod(fields: {
  readonly name: string;
  readonly uid: string;
  readonly namespace?: string;
  readonly nodeName?: string;
  readonly phase?: string;
  readonly labels?: Record<string, string>;
}): FakeObject {
  const { name, uid, namespace = "shop", nodeName = "node-1", phase = "Running", labels = {} } = fields;
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name,
      namespace,
      uid,
      labels,
      ownerReferences: [
        { apiVersion: "apps/v1", kind: "ReplicaSet", name: "web-5d", uid: "rs-1", controller: true },
      ],
    },
    spec: { serviceAccountName: "web", nodeName, containers: [{ name: "main" }] },
    status: {
      phase,
      containerStatuses: [
        { name: "main", image: "shop/web:1", imageID: "shop/web@sha256:aa" },
        { name: "side", image: "shop/side:1", imageID: "" },
      ],
      initContainerStatuses: [{ name: "init", image: "shop/init:1", imageID: "shop/init:1" }],
    },
  };
}
