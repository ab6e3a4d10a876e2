import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { LocalEndpoint } from "../../../src/endpoint/local-endpoint.ts";
import { silentLog } from "../../../src/observe/log.ts";
import { SpiffeWorkloadAPI } from "../../../src/proto/gen/spiffe/workload/workload_pb.ts";
import { RpcClient } from "../../../src/rpc/client.ts";
import { RpcServer } from "../../../src/rpc/server.ts";
import type { RpcServerLimits } from "../../../src/rpc/server-options.ts";
import {
  EMPTY_CONTINUATION,
  headerBomb,
  hugeHeaders,
  idleCall,
  manyHeaders,
  OPEN_BLOCK,
  PING,
  resetPair,
  streamingCall,
  unfinishedCall,
} from "../../abuse/abuses.ts";
import { FLAG, FRAME, frame, PREFACE, RawConnection, settingsFrame } from "../../abuse/frames.ts";
import { literal } from "../../abuse/hpack.ts";
import { FakeClock } from "../../fakes/clock.ts";

const ENHANCE_YOUR_CALM = 11;
const REFUSED_STREAM = 7;

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

/** A local endpoint as both programs open it, and an honest client that has a stream open and makes calls. */
async function serve(limits: RpcServerLimits = {}) {
  const folder = mkdtempSync(join(tmpdir(), "floods-"));
  const path = join(folder, "s");
  const clock = new FakeClock();
  const rpc = new RpcServer<unknown>({ clock, before: () => undefined, ...limits });
  const produced = { messages: 0 };
  rpc.register(SpiffeWorkloadAPI, {
    async *fetchX509Bundles() {
      for (;;) {
        produced.messages++;
        yield { bundles: { "spiffe://example.org": new Uint8Array(16 * 1024) } };
      }
    },
    async *fetchX509SVID(_request, { signal }) {
      yield { svids: [{ spiffeId: "spiffe://example.org/a" }] };
      await once(signal, "abort");
      throw signal.reason;
    },
    fetchJWTSVID: () => ({ svids: [{ svid: "token" }] }),
  });
  const endpoint = new LocalEndpoint({
    path,
    mode: 0o600,
    clock,
    log: silentLog,
    onGrpc: (socket, peer) => rpc.injectConnection(socket, peer),
    onHttp: (socket) => socket.destroy(),
  });
  await endpoint.listen();
  const client = new RpcClient({ target: { kind: "unix", path } });
  const workload = client.service(SpiffeWorkloadAPI);
  const watch = workload.fetchX509SVID({});
  await watch.next();
  cleanups.push(async () => {
    client[Symbol.dispose]();
    await endpoint[Symbol.asyncDispose]();
    await rpc.shutdown(0);
    rmSync(folder, { recursive: true });
  });
  const connect = async (options?: Parameters<typeof RawConnection.open>[1]) => {
    const connection = await RawConnection.open(path, options);
    cleanups.push(() => connection[Symbol.dispose]());
    return connection;
  };
  const expectOthersServed = async (): Promise<void> => {
    expect((await workload.fetchJWTSVID({})).svids).toHaveLength(1);
    expect(rpc.streams).toBeGreaterThan(0);
  };
  return { rpc, endpoint, clock, produced, connect, expectOthersServed };
}

/** Writes until the connection is closed. */
async function writeUntilClosed(connection: RawConnection, next: (i: number) => Buffer): Promise<void> {
  for (let i = 0; !connection.closed; ) {
    const batch = Array.from({ length: 200 }, () => next(i++));
    if (connection.socket.writable) connection.write(...batch);
    // What the server has not taken yet, this process would keep.
    do await new Promise((resolve) => setImmediate(resolve));
    while (connection.socket.writableNeedDrain && !connection.closed);
  }
}

describe("bug class 14: floods of HTTP/2", () => {
  it("ends a connection that takes back calls without end", async () => {
    const { connect, expectOthersServed } = await serve({ resets: { burst: 100, perSecond: 1 } });
    const connection = await connect();
    await writeUntilClosed(connection, (i) => resetPair(2 * i + 1));
    await expectOthersServed();
  });

  it("lets an honest client take back far more calls than the platform would", async () => {
    const { connect, rpc } = await serve();
    const connection = await connect();
    const calls = 2000;
    for (let i = 0; i < calls; i++) connection.write(resetPair(2 * i + 1));
    connection.write(idleCall(2 * calls + 1));
    expect((await connection.answer(2 * calls + 1))?.type).toBe(FRAME.headers);
    expect(connection.closed).toBe(false);
    // The other is the honest client's.
    while (rpc.streams > 2) await new Promise((resolve) => setImmediate(resolve));
  });

  it.each([
    ["empty", EMPTY_CONTINUATION],
    ["full", frame(FRAME.continuation, 0, 1, literal("x", "y".repeat(16_000)))],
  ])("ends a connection that goes on with a header block without end, %s", async (_what, continuation) => {
    const { connect, expectOthersServed } = await serve();
    const connection = await connect();
    await writeUntilClosed(connection, (i) => (i === 0 ? OPEN_BLOCK : continuation));
    await expectOthersServed();
  });

  it("ends a connection that sends PING without end, be the answers read or not", async () => {
    const { connect, expectOthersServed } = await serve();
    const reader = await connect();
    reader.write(idleCall(1));
    let sent = 0;
    while (reader.socket.writable && sent < 20_000) {
      reader.write(...Array.from({ length: 100 }, () => PING));
      sent += 100;
      await reader.until(() => reader.frames.filter(({ type }) => type === FRAME.ping).length >= sent);
    }
    expect(reader.goaway).toBe(ENHANCE_YOUR_CALM);
    expect(sent).toBeGreaterThan(10_000);

    const deaf = await connect();
    deaf.socket.pause();
    await writeUntilClosed(deaf, () => PING);
    await expectOthersServed();
  });

  it("answers thousands of PINGs, as clients send them to measure their bandwidth", async () => {
    const { connect } = await serve();
    const connection = await connect();
    const pongs = () => connection.frames.filter(({ type }) => type === FRAME.ping).length;
    for (let i = 1; i <= 50; i++) {
      connection.write(...Array.from({ length: 100 }, () => PING));
      await connection.until(() => pongs() === 100 * i);
    }
    expect(pongs()).toBe(5000);
    expect(connection.closed).toBe(false);
  });

  it("ends a connection that changes its settings without end", async () => {
    const { connect, expectOthersServed } = await serve();
    const connection = await connect();
    connection.write(idleCall(1));
    await connection.answer(1);
    for (let i = 0; i < 150 && !connection.closed; i++) {
      connection.write(settingsFrame({ 4: 65_535 }));
      const acknowledged = () =>
        connection.frames.filter(({ type, flags }) => type === FRAME.settings && flags === 1);
      await connection.until(() => acknowledged().length > i);
    }
    await connection.until(() => connection.closed);
    expect(connection.goaway).toBe(ENHANCE_YOUR_CALM);
    await expectOthersServed();
  });

  it.each([
    ["more than 64 KiB", hugeHeaders],
    ["a thousand fields", manyHeaders],
    ["48 MB out of 16 KB, by way of the table", headerBomb],
  ])("refuses a header block of %s", async (_what, block) => {
    const { connect, expectOthersServed } = await serve();
    const connection = await connect();
    connection.write(block(1));
    const answer = await connection.answer(1);
    expect(answer?.type ?? FRAME.goaway).not.toBe(FRAME.headers);
    await expectOthersServed();
  });

  it("makes no more messages for a client that reads none", async () => {
    const { connect, produced, expectOthersServed } = await serve();
    const reader = await connect({ settings: { 4: 0 } });
    const streams = 100;
    for (let i = 0; i < streams; i++) reader.write(streamingCall(2 * i + 1));
    await reader.answer(2 * streams - 1);
    for (let i = 0; i < 20; i++) await expectOthersServed();
    // One that waits and one that was taken from the handler meanwhile.
    expect(produced.messages).toBeLessThanOrEqual(2 * streams);
  });

  it("makes few more messages for a client whose window is wide open and who does not read its socket", async () => {
    const { connect, produced, expectOthersServed } = await serve();
    const reader = await connect({ settings: { 4: 2 ** 30 } });
    reader.socket.pause();
    const window = Buffer.alloc(4);
    window.writeUInt32BE(2 ** 30);
    reader.write(frame(FRAME.windowUpdate, 0, 0, window), streamingCall(1));
    let before = -1;
    // Until the buffers on the way are full.
    while (before !== produced.messages) {
      before = produced.messages;
      for (let i = 0; i < 20; i++) await expectOthersServed();
    }
    expect(produced.messages).toBeLessThan(300);
  });

  describe("half-open connections", () => {
    it.each([
      ["says nothing", Buffer.alloc(0), 10_000],
      ["says half of the preface", PREFACE.subarray(0, 10), 10_000],
      ["says the preface alone", PREFACE, 60_000],
      ["sends half a frame", Buffer.concat([PREFACE, settingsFrame(), idleCall(1).subarray(0, 30)]), 60_000],
    ])("are ended when the client %s", async (_what, octets, timeout) => {
      const { connect, clock, endpoint, expectOthersServed } = await serve();
      const connection = await connect({ preface: false });
      connection.write(octets);
      while (endpoint.connections < 2) await new Promise((resolve) => setImmediate(resolve));
      // What was sent must have arrived, or the timeout of the phase before it would be seen.
      if (octets.length >= PREFACE.length) await connection.until(() => connection.received > 0);
      await clock.advance(timeout - 1);
      expect(connection.closed).toBe(false);
      await clock.advance(1);
      await connection.until(() => connection.closed);
      await expectOthersServed();
    });

    it("are none once a call was begun", async () => {
      const { connect, clock } = await serve();
      const connection = await connect();
      connection.write(idleCall(1));
      await connection.answer(1);
      await clock.advance(3_600_000);
      connection.write(idleCall(3));
      expect((await connection.answer(3))?.type).toBe(FRAME.headers);
    });
  });

  it("holds ten thousand idle streams and goes on serving", async () => {
    const { connect, rpc, expectOthersServed } = await serve();
    const connections = await Promise.all(Array.from({ length: 10 }, () => connect()));
    for (const connection of connections) {
      for (let i = 0; i < 1000; i++) connection.write(idleCall(2 * i + 1));
    }
    for (const connection of connections) {
      expect((await connection.answer(1999))?.type).toBe(FRAME.headers);
    }
    while (rpc.streams < 10_001) await new Promise((resolve) => setImmediate(resolve));
    await expectOthersServed();
    for (const connection of connections) connection.socket.destroy();
    while (rpc.streams > 1) await new Promise((resolve) => setImmediate(resolve));
  });

  it("refuses further streams of connections that have many, once there are too many", async () => {
    const { connect, expectOthersServed } = await serve({ maxStreams: 100 });
    const connection = await connect();
    for (let i = 0; i < 200; i++) connection.write(idleCall(2 * i + 1));
    const last = await connection.answer(399);
    expect(last?.type).toBe(FRAME.rstStream);
    expect(last?.payload.readUInt32BE(0)).toBe(REFUSED_STREAM);
    const other = await connect();
    other.write(idleCall(1));
    expect((await other.answer(1))?.type).toBe(FRAME.headers);
    await expectOthersServed();
  });

  it("holds only so much of requests that never end, and ends the connection that has sent most", async () => {
    const size = 32 * 1024;
    const { connect, expectOthersServed } = await serve({ maxReceiveMessageSize: size });
    const small = await connect();
    small.write(unfinishedCall(1, size), frame(FRAME.data, 0, 1, Buffer.alloc(100)));
    const greedy = await connect();
    // 64 messages may be on their way; each of these lacks an octet.
    for (let i = 0; i < 80 && !greedy.closed; i++) {
      if (!greedy.socket.writable) break;
      greedy.write(unfinishedCall(2 * i + 1, size));
      for (const part of [16_384, size - 16_384 - 1]) {
        greedy.write(frame(FRAME.data, 0, 2 * i + 1, Buffer.alloc(part)));
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    await greedy.until(() => greedy.closed);
    await expectOthersServed();
    small.write(frame(FRAME.data, 0, 1, Buffer.alloc(16_384)));
    small.write(frame(FRAME.data, FLAG.endStream, 1, Buffer.alloc(size - 16_384 - 100)));
    expect((await small.answer(1))?.type).toBe(FRAME.headers);
  });

  it("forgets what complete requests have sent", async () => {
    const size = 32 * 1024;
    const { connect } = await serve({ maxReceiveMessageSize: size });
    const connection = await connect();
    for (let i = 0; i < 200; i++) {
      const stream = 2 * i + 1;
      connection.write(unfinishedCall(stream, size));
      connection.write(frame(FRAME.data, 0, stream, Buffer.alloc(16_384)));
      connection.write(frame(FRAME.data, FLAG.endStream, stream, Buffer.alloc(size - 16_384)));
      expect((await connection.answer(stream))?.type).toBe(FRAME.headers);
    }
    expect(connection.closed).toBe(false);
  });
});
