import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { AUTHORITY, idleCall, streamingCall } from "../../test/abuse/abuses.ts";
import { FLAG, FRAME, frame, numberFrame, PREFACE, settingsFrame } from "../../test/abuse/frames.ts";
import { literal } from "../../test/abuse/hpack.ts";
import { FakeClock } from "../../test/fakes/clock.ts";
import { SpiffeWorkloadAPI } from "../proto/gen/spiffe/workload/workload_pb.ts";
import { FrontedSocket } from "./authority/fronted-socket.ts";
import { RpcServer } from "./server.ts";
import type { RpcServerLimits } from "./server-options.ts";

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

async function serve(limits: RpcServerLimits, front: boolean) {
  const folder = mkdtempSync(join(tmpdir(), "connections-"));
  const path = join(folder, "s");
  const clock = new FakeClock();
  const rpc = new RpcServer<undefined>({ clock, before: () => undefined, ...limits });
  rpc.register(SpiffeWorkloadAPI, {
    async *fetchX509Bundles() {
      for (;;) yield { bundles: { "spiffe://example.org": new Uint8Array(64 * 1024) } };
    },
    async *fetchX509SVID(_request, { signal }) {
      yield { svids: [{ spiffeId: "spiffe://example.org/a" }] };
      await once(signal, "abort");
      throw signal.reason;
    },
  });
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    rpc.injectConnection(front ? new FrontedSocket(socket) : socket, undefined);
  });
  server.listen(path);
  await once(server, "listening");
  cleanups.push(async () => {
    await rpc.shutdown(0);
    server.close();
    rmSync(folder, { recursive: true });
  });
  return { path, clock, rpc };
}

async function open(path: string): Promise<Socket> {
  const socket = connect({ path, allowHalfOpen: true });
  socket.on("error", () => undefined);
  await once(socket, "connect");
  cleanups.push(() => void socket.destroy());
  return socket;
}

const INTERNAL_ERROR = 2;
const CANCEL = 8;
/** Milliseconds. */
const SOON = 15_000;
const turn = () => new Promise((resolve) => setImmediate(resolve));

describe.each([
  ["with a front", true],
  ["without a front", false],
])("a session that is over, on a socket %s,", (_, front) => {
  it("does not keep its connection where the client reads nothing", async () => {
    // The server's own PING, never answered, ends the session: older Nodes read nothing while they cannot write.
    const { path, clock, rpc } = await serve({ keepaliveTime: 200, keepaliveTimeout: 200 }, front);
    const socket = await open(path);
    socket.pause();
    const window = Buffer.alloc(4);
    window.writeUInt32BE(2 ** 30);
    socket.write(
      Buffer.concat([
        PREFACE,
        settingsFrame({ 4: 2 ** 30 }),
        frame(FRAME.windowUpdate, 0, 0, window),
        streamingCall(1),
      ]),
    );
    while (rpc.streams < 1) await turn();
    while (rpc.streams > 0) await turn();
    expect(rpc.connections).toBe(1);
    await clock.advance(SOON);
    await turn();
    expect(rpc.connections).toBe(0);
  });

  it("does not keep its connection where the client leaves it half open", async () => {
    const { path, clock, rpc } = await serve({ maxConnectionIdle: 50 }, front);
    const socket = await open(path);
    socket.resume();
    socket.write(Buffer.concat([PREFACE, settingsFrame(), idleCall(1)]));
    while (rpc.streams < 1) await turn();
    socket.write(frame(FRAME.rstStream, 0, 1, Buffer.from([0, 0, 0, 8])));
    await once(socket, "end");
    expect(rpc.connections).toBe(1);
    await clock.advance(SOON);
    await turn();
    expect(rpc.connections).toBe(0);
  });
});

describe.each([
  ["with a front", true],
  ["without a front", false],
])("a call that is taken back before it has been heard of, on a socket %s,", (_, front) => {
  it.each([
    ["of an unknown method", "/a/b", "application/grpc"],
    ["of no gRPC", "/a/b", "text/plain"],
    ["of a known method", "/SpiffeWorkloadAPI/FetchX509SVID", "application/grpc"],
  ])("harms nobody: one %s", async (_what, path, contentType) => {
    const thrown: unknown[] = [];
    const caught = (error: unknown) => void thrown.push(error);
    process.on("uncaughtException", caught);
    cleanups.push(() => void process.off("uncaughtException", caught));
    const { path: at, rpc } = await serve({}, front);
    const fields = [
      literal(":method", "POST"),
      literal(":scheme", "http"),
      literal(":path", path),
      AUTHORITY,
      literal("content-type", contentType),
    ];
    const call = frame(FRAME.headers, FLAG.endHeaders, 1, Buffer.concat(fields));
    const taken = [CANCEL, INTERNAL_ERROR].map((code, i) => {
      const stream = 2 * i + 1;
      call.writeUInt32BE(stream, 5);
      return Buffer.concat([call, numberFrame(FRAME.rstStream, stream, code)]);
    });
    const socket = await open(at);
    socket.resume();
    socket.write(Buffer.concat([PREFACE, settingsFrame(), ...taken, idleCall(5)]));
    while (rpc.streams < 1) await turn();
    expect(thrown).toEqual([]);
    expect(rpc.streams).toBe(1);
  });
});
