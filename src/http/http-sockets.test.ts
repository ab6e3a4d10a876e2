import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { request } from "node:http";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FakeClock } from "../../test/fakes/clock.ts";
import { systemClock } from "../clock.ts";
import { AssayError } from "../errors/assay-error.ts";
import { createHttpApp, type HttpApp } from "./http-app.ts";
import { type ServerSentEvent, serverSentEvents } from "./server-sent-events.ts";
import type { HttpLimits } from "./transport.ts";

let folder: string;
let path: string;
let app: HttpApp;
let listener: Server;
const clock = new FakeClock();

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "assay-http-"));
  path = join(folder, "http.sock");
});

afterEach(async () => {
  const closed = app[Symbol.asyncDispose]();
  await clock.advance(10_000);
  await closed;
  listener.close();
  rmSync(folder, { recursive: true });
});

describe("HTTP over sockets that others accepted", () => {
  it("serves a request and knows the very socket it came over", async () => {
    let accepted: Socket | undefined;
    await start((socket) => (accepted = socket));
    app.routes.get("/hello", ({ socket }) => ({ same: socket === accepted }));
    expect(await get("/hello")).toEqual({ status: 200, body: '{"same":true}' });
  });

  it("serves bytes that were read and given back", async () => {
    await start((socket) => void socket, { peek: true });
    app.routes.get("/hello", () => ({ hello: true }));
    expect(await get("/hello")).toEqual({ status: 200, body: '{"hello":true}' });
  });

  it.each<[string, string, HttpLimits, number, string]>([
    ["bytes that are not HTTP", "\x16\x03\x01 hello\r\n\r\n", {}, 400, "INVALID_REQUEST"],
    [
      "headers without end",
      `GET / HTTP/1.1\r\nhost: a\r\nx: ${"x".repeat(20_000)}`,
      {},
      431,
      "HEADERS_TOO_LARGE",
    ],
    ["headers that never come", "GET / HTTP/1.1\r\n", { headersTimeout: 50 }, 408, "REQUEST_TIMEOUT"],
    [
      "a body that never comes",
      "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nab",
      { headersTimeout: 50, requestTimeout: 60 },
      408,
      "REQUEST_TIMEOUT",
    ],
  ])("refuses %s by a problem document and closes", async (_, bytes, limits, status, code) => {
    await start(() => {}, { limits });
    app.routes.post("/", () => "never");
    const socket = connect(path);
    socket.write(bytes);
    const answer = await allOf(socket);
    expect(answer).toContain(`HTTP/1.1 ${status} `);
    expect(answer).toContain("content-type: application/problem+json");
    expect(answer).toContain(`"code":"${code}"`);
  });

  it.each([
    ["whose length says so", "content-length: 3000", "x".repeat(3000)],
    ["that turns out so", "transfer-encoding: chunked", `bb8\r\n${"x".repeat(3000)}\r\n0\r\n\r\n`],
  ])(
    "refuses a body too large, %s, to a client that is still sending, and reads on",
    async (_, header, body) => {
      await start(() => {}, { limits: { bodyBytes: 1000 } });
      app.routes.post("/", () => "never");
      app.routes.get("/hello", () => ({ hello: true }));
      const socket = connect(path);
      socket.write(`POST / HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n${header}\r\n\r\n`);
      socket.write(body.slice(0, 2000));
      expect(String((await once(socket, "data"))[0])).toContain("HTTP/1.1 413 ");
      socket.write(body.slice(2000));
      socket.write("GET /hello HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
      expect(await allOf(socket)).toContain('{"hello":true}');
    },
  );

  it("waits no longer for the rest of a body it has refused than for any request", async () => {
    await start(() => {}, { limits: { bodyBytes: 1000, headersTimeout: 50, requestTimeout: 60 } });
    app.routes.post("/", () => "never");
    const socket = connect(path);
    socket.write(
      "POST / HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 3000\r\n\r\nx",
    );
    expect(await allOf(socket)).toContain("HTTP/1.1 413 ");
  });

  it("lets a running request end when it closes, and refuses connections that come after", async () => {
    await start(() => {});
    const reached = Promise.withResolvers<void>();
    const go = Promise.withResolvers<void>();
    app.routes.get("/slow", async () => {
      reached.resolve();
      await go.promise;
      return { done: true };
    });
    const answer = get("/slow");
    await reached.promise;
    const closed = app[Symbol.asyncDispose]();
    await once(app.closing, "abort");
    await expect(get("/slow")).rejects.toThrow(/socket hang up|ECONNRESET|EPIPE/);
    go.resolve();
    expect(await answer).toEqual({ status: 200, body: '{"done":true}' });
    await closed;
  });

  it("refuses a request that is complete only after it began to close", async () => {
    await start(() => {});
    app.routes.get("/hello", () => ({}));
    const socket = connect(path);
    socket.write("GET /hello HTTP/1.1\r\nhost: a\r\n\r\nGET /hello HTTP/1.1\r\n");
    expect(String((await once(socket, "data"))[0])).toContain("HTTP/1.1 200 ");
    const closed = app[Symbol.asyncDispose]();
    await once(app.closing, "abort");
    socket.write("host: a\r\n\r\n");
    const answer = await allOf(socket);
    expect(answer).toContain("HTTP/1.1 503 ");
    expect(answer).toContain("connection: close");
    expect(answer).toContain('"code":"SHUTTING_DOWN"');
    await closed;
  });

  it("cuts a request that does not end within the grace", async () => {
    await start(() => {});
    const reached = Promise.withResolvers<void>();
    app.routes.get("/stuck", async () => {
      reached.resolve();
      await new Promise(() => {});
    });
    const answer = get("/stuck");
    const failed = expect(answer).rejects.toThrow(/socket hang up|ECONNRESET|EPIPE/);
    await reached.promise;
    const closed = app[Symbol.asyncDispose]();
    await once(app.closing, "abort");
    await clock.advance(2000);
    await failed;
    await closed;
  });
});

describe("server-sent events", () => {
  it("sends events as they come and ends with the source", async () => {
    await startEvents(async function* () {
      yield { event: "svid", id: "1", data: { text: "a\nb" } };
      yield { event: "two\nlines", data: 2 };
    });
    const { body } = await get("/events");
    expect(body).toBe('event: svid\nid: 1\ndata: {"text":"a\\nb"}\n\nevent: two lines\ndata: 2\n\n');
  });

  it("carries the safe headers and its media type", async () => {
    await startEvents(async function* () {});
    const socket = connect(path);
    socket.write("GET /events HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    const answer = await allOf(socket);
    expect(answer).toMatch(/content-type: text\/event-stream/);
    expect(answer).toMatch(/x-content-type-options: nosniff/);
  });

  it("shows that it lives while nothing happens", async () => {
    await startEvents(async function* (signal) {
      yield { data: 1 };
      await once(signal, "abort");
    });
    const [response] = await open("/events");
    expect(String((await once(response, "data"))[0])).toBe("data: 1\n\n");
    await clock.advance(15_000);
    expect(String((await once(response, "data"))[0])).toBe(": \n\n");
    response.destroy();
  });

  it("sends a failure of the source as an event with a problem document", async () => {
    const errors: unknown[] = [];
    await startEvents(
      async function* () {
        yield { data: 1 };
        throw new AssayError("NOT_READY", "not synchronised yet");
      },
      (error) => void errors.push(error),
    );
    const { body } = await get("/events");
    expect(body).toMatch(/^data: 1\n\nevent: error\ndata: \{"type":"urn:assay:error:NOT_READY".*\}\n\n$/);
    expect(errors).toHaveLength(1);
  });

  it("tells the source when the reader goes away", async () => {
    const told = Promise.withResolvers<void>();
    await startEvents(async function* (signal) {
      signal.addEventListener("abort", () => told.resolve());
      yield { data: 1 };
      await once(signal, "abort");
    });
    const [response] = await open("/events");
    response.destroy();
    await told.promise;
  });

  it("ends when the application closes, also where the source hangs", async () => {
    await startEvents(async function* () {
      yield { data: 1 };
      await new Promise(() => {});
    });
    const answer = get("/events");
    const [response] = await open("/events");
    const ended = once(response.resume(), "end");
    const closed = app[Symbol.asyncDispose]();
    expect((await answer).body).toBe("data: 1\n\n");
    await Promise.all([ended, closed]);
  });

  it("asks a source for no more than the reader takes, and cuts a reader that takes nothing", async () => {
    let asked = 0;
    const cut = Promise.withResolvers<void>();
    await startEvents(async function* (signal) {
      signal.addEventListener("abort", () => cut.resolve());
      for (; asked < 1000; asked++) yield { data: "x".repeat(100_000) };
    });
    const socket = connect(path);
    socket.pause();
    socket.write("GET /events HTTP/1.1\r\nhost: a\r\n\r\n");
    await eventually(() => clock.pending > 1);
    await clock.advance(30_000);
    await cut.promise;
    expect(asked).toBeLessThan(50);
    socket.destroy();
  });
});

type Source = (signal: AbortSignal) => AsyncIterable<ServerSentEvent>;

async function startEvents(source: Source, onError?: (error: unknown) => void): Promise<void> {
  await start(() => {});
  app.routes.get("/events", (_request, reply) =>
    serverSentEvents(reply, source, {
      clock,
      signal: app.closing,
      ...(onError === undefined ? {} : { onError }),
    }),
  );
}

async function start(
  onSocket: (socket: Socket) => void,
  { limits = {}, peek = false }: { limits?: HttpLimits; peek?: boolean } = {},
): Promise<void> {
  app = await createHttpApp({
    clock,
    log: { debug() {}, error() {} },
    transport: { kind: "handed-over" },
    openapi: { title: "Test", version: "1" },
    requestId: () => "6f6bc4a5-0c0e-4d62-9f0a-3f8b0a1c2d3e",
    limits,
  });
  listener = createServer((socket) => {
    onSocket(socket);
    if (!peek) {
      app.serve(socket);
      return;
    }
    socket.once("data", (bytes) => {
      socket.pause();
      socket.unshift(bytes);
      app.serve(socket);
    });
  });
  await new Promise<void>((resolve) => void listener.listen(path, resolve));
}

async function open(url: string) {
  const call = request({ socketPath: path, path: url, agent: false });
  call.end();
  const [response] = (await once(call, "response")) as [import("node:http").IncomingMessage];
  return [response] as const;
}

async function get(url: string): Promise<{ status: number | undefined; body: string }> {
  const [response] = await open(url);
  let body = "";
  for await (const chunk of response) body += String(chunk);
  return { status: response.statusCode, body };
}

async function allOf(socket: Socket): Promise<string> {
  let text = "";
  for await (const chunk of socket) text += String(chunk);
  return text;
}

async function eventually(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => void systemClock.schedule(1, () => resolve(undefined)));
}
