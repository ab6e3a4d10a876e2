import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { createConnection, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FakeClock } from "../../test/fakes/clock.ts";
import { AssayError } from "../errors/assay-error.ts";
import { silentLog } from "../observe/log.ts";
import { identifyPeer, type PeerProcess } from "../peer/identify-peer.ts";
import type { FrontedSocket } from "../rpc/authority/fronted-socket.ts";
import { LocalEndpoint } from "./local-endpoint.ts";

let folder: string;
let path: string;
let clock: FakeClock;
let endpoint: LocalEndpoint;
let taken: { protocol: string; socket: Socket | FrontedSocket; peer: PeerProcess }[];
let identify: (socket: Socket) => PeerProcess;
/** What taking a connection fails with. */
let fault: Error | undefined;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "endpoint-"));
  path = join(folder, "s");
  clock = new FakeClock();
  taken = [];
  identify = identifyPeer;
  fault = undefined;
  const take = (protocol: string) => (socket: Socket | FrontedSocket, peer: PeerProcess) => {
    if (fault !== undefined) throw fault;
    taken.push({ protocol, socket, peer });
    socket.resume();
  };
  endpoint = new LocalEndpoint({
    path,
    mode: 0o777,
    maxConnectionsPerUser: 2,
    clock,
    log: silentLog,
    onGrpc: take("grpc"),
    onHttp: take("http"),
    identify: (socket) => identify(socket),
  });
  await endpoint.listen();
});

afterEach(async () => {
  await endpoint[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const fakePeer = { pid: 1, uid: 1, gid: 1, [Symbol.dispose]: () => undefined };

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
}

describe("the agent's sockets", () => {
  it("tell gRPC from HTTP/1.1 and know the process", async () => {
    const http = createConnection(path);
    http.write("GET / HTTP/1.1\r\n\r\n");
    const grpc = createConnection(path);
    grpc.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    await until(() => taken.length === 2);
    expect(taken.map(({ protocol }) => protocol).toSorted()).toEqual(["grpc", "http"]);
    expect(taken.every(({ peer }) => peer.pid === process.pid)).toBe(true);
    expect(statSync(path).mode & 0o777).toBe(0o777);
    http.destroy();
    grpc.destroy();
    await until(() => endpoint.connections === 0);
    expect(taken[0]?.peer.isAlive()).toBe(false);
  });

  it("outlive a connection that cannot be served", async () => {
    fault = new Error("unforeseen");
    const one = createConnection(path);
    one.write("GET / HTTP/1.1\r\n\r\n");
    one.resume();
    await once(one, "close");
    fault = undefined;
    const other = createConnection(path);
    other.write("GET / HTTP/1.1\r\n\r\n");
    await until(() => taken.length === 1);
    expect(endpoint.connections).toBe(1);
    other.destroy();
  });

  it("turn away a caller that cannot be identified", async () => {
    identify = () => {
      throw new AssayError("CALLER_NOT_IDENTIFIED", "gone");
    };
    const client = createConnection(path);
    client.on("error", () => undefined);
    const closed = new Promise((resolve) => client.resume().once("close", resolve));
    client.write("GET / HTTP/1.1\r\n\r\n");
    await closed;
    expect(taken).toEqual([]);
  });

  it("close what a user opens beyond the limit, and take more once others are closed", async () => {
    const uids = [7, 7, 8, 7, 7, 7];
    identify = (socket) => ({ ...fakePeer, uid: uids.shift() ?? 0, isAlive: () => !socket.destroyed });
    const open = () => {
      const client = createConnection(path);
      client.on("error", () => undefined);
      return client.resume();
    };
    const first = open();
    await until(() => endpoint.connections === 1);
    open();
    await until(() => endpoint.connections === 2);
    open();
    await until(() => endpoint.connections === 3);
    await once(open(), "close");
    await once(open(), "close");
    expect(endpoint.connections).toBe(3);
    first.destroy();
    await until(() => endpoint.connections === 2);
    open();
    await until(() => endpoint.connections === 3);
  });

  it("let go of a connection that stays silent", async () => {
    const client = createConnection(path);
    const closed = once(client.resume(), "close");
    await until(() => endpoint.connections === 1);
    await clock.advance(10_000);
    await closed;
  });

  it("cut a connection whose process has ended and left its socket to a child", async () => {
    const parent = spawn(process.execPath, [
      "-e",
      `const socket = require("net").connect(process.argv[1], () => {
        socket.write("GET / HTTP/1.1\\r\\n\\r\\n");
        require("child_process").spawn("sleep", ["30"], { stdio: [socket, socket, "ignore"], detached: true }).unref();
        process.stdin.once("data", () => process.exit(0));
      });`,
      path,
    ]);
    await until(() => taken.length === 1);
    const [connection] = taken;
    expect(connection?.peer.pid).toBe(parent.pid);
    await clock.advance(1000);
    expect(connection?.socket.destroyed).toBe(false);
    parent.stdin.write("die\n");
    await once(parent, "exit");
    // The child holds the socket open, so nothing but the end of the process says that its caller is gone.
    expect(connection?.peer.isAlive()).toBe(false);
    await clock.advance(1000);
    expect(connection?.socket.destroyed).toBe(true);
  });
});
