import { Agent, request } from "node:https";
import type { IncomingMessage } from "node:http";
import { AssayError } from "../../../errors/assay-error.ts";
import { readBounded } from "../../../files/read-bounded.ts";

/** Where the Kubernetes API is, and how the agent proves itself to it. */
export interface ApiClientOptions {
  /** An https URL; a path in it comes before every path asked for. */
  readonly server: string;
  /** The bearer token, read anew for each request: the cluster replaces it every hour. */
  readonly tokenFile: string;
  /** PEM certificates of the authorities that the server is believed by; read anew for each request. */
  readonly caFile: string;
}

/** What the server answered: any status, and the JSON value in the body. */
export interface ApiAnswer {
  readonly status: number;
  readonly body: unknown;
}

/** One request. */
export interface ApiRequest {
  /** Beginning with a slash; every part escaped already. */
  readonly path: string;
  /** What is posted as JSON; a GET where absent. */
  readonly body?: unknown;
  /** What is asked for; JSON unless told. */
  readonly accept?: string;
}

/**
 * Asks the Kubernetes API over TLS 1.2 or later. Redirects are not followed, no more than 4 MiB are read, and a server that
 * is not believed is sent no token.
 */
export class ApiClient implements Disposable {
  readonly #options: ApiClientOptions;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: MAX_SOCKETS, maxFreeSockets: 2, timeout: IDLE });

  constructor(options: ApiClientOptions) {
    this.#options = options;
  }

  /**
   * The answer to one request.
   * @throws AssayError `WORKLOAD_ATTESTATION_FAILED` where there is none that could be read; what the signal was aborted with.
   */
  async ask(wanted: ApiRequest, signal: AbortSignal): Promise<ApiAnswer> {
    signal.throwIfAborted();
    const { tokenFile, caFile } = this.#options;
    const code = { code: "WORKLOAD_ATTESTATION_FAILED" } as const;
    const token = (await readBounded(tokenFile, MAX_TOKEN, code)).toString("utf8").trim();
    if (!/^[\x21-\x7e]+$/.test(token)) throw failed(`${tokenFile} holds no token`);
    const ca = await readBounded(caFile, MAX_CA, code);
    try {
      return await this.#exchange(wanted, token, ca, signal);
    } catch (cause) {
      signal.throwIfAborted();
      if (cause instanceof AssayError) throw cause;
      throw failed(
        `the Kubernetes API cannot be asked: ${cause instanceof Error ? cause.message : "unknown"}`,
        cause,
      );
    }
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }

  #exchange(
    { path, body, accept }: ApiRequest,
    token: string,
    ca: Buffer,
    signal: AbortSignal,
  ): Promise<ApiAnswer> {
    const url = new URL(`${this.#options.server.replace(/\/$/, "")}${path}`);
    const text = body === undefined ? undefined : JSON.stringify(body);
    return new Promise((resolve, reject) => {
      const call = request(
        url,
        {
          method: text === undefined ? "GET" : "POST",
          agent: this.#agent,
          ca,
          minVersion: "TLSv1.2",
          // Whatever the environment says.
          rejectUnauthorized: true,
          signal,
          headers: {
            authorization: `Bearer ${token}`,
            accept: accept ?? "application/json",
            "user-agent": "assay-agent",
            ...(text === undefined
              ? {}
              : { "content-type": "application/json", "content-length": Buffer.byteLength(text) }),
          },
        },
        (response) => {
          jsonOf(response).then(
            (answer) => resolve({ status: response.statusCode ?? 0, body: answer }),
            (error: unknown) => {
              call.destroy();
              reject(error instanceof Error ? error : failed("the answer cannot be read"));
            },
          );
        },
      );
      call.on("error", reject);
      call.end(text);
    });
  }
}

async function jsonOf(response: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let total = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    total += chunk.length;
    if (total > MAX_ANSWER) throw failed(`the Kubernetes API answers with more than ${MAX_ANSWER} bytes`);
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks, total).toString("utf8"));
  } catch (cause) {
    // An error's body need not be JSON, its status says enough.
    if ((response.statusCode ?? 0) >= 400) return undefined;
    throw failed("the Kubernetes API answers with something else than JSON", cause);
  }
}

/** Trouble that says nothing about a workload. */
export function failed(detail: string, cause?: unknown): AssayError {
  return new AssayError("WORKLOAD_ATTESTATION_FAILED", detail, { cause });
}

const MAX_ANSWER = 4 * 1024 * 1024;
const MAX_TOKEN = 64 * 1024;
const MAX_CA = 1024 * 1024;
const MAX_SOCKETS = 16;
const IDLE = 30_000;
