import type { Clock } from "../../clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { pause, withDeadline } from "../deadline.ts";
import { JsonConnections } from "../json-exchange.ts";
import { serviceEndpoint } from "../service-endpoint.ts";
import type { GoogleAuth } from "./google-auth.ts";
import { failureIn, GoogleError, reasonOf } from "./google-error.ts";

/** One call of a REST service of Google. */
export interface GoogleCall {
  readonly method: "GET" | "POST" | "PATCH";
  /** After `/v1/`: a resource name, or one with a verb behind a colon. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** Whether it may be sent again where it is not known to have been done. Not so unless told, but for GET. */
  readonly repeatable?: boolean;
  /** Told the service's own time, in milliseconds, where its answer has one. */
  readonly tellTime?: (time: number) => void;
  /** Milliseconds with all repetitions. */
  readonly timeout: number;
  readonly signal: AbortSignal;
}

/** A REST service of Google under somebody's credentials. */
export interface GoogleClient extends Disposable {
  /** Makes a call and gives the JSON object in the answer. @throws {GoogleError} */
  ask(call: GoogleCall): Promise<Readonly<Record<string, unknown>>>;
  /** The service account that calls are made as, where the credentials tell. */
  email(): Promise<string | undefined>;
}

/**
 * Opens a service. Its URL is https, or http on loopback, since every call carries a token.
 * @throws AssayError `CONFIG_INVALID`.
 */
export function openGoogleService(endpoint: string, auth: GoogleAuth, clock: Clock): GoogleClient {
  const base = baseOf(endpoint);
  const connections = new JsonConnections();

  async function once({ method, path, query = {}, body, tellTime }: GoogleCall, signal: AbortSignal) {
    const url = new URL(`/v1/${path}`, base);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    let bearer: string | null | undefined;
    try {
      bearer = await auth.getAccessToken();
    } catch (error) {
      throw new GoogleError(0, `no access token: ${reasonOf(error)}`);
    }
    if (!bearer) throw new GoogleError(0, "no access token");
    const answer = await connections.ask(
      { url, method, headers: { authorization: `Bearer ${bearer}` }, body, maxBytes: MAX_ANSWER, signal },
      {},
    );
    if (answer.status !== 200) throw failureIn(answer.status, answer.body);
    if (typeof answer.body !== "object" || answer.body === null || Array.isArray(answer.body)) {
      throw new GoogleError(0, "the answer is no JSON object");
    }
    if (answer.time !== undefined) tellTime?.(answer.time);
    return answer.body as Readonly<Record<string, unknown>>;
  }

  async function asked(call: GoogleCall, signal: AbortSignal): Promise<Readonly<Record<string, unknown>>> {
    const repeatable = call.repeatable ?? call.method === "GET";
    for (let attempt = 0; ; attempt++) {
      try {
        return await once(call, signal);
      } catch (error) {
        const failure = error instanceof GoogleError ? error : new GoogleError(0, reasonOf(error));
        const delay = DELAYS[attempt];
        if (!repeatable || !failure.isPassing || delay === undefined || signal.aborted) throw failure;
        await pause(clock, delay, signal);
      }
    }
  }

  return {
    async ask(call) {
      try {
        return await withDeadline({ clock, timeout: call.timeout, signal: call.signal }, (signal) =>
          asked(call, signal),
        );
      } catch (error) {
        throw error instanceof GoogleError ? error : new GoogleError(0, reasonOf(error));
      }
    },
    async email() {
      try {
        return (await auth.getCredentials()).client_email;
      } catch {
        return undefined;
      }
    },
    [Symbol.dispose]: () => connections[Symbol.dispose](),
  };
}

function baseOf(endpoint: string): URL {
  const url = serviceEndpoint(endpoint);
  if (url === undefined || url.pathname !== "/") {
    throw new AssayError(
      "CONFIG_INVALID",
      "endpoint must be an https URL without a path, or an http one on loopback",
    );
  }
  return url;
}

const MAX_ANSWER = 4_194_304;
const DELAYS = [100, 400];
