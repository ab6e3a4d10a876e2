import {
  type Agent as HttpAgent,
  type IncomingMessage,
  request as httpRequest,
  type RequestOptions,
} from "node:http";
import { Agent, request as httpsRequest } from "node:https";
import { isIP } from "node:net";
import type { Clock } from "../../clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { proofOptions, type ServerProof } from "../../outbound/server-proof.ts";

/** A request to a server that the job was told of. */
export interface WebRequest {
  readonly method: "GET" | "POST";
  /** https; http is asked on this machine alone. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly signal: AbortSignal;
}

/** An answer, whatever its status; no redirect was followed. */
export interface WebAnswer {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly body: Buffer;
}

/** Sends requests over connections of its own, which are kept for a moment. */
export interface WebClient extends Disposable {
  /** @throws AssayError `SERVER_UNAVAILABLE` where there is no answer, or too long a one; `INVALID_URL`. */
  send(request: WebRequest): Promise<WebAnswer>;
}

/** What asking stands on. */
export interface WebClientOptions {
  readonly clock: Clock;
  /** How a server must prove itself. */
  readonly proof: ServerProof;
  /** Milliseconds for one request and its answer. */
  readonly timeout: number;
  /** Longest answer in bytes. */
  readonly maxBytes: number;
  /** Variables that name a proxy (`HTTPS_PROXY`, `NO_PROXY`), to tunnel through; none unless told, and none to this machine. */
  readonly proxy?: Readonly<Record<string, string | undefined>>;
}

/** Makes a client. Whom it believes, it believes through a proxy as well: TLS is spoken inside the tunnel. */
export function createWebClient({ clock, proof, timeout, maxBytes, proxy }: WebClientOptions): WebClient {
  const agents = new Map<string, Agent>();
  return {
    async send(request) {
      const url = parseUrl(request.url);
      const stop = new AbortController();
      using _deadline = clock.schedule(timeout, () =>
        stop.abort(new Error(`no answer within ${timeout} ms`)),
      );
      const signal = AbortSignal.any([request.signal, stop.signal]);
      try {
        const response = await sent(url, request, agentOf(url), signal);
        const body = await bodyOf(response, maxBytes);
        return { status: response.statusCode ?? 0, headers: response.headers, body };
      } catch (cause) {
        request.signal.throwIfAborted();
        const reason: unknown = signal.aborted ? signal.reason : cause;
        throw new AssayError("SERVER_UNAVAILABLE", `${url.host}: ${reasonOf(reason)}`, { cause });
      }
    },
    [Symbol.dispose]() {
      for (const agent of agents.values()) agent.destroy();
    },
  };

  function agentOf(url: URL): Agent | undefined {
    if (url.protocol === "http:") return undefined;
    const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
    const known = agents.get(host);
    if (known !== undefined) return known;
    const agent = new Agent({
      keepAlive: true,
      // Shorter than servers keep theirs, so that none is used that the other end is just closing.
      timeout: IDLE_TIMEOUT,
      // A session would carry an earlier verdict over to a later connection.
      maxCachedSessions: 0,
      ...(proxy === undefined || isLoopback(url) ? {} : { proxyEnv: proxy }),
      ...proofOptions(proof, host),
      // An address may not stand in the server name extension (RFC 6066 §3).
      ...(isIP(host) === 0 ? { servername: host } : {}),
    });
    agents.set(host, agent);
    return agent;
  }
}

/** Whether a URL leads to this very machine. */
function isLoopback(url: URL): boolean {
  return LOOPBACK.test(url.hostname);
}

function parseUrl(text: string): URL {
  if (!URL.canParse(text)) throw new AssayError("INVALID_URL", "URL is malformed");
  const url = new URL(text);
  const isFit = url.protocol === "https:" || (url.protocol === "http:" && isLoopback(url));
  if (!isFit) throw new AssayError("INVALID_URL", `URL of ${url.host} must use the https scheme`);
  return url;
}

function sent(
  url: URL,
  { method, headers, body }: WebRequest,
  agent: HttpAgent | Agent | undefined,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const options: RequestOptions = {
      method,
      headers: {
        accept: "application/json",
        "user-agent": "assay",
        ...headers,
        ...(body === undefined
          ? { "content-length": "0" }
          : { "content-length": `${Buffer.byteLength(body)}` }),
      },
      maxHeaderSize: MAX_HEADERS,
      signal,
      ...(agent === undefined ? { agent: false } : { agent }),
    };
    const request = url.protocol === "https:" ? httpsRequest(url, options) : httpRequest(url, options);
    request.once("response", resolve);
    request.on("error", reject);
    request.once("close", () => reject(new Error("the connection was closed without an answer")));
    request.end(body);
  });
}

async function bodyOf(response: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let total = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    total += chunk.length;
    if (total > maxBytes) throw new Error(`answered with more than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  if (!response.complete) throw new Error("broke off its answer");
  return Buffer.concat(chunks, total);
}

function reasonOf(error: unknown): string {
  if (error instanceof AssayError) return error.detail;
  if (!(error instanceof Error)) return "unknown reason";
  const { code } = error as NodeJS.ErrnoException;
  return code === undefined || error.message.includes(code) ? error.message : `${error.message} (${code})`;
}

const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/;
const IDLE_TIMEOUT = 4000;
const MAX_HEADERS = 16 * 1024;
