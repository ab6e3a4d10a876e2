import { once } from "node:events";
import { connect, performServerHandshake, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import { createServer } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { keepStreamsApart } from "./session-streams.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

describe("keepStreamsApart", () => {
  it("finds the table of this platform's sessions, and once there are streams in it leaves it", async () => {
    const { session, kept, call } = await handshake(() => undefined);
    expect(kept).toBe(true);
    await call();
    expect(keepStreamsApart(session)).toBe(false);
  });

  it("leaves the session to serve, to count and to end streams as before", async () => {
    const served: ServerHttp2Stream[] = [];
    const { session, call } = await handshake((stream) => {
      served.push(stream);
      // Every third is left open.
      if (served.length % 3 !== 0) {
        stream.respond({ ":status": 200 });
        stream.end();
      }
    });
    for (let n = 0; n < 99; n++) await call();
    await expect.poll(() => served.filter(({ destroyed }) => !destroyed).length).toBe(33);

    // A session that is closed waits for its streams, and one that is destroyed ends them.
    let closed = false;
    session.close(() => (closed = true));
    served[2]?.respond({ ":status": 200 });
    served[2]?.end();
    await expect.poll(() => served[2]?.destroyed).toBe(true);
    expect(closed).toBe(false);
    session.destroy();
    await expect.poll(() => served.every(({ destroyed }) => destroyed)).toBe(true);
  });

  it("closes a session when the last of its streams has ended", async () => {
    const { session, call } = await handshake((stream) => {
      session.close();
      setImmediate(() => {
        stream.respond({ ":status": 200 });
        stream.end();
      });
    });
    await call();
    await once(session, "close");
    expect(session.destroyed).toBe(true);
  });

  it("leaves what is no session of this platform as it is", () => {
    const known = { streams: new Map(), pendingStreams: new Set() };
    const state = Symbol("state");
    expect(keepStreamsApart({ [state]: { ...known } } as unknown as ServerHttp2Session)).toBe(true);
    for (const odd of [
      { [state]: undefined },
      { [state]: { ...known, streams: undefined } },
      { [state]: { ...known, pendingStreams: null } },
      { [state]: { ...known, streams: new Map([[1, {}]]) } },
      { [state]: { ...known, pendingStreams: new Set([{}]) } },
      { [state]: { ...known, streams: new Set() } },
      { [Symbol("other")]: known },
    ]) {
      const before = odd[state] === undefined ? undefined : { ...odd[state] };
      expect(keepStreamsApart(odd as unknown as ServerHttp2Session)).toBe(false);
      expect(odd[state]).toEqual(before);
    }
  });
});

/** A session over a loopback connection, and calls of its client; a call resolves when the server knows its stream. */
async function handshake(serve: (stream: ServerHttp2Stream) => void): Promise<{
  session: ServerHttp2Session;
  kept: boolean;
  call(): Promise<void>;
}> {
  const server = createServer({ allowHalfOpen: true });
  cleanups.push(() => server.close());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  const accepted = once(server, "connection");
  const client = connect(`http://127.0.0.1:${port}`);
  client.on("error", () => undefined);
  cleanups.push(() => client.destroy());
  const [socket] = (await accepted) as Parameters<typeof performServerHandshake>;
  const session = performServerHandshake(socket);
  const kept = keepStreamsApart(session);
  cleanups.push(() => session.destroy());
  session.on("error", () => undefined);
  session.on("stream", (stream) => {
    stream.on("error", () => undefined);
    stream.resume();
    serve(stream);
  });
  return {
    session,
    kept,
    async call() {
      const begun = once(session, "stream");
      const request = client.request({ ":path": "/" });
      request.on("error", () => undefined);
      request.resume();
      await begun;
    },
  };
}
