/**
 * outbound/ — asking servers whose URL somebody else chose, under rules that make that safe.
 *
 * Must never know what is asked for, nor send what identifies us: no proxy, cookie or credential of its surroundings.
 * Called by the federation's bundle client, and by whatever fetches keys by URL.
 */
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import type { Clock } from "../clock.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { AddressRules } from "./address-rules.ts";
import { connectTls } from "./connect-tls.ts";
import { type HttpsUrl, redirectTarget, serverOf } from "./https-url.ts";
import { requestOnce } from "./request-once.ts";
import type { ServerProof } from "./server-proof.ts";

/** What to ask for. */
export interface OutboundRequest {
  readonly url: HttpsUrl;
  /** How the server, and every server it redirects to, must prove itself. */
  readonly proof: ServerProof;
  /** How many redirects are followed; 0 for none. Each target is judged as the first URL was, and none is remembered. */
  readonly maxRedirects: number;
  /** The largest body in bytes, read no further than that. */
  readonly maxBytes: number;
  /** Milliseconds for everything together: resolving, connecting, redirects and the last byte. */
  readonly timeout: number;
  /** Gives up at once. */
  readonly signal?: AbortSignal;
}

/** What came back with status 200. */
export interface OutboundAnswer {
  readonly body: Uint8Array;
  /** The URL that answered, after redirects. */
  readonly url: HttpsUrl;
  /** The address it was asked at. */
  readonly address: string;
  readonly redirects: number;
}

/** Asks servers. */
export interface Outbound {
  /**
   * GETs a URL. A name is resolved once for each hop, and the connection goes to an address that was looked at. The
   * server has proved itself before anything is sent. The media type of the answer plays no part.
   * @throws AssayError `REMOTE_UNAVAILABLE` saying at which step and why: an address that is not permitted, no
   * connection, a proof that does not hold, a status but 200, a redirect too many or to a URL that may not be asked,
   * a body too large, no answer in time.
   */
  get(request: OutboundRequest): Promise<OutboundAnswer>;
}

/** What asking stands on. */
export interface OutboundOptions {
  readonly clock: Clock;
  readonly addresses: AddressRules;
  /** All addresses of a name; the system's resolver unless given. */
  readonly resolve?: (host: string) => Promise<readonly string[]>;
}

/** Makes the client. It keeps nothing between requests: no connection, no TLS session, no redirect. */
export function createOutbound(options: OutboundOptions): Outbound {
  const { clock, addresses, resolve = systemResolve } = options;
  return {
    async get(request) {
      const abort = new AbortController();
      const stop = (reason: string) => abort.abort(new AssayError("REMOTE_UNAVAILABLE", reason));
      using _deadline = clock.schedule(request.timeout, () => stop(`no answer within ${request.timeout} ms`));
      const cancel = () => stop("the request was cancelled");
      request.signal?.addEventListener("abort", cancel, { once: true });
      if (request.signal?.aborted === true) cancel();
      try {
        // Nobody is waited for any longer, whatever a server has made of its connection.
        return await raced(followed(request, abort.signal), abort.signal);
      } catch (error) {
        throw abort.signal.aborted ? abort.signal.reason : error;
      } finally {
        request.signal?.removeEventListener("abort", cancel);
      }
    },
  };

  async function followed(request: OutboundRequest, signal: AbortSignal): Promise<OutboundAnswer> {
    let { url } = request;
    for (let redirects = 0; ; redirects++) {
      const { host, port } = serverOf(url);
      const permitted = await permittedAddresses(host, signal);
      const { socket, address } = await connectTls({
        host,
        port,
        addresses: permitted,
        proof: request.proof,
        signal,
      });
      const answer = await requestOnce({ url, socket, maxBytes: request.maxBytes, signal });
      if ("body" in answer) return { body: answer.body, url, address, redirects };
      if (request.maxRedirects === 0) fail(`${host} redirects, which is not followed`);
      if (redirects >= request.maxRedirects)
        fail(`${host} redirects more than ${request.maxRedirects} times`);
      url = targetOf(url, answer.location);
    }
  }

  async function permittedAddresses(host: string, signal: AbortSignal): Promise<readonly string[]> {
    const all = isIP(host) === 0 ? await resolved(host, signal) : [host];
    const permitted = all.filter((address) => addresses.permits(address));
    const [first] = all;
    if (first === undefined) fail(`${host} has no address`);
    if (permitted.length === 0) {
      const shown = isIP(host) === 0 ? `${host} resolves to ${first}` : first;
      fail(`${shown}, which is not a public address and not among those allowed`);
    }
    return permitted.slice(0, MAX_ADDRESSES);
  }

  async function resolved(host: string, signal: AbortSignal): Promise<readonly string[]> {
    try {
      return await raced(resolve(host), signal);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException | undefined)?.code ?? "unknown reason";
      return fail(`${host} cannot be resolved (${code})`, error);
    }
  }
}

function targetOf(from: HttpsUrl, location: string): HttpsUrl {
  try {
    return redirectTarget(from, location);
  } catch (error) {
    const reason = error instanceof AssayError ? error.detail : "URL is malformed";
    return fail(`${serverOf(from).host} redirects to a URL that may not be asked: ${reason}`, error);
  }
}

async function systemResolve(host: string): Promise<readonly string[]> {
  const found = await lookup(host, { all: true, order: "verbatim" });
  return found.map(({ address }) => address);
}

// Not all work can be interrupted, the system's resolver among it; whoever waits for it can.
function raced<Value>(work: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return new Promise((resolve, reject) => {
    const give = () => reject(signal.reason as Error);
    if (signal.aborted) give();
    signal.addEventListener("abort", give, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", give));
  });
}

function fail(detail: string, cause?: unknown): never {
  throw new AssayError("REMOTE_UNAVAILABLE", detail, { cause });
}

const MAX_ADDRESSES = 4;
