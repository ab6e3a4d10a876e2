import { once } from "node:events";
import type { FastifyReply } from "fastify";
import type { Clock } from "../clock.ts";
import { toAssayError } from "../errors/assay-error.ts";
import { problemOf } from "./problem.ts";

/** One event of a stream. */
export interface ServerSentEvent {
  /** The event's type; `message` where there is none. One line. */
  readonly event?: string;
  /** What a client sends back as `Last-Event-ID`. One line. */
  readonly id?: string;
  /** Becomes JSON. */
  readonly data: unknown;
}

/** How a stream is kept alive and ended. Times in milliseconds. */
export interface EventStreamOptions {
  readonly clock: Clock;
  /** Between comments that show that the stream lives; 15 s unless said otherwise. */
  readonly heartbeat?: number;
  /** How long a reader may leave its buffer full before it is cut off; 30 s unless said otherwise. */
  readonly stall?: number;
  /** Ends the stream; the application's `closing` belongs here. */
  readonly signal: AbortSignal;
  /** Told what the source threw, for the log. */
  readonly onError?: (error: unknown) => void;
}

/**
 * Answers with server-sent events (HTML Living Standard §9.2) until the source ends, fails, the reader goes away, or
 * the signal is aborted; then the source is told by `return`. `source` gets a signal that is aborted at that moment.
 *
 * The source is asked for the next event only when the last one is with the kernel, so a slow reader costs one event
 * of memory; one that does not read at all is cut off. A failure is sent as an event `error` with a problem document.
 */
export async function serverSentEvents(
  reply: FastifyReply,
  source: (signal: AbortSignal) => AsyncIterable<ServerSentEvent>,
  options: EventStreamOptions,
): Promise<void> {
  const { raw } = reply;
  const ended = new AbortController();
  const end = () => ended.abort();
  raw.once("close", end);
  options.signal.addEventListener("abort", end, { once: true });
  if (options.signal.aborted || raw.destroyed) end();
  reply.hijack();
  raw.writeHead(200, {
    ...definedHeaders(reply),
    "content-type": "text/event-stream",
    "cache-control": "no-store",
  });
  raw.flushHeaders();
  using _beat = repeat(options.clock, options.heartbeat ?? 15_000, () => {
    if (!raw.writableNeedDrain && raw.writable) raw.write(": \n\n");
  });
  try {
    for await (const event of untilAborted(source(ended.signal), ended.signal)) {
      await write(reply, textOf(event), ended.signal, options);
    }
  } catch (thrown) {
    if (!ended.signal.aborted) {
      options.onError?.(thrown);
      const problem = problemOf(toAssayError(thrown), reply.request.id);
      await write(reply, textOf({ event: "error", data: problem }), ended.signal, options);
    }
  } finally {
    options.signal.removeEventListener("abort", end);
    end();
    raw.end();
  }
}

async function write(
  reply: FastifyReply,
  text: string,
  signal: AbortSignal,
  options: EventStreamOptions,
): Promise<void> {
  const { raw } = reply;
  if (signal.aborted || !raw.writable || raw.write(text)) return;
  using _cut = options.clock.schedule(options.stall ?? 30_000, () => raw.destroy());
  await once(raw, "drain", { signal }).catch(() => {
    // The reader went away, was cut off, or the stream is to end: the loop above sees the same signal.
  });
}

async function* untilAborted<Item>(items: AsyncIterable<Item>, signal: AbortSignal): AsyncGenerator<Item> {
  const iterator = items[Symbol.asyncIterator]();
  const stopped = Promise.withResolvers<{ done: true; value: undefined }>();
  const stop = () => stopped.resolve({ done: true, value: undefined });
  signal.addEventListener("abort", stop, { once: true });
  if (signal.aborted) stop();
  try {
    for (;;) {
      const next = await Promise.race([iterator.next(), stopped.promise]);
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    signal.removeEventListener("abort", stop);
    // Not awaited: a generator that waits for something cannot return before it has come.
    void iterator.return?.()?.catch(() => {});
  }
}

function textOf({ event, id, data }: ServerSentEvent): string {
  const lines = [
    ...(event === undefined ? [] : [`event: ${oneLine(event)}`]),
    ...(id === undefined ? [] : [`id: ${oneLine(id)}`]),
    // JSON has no raw line breaks, so one data line is enough.
    `data: ${JSON.stringify(data)}`,
  ];
  return `${lines.join("\n")}\n\n`;
}

function oneLine(text: string): string {
  return text.replaceAll(/[\r\n\0]/g, " ");
}

function definedHeaders(reply: FastifyReply): Record<string, string | number | string[]> {
  const defined = Object.entries(reply.getHeaders()).filter(([, value]) => value !== undefined);
  return Object.fromEntries(defined) as Record<string, string | number | string[]>;
}

function repeat(clock: Clock, milliseconds: number, action: () => void): Disposable {
  let next: Disposable;
  const again = () => {
    action();
    next = clock.schedule(milliseconds, again);
  };
  next = clock.schedule(milliseconds, again);
  return { [Symbol.dispose]: () => next[Symbol.dispose]() };
}
