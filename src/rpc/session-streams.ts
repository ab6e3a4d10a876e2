import type { ServerHttp2Session, ServerHttp2Stream } from "node:http2";

/**
 * Gives a new session another table of its streams than the `Map` of the platform. A `Map` whose entries come and go is copied
 * each time it is full, and each copy refers to the next, for iterators that are on their way. Once one of them is among the old
 * objects, it keeps all that follow, and the streams that were in them, until the next full collection of garbage: small
 * collections take longer, and the full one stops the process for as long as thousands of streams take.
 *
 * Says whether it did. A platform that keeps the streams elsewhere, or asks the table for more, is left as it is.
 */
export function keepStreamsApart(session: ServerHttp2Session): boolean {
  const state = Object.getOwnPropertySymbols(session)
    .filter(({ description }) => description === "state")
    .map((symbol) => (session as unknown as Record<symbol, { streams?: unknown } | undefined>)[symbol])
    .find((value) => isStreamTable(value?.streams));
  if (state === undefined) return false;
  state.streams = new StreamTable();
  return true;
}

/** What the platform asks of the table. */
class StreamTable {
  readonly #streams: Record<number, ServerHttp2Stream> = Object.create(null) as Record<
    number,
    ServerHttp2Stream
  >;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(id: number): ServerHttp2Stream | undefined {
    return this.#streams[id];
  }

  has(id: number): boolean {
    return this.#streams[id] !== undefined;
  }

  set(id: number, stream: ServerHttp2Stream): this {
    if (!this.has(id)) this.#size++;
    this.#streams[id] = stream;
    return this;
  }

  delete(id: number): boolean {
    if (!this.has(id)) return false;
    this.#size--;
    return Reflect.deleteProperty(this.#streams, id);
  }

  /** In the order of the ids. What is taken out meanwhile is left out, as a `Map` does it. */
  forEach(visit: (stream: ServerHttp2Stream, id: number, table: this) => void): void {
    for (const id of Object.keys(this.#streams).map(Number)) {
      const stream = this.#streams[id];
      if (stream !== undefined) visit(stream, id, this);
    }
  }
}

function isStreamTable(value: unknown): boolean {
  const { size, ...methods } = Object.fromEntries(
    ["size", "get", "has", "set", "delete", "forEach"].map((name) => [
      name,
      (value as Readonly<Record<string, unknown>> | undefined)?.[name],
    ]),
  );
  return size === 0 && Object.values(methods).every((method) => typeof method === "function");
}
