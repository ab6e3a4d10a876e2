import type { Node } from "../../proto/gen/envoy/config/core/v3/base_pb.ts";
import type { Found } from "./secret-finder.ts";
import type { Secret } from "./secret-writer.ts";

/** What a session asks about its caller at one moment. */
export interface Finder {
  find(name: string): Found;
  /** The names of everything that the caller may see. */
  names(): readonly string[];
}

/** What all requests of discovery have. */
export interface AnyDiscoveryRequest {
  readonly node?: Node | undefined;
  readonly typeUrl: string;
}

/** What a session has to say now. */
export interface SessionAnswer<Response> {
  readonly response: Response;
  /** The secrets in it. */
  readonly secrets: readonly Secret[];
}

/** One stream of discovery as a state machine: no clock, no network, no order but that of the calls. */
export interface SecretSession<Request, Response> {
  /**
   * Takes a request in. Gives the client's words where they are the first that reject the latest response.
   * @throws AssayError `INVALID_REQUEST`.
   */
  take(request: Request): string | undefined;
  /** What is to be sent now, if anything; whoever asks sends it. Asked again until there is nothing. */
  answer(finder: Finder): SessionAnswer<Response> | undefined;
}

/** Bytes of secrets in one response, so that no message reaches the 4 MiB at which clients refuse it. */
export const MAX_RESPONSE = 3 * 1024 * 1024;

/** Bounds the client's words for a log line. */
export function clientWords(error: { readonly message: string } | undefined): string | undefined {
  return error === undefined ? undefined : error.message.slice(0, MAX_WORDS) || "no reason given";
}

const MAX_WORDS = 300;
