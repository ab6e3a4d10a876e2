import type { ServerHttp2Session, ServerHttp2Stream } from "node:http2";
import { NumberTable } from "./number-table.ts";

/**
 * Gives a new session other tables of its streams than the `Map` and the `Set` of the platform, whose copies keep each
 * other as {@link NumberTable} says.
 *
 * Says whether it did. A platform that keeps the streams elsewhere, or asks the tables for more, is left as it is.
 */
export function keepStreamsApart(session: ServerHttp2Session): boolean {
  const state = Object.getOwnPropertySymbols(session)
    .filter(({ description }) => description === "state")
    .map((symbol) => (session as unknown as Record<symbol, SessionState | undefined>)[symbol])
    .find((value) => isEmpty(value?.streams, MAP_METHODS) && isEmpty(value?.pendingStreams, SET_METHODS));
  if (state === undefined) return false;
  state.streams = new NumberTable<ServerHttp2Stream>();
  state.pendingStreams = new StreamSet();
  return true;
}

interface SessionState {
  /** Those that have an id, by it. */
  streams?: unknown;
  /** Those that have none yet; a client's have one at once. */
  pendingStreams?: unknown;
}

/** What the platform asks of the few streams without an id. */
class StreamSet {
  readonly #streams: ServerHttp2Stream[] = [];

  get size(): number {
    return this.#streams.length;
  }

  add(stream: ServerHttp2Stream): this {
    if (!this.#streams.includes(stream)) this.#streams.push(stream);
    return this;
  }

  delete(stream: ServerHttp2Stream): boolean {
    const at = this.#streams.indexOf(stream);
    if (at >= 0) this.#streams.splice(at, 1);
    return at >= 0;
  }

  forEach(visit: (stream: ServerHttp2Stream) => void): void {
    this.#streams.slice().forEach((stream) => visit(stream));
  }
}

function isEmpty(value: unknown, methods: readonly string[]): boolean {
  if (typeof value !== "object" || value === null) return false;
  const table = value as Readonly<Record<string, unknown>>;
  return table["size"] === 0 && methods.every((name) => typeof table[name] === "function");
}

const MAP_METHODS = ["get", "has", "set", "delete", "forEach"];
const SET_METHODS = ["add", "delete", "forEach"];
