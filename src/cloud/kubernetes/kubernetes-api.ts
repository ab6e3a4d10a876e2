/**
 * cloud/kubernetes/ — the Kubernetes API over HTTPS: where it is, as whom it is asked, and how it fails.
 *
 * Must never know what objects mean, nor send a token to a server that is not believed.
 * Called by the workload attestor `kubernetes_object` and the upstream authority `cert-manager`.
 */
import { AssayError } from "../../errors/assay-error.ts";
import type { ErrorCode } from "../../errors/codes.ts";
import { type JsonAnswer, JsonConnections, type JsonPeer } from "../json-exchange.ts";

/** Where the Kubernetes API is, and as whom it is asked. */
export interface KubernetesApiOptions {
  /** An https URL; a path in it comes before every path asked for. */
  readonly server: string;
  /** Read anew for each request, as the cluster replaces tokens and authorities. Its errors are given on as they are. */
  readonly access: () => Promise<KubernetesAccess>;
  /** Code of the error where there is no answer that could be read. */
  readonly code: ErrorCode;
  readonly userAgent: string;
}

/** By what the server is believed, and how we prove ourselves: by a token, or in TLS. */
export interface KubernetesAccess {
  readonly peer: JsonPeer;
  /** Bearer token. */
  readonly token?: string | undefined;
}

/** One request. */
export interface KubernetesRequest {
  /** Beginning with a slash; every part escaped already. */
  readonly path: string;
  /** GET where absent, POST where there is a body. */
  readonly method?: "GET" | "POST" | "DELETE";
  /** What is sent as JSON. */
  readonly body?: unknown;
  /** What is asked for; JSON unless told. */
  readonly accept?: string;
}

/**
 * Asks the Kubernetes API over TLS 1.2 or later. Redirects are not followed, no more than 4 MiB are read, and a server that
 * is not believed is sent no token.
 */
export class KubernetesApi implements Disposable {
  readonly #options: KubernetesApiOptions;
  readonly #connections = new JsonConnections();

  constructor(options: KubernetesApiOptions) {
    this.#options = options;
  }

  /**
   * The answer to one request: any status, and the JSON value in the body.
   * @throws AssayError with the code of the options where there is none that could be read; what the signal was aborted with.
   */
  async ask({ path, method, body, accept }: KubernetesRequest, signal: AbortSignal): Promise<JsonAnswer> {
    signal.throwIfAborted();
    const { server, access, code, userAgent } = this.#options;
    const { peer, token } = await access();
    try {
      return await this.#connections.ask(
        {
          url: new URL(`${server.replace(/\/$/, "")}${path}`),
          method: method ?? (body === undefined ? "GET" : "POST"),
          headers: {
            "user-agent": userAgent,
            ...(accept === undefined ? {} : { accept }),
            ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          },
          body,
          maxBytes: MAX_ANSWER,
          signal,
        },
        peer,
      );
    } catch (cause) {
      signal.throwIfAborted();
      const reason = cause instanceof Error ? cause.message : "unknown";
      const detail =
        cause instanceof Error && cause.name === "UnreadableAnswer"
          ? `the Kubernetes API ${reason}`
          : `the Kubernetes API cannot be asked: ${reason}`;
      throw new AssayError(code, detail, { cause });
    }
  }

  [Symbol.dispose](): void {
    this.#connections[Symbol.dispose]();
  }
}

const MAX_ANSWER = 4 * 1024 * 1024;
