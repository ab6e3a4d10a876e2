import type { FakeKubernetesApi } from "./kubernetes-api.ts";

/** A CertificateRequest in the fake cluster. */
export interface FakeCertificateRequest {
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly labels: Record<string, string>;
    readonly creationTimestamp: string;
  };
  readonly spec: Record<string, unknown>;
  status?: Record<string, unknown>;
}

/**
 * The part of a cluster that keeps CertificateRequests, in front of a fake Kubernetes API. It signs nothing: `answer` says
 * what becomes of a request when it is looked at for the second time.
 */
export class FakeCertManager {
  readonly requests = new Map<string, FakeCertificateRequest>();
  answer: (request: FakeCertificateRequest) => Record<string, unknown> | undefined = () => undefined;
  /** Statuses that the next requests get in place of answers; 0 for an answer. */
  readonly failures: number[] = [];
  readonly #looks = new Map<string, number>();
  #next = 0;

  constructor(api: FakeKubernetesApi) {
    api.instead = (request, response) => {
      const { method = "", path = "", body, authorization } = api.seen.at(-1) ?? {};
      const { pathname, searchParams } = new URL(path, "https://x");
      const [, namespace = "", name] =
        /^\/apis\/cert-manager\.io\/v1\/namespaces\/([^/]+)\/certificaterequests(?:\/([^/]+))?$/.exec(
          pathname,
        ) ?? [];
      if (namespace === "") return false;
      const send = (status: number, answer: unknown) => {
        response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(answer));
        return true;
      };
      void request;
      if (authorization !== `Bearer ${api.token}`) return send(401, { message: "Unauthorized" });
      const failure = this.failures.shift() ?? 0;
      if (failure !== 0) return send(failure, { kind: "Status", message: `told to\nfail with ${failure}` });
      if (name === undefined) {
        return method === "POST"
          ? send(201, this.#make(namespace, body as FakeCertificateRequest))
          : send(200, this.#page(namespace, searchParams));
      }
      const found = this.requests.get(name);
      if (found === undefined || found.metadata.namespace !== namespace)
        return send(404, { message: "not found" });
      if (method === "DELETE") {
        this.requests.delete(name);
        return send(200, { kind: "Status", status: "Success" });
      }
      return send(200, this.#look(found));
    };
  }

  /** Puts a request into the cluster, made now unless told. */
  put(
    metadata: Omit<FakeCertificateRequest["metadata"], "creationTimestamp">,
    spec: Record<string, unknown> = {},
    created = Date.now(),
  ): FakeCertificateRequest {
    const creationTimestamp = new Date(created).toISOString().replace(/\.\d+Z$/, "Z");
    const made = { metadata: { ...metadata, creationTimestamp }, spec };
    this.requests.set(metadata.name, made);
    return made;
  }

  #make(namespace: string, { metadata, spec }: FakeCertificateRequest): FakeCertificateRequest {
    const { generateName } = metadata as unknown as { generateName: string };
    const name = `${generateName}${(this.#next++).toString().padStart(5, "0")}`;
    return this.put({ name, namespace, labels: metadata.labels }, spec);
  }

  #look(request: FakeCertificateRequest): FakeCertificateRequest {
    const looks = (this.#looks.get(request.metadata.name) ?? 0) + 1;
    this.#looks.set(request.metadata.name, looks);
    const status = looks > 1 ? this.answer(request) : undefined;
    if (status !== undefined) request.status = status;
    return request;
  }

  /** As Kubernetes does, a page goes on after the last name of the one before. */
  #page(namespace: string, query: URLSearchParams) {
    const [key = "", value] = (query.get("labelSelector") ?? "").split("=");
    const after = query.get("continue") ?? "";
    const left = [...this.requests.values()]
      .filter(({ metadata }) => metadata.namespace === namespace && metadata.labels[key] === value)
      .toSorted((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1))
      .filter(({ metadata }) => metadata.name > after);
    const items = left.slice(0, Number(query.get("limit") ?? "500"));
    const isLast = items.length === left.length;
    return { items, metadata: isLast ? {} : { continue: items.at(-1)?.metadata.name } };
  }
}
