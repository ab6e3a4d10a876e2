import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { GoogleAuth } from "../../src/cloud/google/google-auth.ts";

/** A request of a fake service of Google. */
export interface GoogleRequest {
  readonly method: string;
  /** After `/v1/`, decoded. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly body: Readonly<Record<string, unknown>>;
}

/** What a fake service answers: the body of status 200, or a failure as {@link googleFailure} makes it. */
export type GoogleHandler = (request: GoogleRequest) => unknown;

/** What a test makes the service do before it answers: throw a failure, wait, or give bytes of its own. */
export type GoogleFault = (request: GoogleRequest) => Promise<RawAnswer | undefined> | RawAnswer | undefined;

/** An answer that is sent as it is. */
export interface RawAnswer {
  readonly status: number;
  readonly text: string;
}

/** A failure in the form that Google's REST services give (AIP-193). */
export function googleFailure(code: number, status: string, message = "they said something"): Error {
  return Object.assign(new Error(message), { code, status });
}

/** A REST service of Google on loopback, which wants one token from whoever asks and holds on to every request. */
export class GoogleService implements AsyncDisposable {
  readonly requests: GoogleRequest[] = [];
  fault: GoogleFault | undefined;
  /** The time in its answers, in milliseconds. */
  now: () => number = () => Date.now();
  readonly #server: Server;

  private constructor(handle: GoogleHandler) {
    this.#server = createServer((request, response) => {
      this.#answer(request, handle).then(
        ({ status, text }) => {
          const date = new Date(this.now()).toUTCString();
          response.writeHead(status, { "content-type": "application/json; charset=UTF-8", date }).end(text);
        },
        (error: unknown) => response.destroy(error as Error),
      );
    });
  }

  /** Starts one. */
  static async start(handle: GoogleHandler): Promise<GoogleService> {
    const service = new GoogleService(handle);
    await new Promise<void>((resolve) => service.#server.listen(0, "127.0.0.1", resolve));
    return service;
  }

  /** Where it listens. */
  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async #answer(request: IncomingMessage, handle: GoogleHandler): Promise<RawAnswer> {
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    try {
      const url = new URL(request.url ?? "/", this.endpoint);
      if (request.headers.authorization !== `Bearer ${GOOGLE_TOKEN}`)
        throw googleFailure(401, "UNAUTHENTICATED");
      if (!url.pathname.startsWith("/v1/")) throw googleFailure(404, "NOT_FOUND");
      const text = Buffer.concat(chunks).toString("utf8");
      const body = text === "" ? {} : (JSON.parse(text) as Readonly<Record<string, unknown>>);
      const parsed: GoogleRequest = {
        method: request.method ?? "",
        path: decodeURIComponent(url.pathname.slice("/v1/".length)),
        query: url.searchParams,
        body,
      };
      this.requests.push(parsed);
      const raw = await this.fault?.(parsed);
      return raw ?? { status: 200, text: JSON.stringify(handle(parsed)) };
    } catch (error) {
      const {
        code = 500,
        status = "INTERNAL",
        message,
      } = error as Error & { code?: number; status?: string };
      if (typeof code !== "number") throw error;
      return { status: code, text: JSON.stringify({ error: { code, status, message } }) };
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** The token that the services want. */
export const GOOGLE_TOKEN = "ya29.fake-token";

/** Credentials that the services accept. */
export const googleAuth: GoogleAuth = {
  getAccessToken: async () => GOOGLE_TOKEN,
  getCredentials: async () => ({ client_email: "assay@project.iam.gserviceaccount.com" }),
};

/** One page of a list, two items long, as `pageToken` asks for. */
export function googlePage<Item>(items: readonly Item[], member: string, query: URLSearchParams) {
  const start = Number(query.get("pageToken") ?? "0");
  const end = start + 2;
  return { [member]: items.slice(start, end), ...(end < items.length ? { nextPageToken: String(end) } : {}) };
}
