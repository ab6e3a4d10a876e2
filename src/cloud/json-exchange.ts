import { Agent as HttpAgent, type IncomingMessage, request as httpRequest } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";

/** One request whose answer is JSON. */
export interface JsonRequest {
  readonly url: URL;
  readonly method: "GET" | "POST" | "PATCH" | "DELETE";
  readonly headers: Readonly<Record<string, string>>;
  /** Sent as JSON where present. */
  readonly body?: unknown;
  /** The largest answer in bytes, read no further than that. */
  readonly maxBytes: number;
  readonly signal: AbortSignal;
}

/** By what the server is believed, and how we prove ourselves in TLS. All of it PEM. */
export interface JsonPeer {
  /** Authorities that the server is believed by; those of the web where absent. */
  readonly ca?: Buffer | undefined;
  readonly certificate?: Buffer | undefined;
  readonly key?: Buffer | undefined;
  /** The name that the server's certificate must have, where it is not the URL's host. */
  readonly serverName?: string | undefined;
  /** Believe anybody. */
  readonly skipVerify?: boolean | undefined;
}

/** What was answered: any status, and the JSON value in the body, `undefined` where an error's body is none. */
export interface JsonAnswer {
  readonly status: number;
  readonly body: unknown;
  /** The server's own time, in milliseconds, where it tells that (RFC 9110 §6.6.1). */
  readonly time?: number | undefined;
}

/** Connections that are kept open between requests to one server. */
export class JsonConnections implements Disposable {
  readonly #https = new HttpsAgent(KEEP);
  readonly #http = new HttpAgent(KEEP);

  /**
   * Asks over TLS 1.2 or later, or in the clear where the URL says so. Redirects are not followed, and no proxy of the
   * environment has a say.
   * @throws {Error} of Node's where there is no answer, an {@link UnreadableAnswer} where it is too large or no JSON.
   */
  ask(request: JsonRequest, peer: JsonPeer): Promise<JsonAnswer> {
    const { url, method, headers, body, maxBytes, signal } = request;
    const text = body === undefined ? undefined : JSON.stringify(body);
    const options = {
      method,
      signal,
      headers: {
        accept: "application/json",
        "accept-encoding": "identity",
        ...(text === undefined
          ? {}
          : { "content-type": "application/json", "content-length": `${Buffer.byteLength(text)}` }),
        ...headers,
      },
    };
    return new Promise((resolve, reject) => {
      const answered = (response: IncomingMessage) => {
        const time = Date.parse(response.headers.date ?? "");
        const told = Number.isNaN(time) ? {} : { time };
        const read = readJson(response, maxBytes);
        read.then(
          (answer) => resolve({ ...answer, ...told }),
          (error: unknown) => {
            call.destroy();
            reject(error instanceof Error ? error : new UnreadableAnswer("cannot be read"));
          },
        );
      };
      const call =
        url.protocol === "http:"
          ? httpRequest(url, { ...options, agent: this.#http }, answered)
          : httpsRequest(url, { ...options, ...tlsOptions(peer), agent: this.#https }, answered);
      call.on("error", reject);
      call.end(text);
    });
  }

  /** Ends every connection, those in use too. */
  [Symbol.dispose](): void {
    this.#https.destroy();
    this.#http.destroy();
  }
}

/** There was an answer, and nothing can be made of it. The message follows the server's name: "answers with …". */
export class UnreadableAnswer extends Error {
  constructor(message: string) {
    super(message);
    this.name = "UnreadableAnswer";
  }
}

function tlsOptions({ ca, certificate, key, serverName, skipVerify = false }: JsonPeer) {
  return {
    minVersion: "TLSv1.2",
    // Whatever the environment says.
    rejectUnauthorized: !skipVerify,
    ...(ca === undefined ? {} : { ca }),
    ...(certificate === undefined ? {} : { cert: certificate }),
    ...(key === undefined ? {} : { key }),
    ...(serverName === undefined ? {} : { servername: serverName }),
  } as const;
}

async function readJson(response: IncomingMessage, maxBytes: number): Promise<JsonAnswer> {
  const status = response.statusCode ?? 0;
  const chunks: Buffer[] = [];
  let total = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    total += chunk.length;
    if (total > maxBytes) throw new UnreadableAnswer(`answers with more than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  if (!response.complete) throw new UnreadableAnswer("breaks off its answer");
  if (total === 0) return { status, body: undefined };
  try {
    return { status, body: JSON.parse(Buffer.concat(chunks, total).toString("utf8")) };
  } catch {
    // An error's body need not be JSON, its status says enough.
    if (status >= 300) return { status, body: undefined };
    throw new UnreadableAnswer("answers with something else than JSON");
  }
}

const KEEP = { keepAlive: true, maxSockets: 32, maxFreeSockets: 4, timeout: 60_000 } as const;
