import { type IncomingMessage, request as httpRequest } from "node:http";
import type { TLSSocket } from "node:tls";
import { AssayError } from "../errors/assay-error.ts";
import { type HttpsUrl, serverOf } from "./https-url.ts";

/** One GET over a connection that is good for nothing afterwards. */
export interface SingleRequest {
  readonly url: HttpsUrl;
  readonly socket: TLSSocket;
  readonly maxBytes: number;
  readonly signal: AbortSignal;
}

/** The body of an answer with status 200, or where a redirect leads. */
export type SingleAnswer = { readonly body: Uint8Array } | { readonly location: string };

/**
 * Sends one GET and reads the answer, at most `maxBytes` of it.
 * @throws AssayError `REMOTE_UNAVAILABLE`.
 */
export async function requestOnce({ url, socket, maxBytes, signal }: SingleRequest): Promise<SingleAnswer> {
  const { host } = serverOf(url);
  try {
    const response = await sent(url, socket, signal);
    const { statusCode = 0, headers } = response;
    if (REDIRECTS.has(statusCode) && headers.location !== undefined) return { location: headers.location };
    if (statusCode !== 200) fail(`${host} answered with status ${statusCode}, expected 200`);
    const encoding = headers["content-encoding"] ?? "identity";
    if (encoding !== "identity") fail(`${host} answered in an encoding that was not asked for`);
    return { body: await bodyOf(response, maxBytes, host) };
  } catch (error) {
    if (error instanceof AssayError) throw error;
    return fail(`${host} did not answer: ${error instanceof Error ? error.message : String(error)}`, error);
  } finally {
    socket.destroy();
  }
}

function sent(url: HttpsUrl, socket: TLSSocket, signal: AbortSignal): Promise<IncomingMessage> {
  const { pathname, search, host } = new URL(url);
  return new Promise((resolve, reject) => {
    const request = httpRequest({
      method: "GET",
      path: `${pathname}${search}`,
      // The connection is there already; no agent, and with it no proxy of the environment, has a say.
      createConnection: () => socket,
      setHost: false,
      headers: { host, accept: "application/json", "accept-encoding": "identity", "user-agent": "assay" },
      maxHeaderSize: MAX_HEADERS,
      insecureHTTPParser: false,
      signal,
    });
    request.once("response", resolve);
    request.on("error", reject);
    // An answer that switches protocols is none, and ends the request without an error.
    request.once("close", () => reject(new Error("the connection was closed without an answer")));
    request.end();
  });
}

async function bodyOf(response: IncomingMessage, maxBytes: number, host: string): Promise<Uint8Array> {
  const tooLarge = `${host} answered with more than ${maxBytes} bytes`;
  if (Number(response.headers["content-length"] ?? 0) > maxBytes) fail(tooLarge);
  const chunks: Buffer[] = [];
  let total = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    total += chunk.length;
    if (total > maxBytes) fail(tooLarge);
    chunks.push(chunk);
  }
  if (!response.complete) fail(`${host} broke off its answer`);
  return Buffer.concat(chunks, total);
}

function fail(detail: string, cause?: unknown): never {
  throw new AssayError("REMOTE_UNAVAILABLE", detail, { cause });
}

const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
const MAX_HEADERS = 16 * 1024;
