import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FakeClock } from "../../test/fakes/clock.ts";
import { systemClock } from "../clock.ts";
import { Agent } from "../proto/gen/spire/api/server/agent/v1/agent_pb.ts";
import { RpcClient } from "./client.ts";
import { RpcServer } from "./server.ts";
import { type SniffedProtocol, sniffProtocol } from "./sniff.ts";

let folder: string;
let path: string;
const cleanups: (() => Promise<void> | void)[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "assay-sniff-"));
  path = join(folder, "s");
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  rmSync(folder, { recursive: true });
});

describe("sniffProtocol", () => {
  it("lets one socket serve gRPC and HTTP/1.1 to real clients", async () => {
    await serveBoth(path);
    const client = rpcClient(path);
    for (let round = 0; round < 5; round++) {
      expect((await client.service(Agent).countAgents({})).count).toBe(42);
      expect(await httpRequest(path, "hello")).toBe("POST /x hello");
      expect(await httpRequest(path, "y".repeat(500_000))).toBe(`POST /x ${"y".repeat(500_000)}`);
      const large = { filter: { byAttestationType: "z".repeat(500_000) } };
      expect((await rpcClient(path).service(Agent).countAgents(large)).count).toBe(500_042);
    }
  });

  it("loses no byte when each comes alone", async () => {
    await serveBoth(path);
    const slow = join(folder, "slow");
    await relayByteByByte(slow, path, 120);
    for (let round = 0; round < 5; round++) {
      expect((await rpcClient(slow).service(Agent).countAgents({})).count).toBe(42);
      expect(await httpRequest(slow, "hello")).toBe("POST /x hello");
    }
  });

  it.each<[string, SniffedProtocol]>([
    ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "h2"],
    ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore", "h2"],
    ["PRI * HTTP/1.1\r\n\r\n", "http/1.1"],
    ["PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", "http/1.1"],
    ["GET / HTTP/1.1\r\n\r\n", "http/1.1"],
    ["P", "http/1.1"],
    ["\x16\x03\x01", "http/1.1"],
  ])("takes %j for %s", async (bytes, protocol) => {
    const [near, far] = await pair(path);
    const sniffed = sniffProtocol(near, { clock: systemClock, timeout: 10_000 });
    far.write(bytes, "latin1");
    // A lone "P" may still become either; the next byte decides.
    if (bytes === "P") far.write("O");
    expect(await sniffed).toBe(protocol);
    const expected = bytes === "P" ? "PO" : bytes;
    let back = "";
    while (back.length < expected.length) {
      const chunk = near.read() as Buffer | null;
      if (chunk === null) await once(near, "readable");
      else back += chunk.toString("latin1");
    }
    expect(back).toBe(expected);
  });

  it("destroys a connection that says nothing in time", async () => {
    const clock = new FakeClock();
    const [near, far] = await pair(path);
    const sniffed = sniffProtocol(near, { clock, timeout: 3000 });
    await clock.advance(2999);
    expect(near.destroyed).toBe(false);
    await clock.advance(1);
    expect(await sniffed).toBeUndefined();
    expect(near.destroyed).toBe(true);
    far.resume();
    await once(far, "close");
  });

  it("destroys a connection that stops within the preface", async () => {
    const clock = new FakeClock();
    const [near, far] = await pair(path);
    const sniffed = sniffProtocol(near, { clock, timeout: 3000 });
    far.write("PRI * HTTP/2.0\r\n");
    await once(near, "readable");
    await clock.advance(3000);
    expect(await sniffed).toBeUndefined();
    expect(near.destroyed).toBe(true);
  });

  it("gives up on a connection that ends or breaks first", async () => {
    const clock = new FakeClock();
    const [ended, endedFar] = await pair(path);
    const first = sniffProtocol(ended, { clock, timeout: 3000 });
    endedFar.end("PR");
    expect(await first).toBeUndefined();

    const [broken, _far] = await pair(`${path}2`);
    const second = sniffProtocol(broken, { clock, timeout: 3000 });
    broken.destroy(new Error("broken"));
    expect(await second).toBeUndefined();
    expect(await sniffProtocol(broken, { clock, timeout: 3000 })).toBeUndefined();
    expect(clock.pending).toBe(0);
  });

  it("leaves no listener behind", async () => {
    const [near, far] = await pair(path);
    const before = counts(near);
    const sniffed = sniffProtocol(near, { clock: systemClock, timeout: 10_000 });
    far.write("GET / HTTP/1.1\r\n\r\n");
    await sniffed;
    expect(counts(near)).toEqual(before);
  });
});

function counts(socket: net.Socket): Record<string, number> {
  return Object.fromEntries(
    ["readable", "end", "close", "error", "data"].map((event) => [event, socket.listenerCount(event)]),
  );
}

async function serveBoth(at: string): Promise<void> {
  const rpc = new RpcServer<null>({ clock: systemClock, before: () => undefined });
  rpc.register(Agent, {
    countAgents: ({ filter }) => ({ count: 42 + (filter?.byAttestationType.length ?? 0) }),
  });
  const web = http.createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8");
    request.on("data", (text: string) => {
      body += text;
    });
    request.on("end", () => response.end([request.method, request.url, body].join(" ")));
  });
  const listener = net.createServer((socket) => {
    void sniffProtocol(socket, { clock: systemClock, timeout: 10_000 }).then((protocol) => {
      if (protocol === "h2") rpc.injectConnection(socket, null);
      else if (protocol === "http/1.1") web.emit("connection", socket);
    });
  });
  listener.listen({ path: at });
  await once(listener, "listening");
  cleanups.push(async () => {
    listener.close();
    await rpc.shutdown(0);
  });
}

async function relayByteByByte(from: string, to: string, slowly: number): Promise<void> {
  const relay = net.createServer((near) => {
    const far = net.connect(to);
    far.pipe(near);
    near.on("error", () => far.destroy());
    far.on("error", () => near.destroy());
    void forward(near, far, slowly);
  });
  relay.listen({ path: from });
  await once(relay, "listening");
  cleanups.push(() => void relay.close());
}

async function forward(near: net.Socket, far: net.Socket, slowly: number): Promise<void> {
  let sent = 0;
  try {
    for await (const chunk of near.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      for (const byte of chunk) {
        far.write(Uint8Array.of(byte));
        if (sent++ < slowly) await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
      }
    }
  } catch {
    // The client is done with the connection.
  }
  far.end();
}

function rpcClient(at: string): RpcClient {
  const client = new RpcClient({ target: { kind: "unix", path: at } });
  cleanups.push(() => client[Symbol.dispose]());
  return client;
}

async function httpRequest(socketPath: string, body: string): Promise<string> {
  const request = http.request({ socketPath, path: "/x", method: "POST", agent: false });
  request.end(body);
  const [response] = (await once(request, "response")) as [http.IncomingMessage];
  let text = "";
  response.setEncoding("utf8");
  for await (const chunk of response) text += chunk as string;
  return text;
}

/** Both ends of one connection. */
async function pair(at: string): Promise<[net.Socket, net.Socket]> {
  const listener = net.createServer({ pauseOnConnect: false });
  listener.listen({ path: at });
  await once(listener, "listening");
  const accepted = once(listener, "connection") as Promise<[net.Socket]>;
  const far = net.connect(at);
  far.on("error", () => undefined);
  const [near] = await accepted;
  cleanups.push(() => {
    near.destroy();
    far.destroy();
    listener.close();
  });
  return [near, far];
}
