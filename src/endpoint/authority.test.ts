import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  FLAG,
  FRAME,
  frame,
  messageFrame,
  RawConnection,
  type ReceivedFrame,
} from "../../test/abuse/frames.ts";
import { indexed, literal, requestHeaders, sizeUpdate } from "../../test/abuse/hpack.ts";
import { systemClock } from "../clock.ts";
import { AssayError } from "../errors/assay-error.ts";
import { silentLog } from "../observe/log.ts";
import type { PeerProcess } from "../peer/identify-peer.ts";
import { SpiffeWorkloadAPI } from "../proto/gen/spiffe/workload/workload_pb.ts";
import { RpcServer } from "../rpc/server.ts";
import { LocalEndpoint } from "./local-endpoint.ts";

let folder: string;
let path: string;
let endpoint: LocalEndpoint;
let rpc: RpcServer<PeerProcess>;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "authority-"));
  path = join(folder, "s");
  rpc = new RpcServer<PeerProcess>({ clock: systemClock, before: () => undefined });
  rpc.register(SpiffeWorkloadAPI, {
    fetchX509SVID(_request, { peer }) {
      throw new AssayError("NO_IDENTITY_ISSUED", `none for ${peer.pid}`);
    },
  });
  endpoint = new LocalEndpoint({
    path,
    mode: 0o600,
    clock: systemClock,
    log: silentLog,
    onGrpc: (socket, peer) => rpc.injectConnection(socket, peer),
    onHttp: (socket) => socket.destroy(),
  });
  await endpoint.listen();
});

afterAll(async () => {
  await rpc.shutdown(0);
  await endpoint[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

/** Sends one request on a connection of its own and says what its first answer is. */
async function answerTo(authority: Buffer): Promise<string> {
  using connection = await RawConnection.open(path);
  sendRequest(connection, 1, authority);
  return told(await connection.answer(1));
}

function sendRequest(connection: RawConnection, stream: number, authority: Buffer): void {
  connection.write(
    frame(FRAME.headers, FLAG.endHeaders, stream, requestHeaders(authority)),
    messageFrame(stream),
  );
}

function told(answer: ReceivedFrame | undefined): string {
  if (answer === undefined) return "closed";
  if (answer.type === FRAME.rstStream) return `reset with ${answer.payload.readUInt32BE(0)}`;
  // A gRPC answer without a message is one block of headers, with the status in it.
  return answer.flags & FLAG.endStream ? "gRPC status" : "headers";
}

describe("the :authority of a call on a local endpoint", () => {
  const accepted = [
    ["as grpc-go and tonic send it", "localhost"],
    ["as gRPC's C core sends it", "tmp%2Fdir%2Fagent.sock"],
    ["as grpc-java sends it, the raw path", "/tmp/agent.sock"],
    ["a cluster's name", "spire_agent"],
    ["a cluster's name with slashes", "clusters/spire/agent"],
    ["a mesh's cluster name", "outbound|8081|v1|agent.spire.svc"],
    ["a path with a space", "/run/my agent.sock"],
    ["nothing but slashes", "////////////////"],
    ["a slash at the end", "agent/"],
  ] as const;
  it.each(accepted)("may be %s", async (_who, authority) => {
    for (const huffmanValue of [false, true]) {
      expect(await answerTo(literal(":authority", authority, { huffmanValue }))).toBe("gRPC status");
    }
  });

  it.each(["added", "passing", "never"] as const)(
    "may be a literal that is %s, its name in full or by index",
    async (representation) => {
      for (const nameIndex of [0, 1]) {
        for (const huffmanName of [false, true]) {
          const authority = literal(":authority", "/tmp/agent.sock", {
            representation,
            nameIndex,
            huffmanName,
          });
          expect(await answerTo(authority)).toBe("gRPC status");
        }
      }
    },
  );

  it("may be told once and referred to ever after, by name and as a whole", async () => {
    using connection = await RawConnection.open(path);
    sendRequest(connection, 1, literal(":authority", "/tmp/a.sock", { representation: "added" }));
    sendRequest(connection, 3, indexed(62));
    sendRequest(connection, 5, literal("", "/tmp/b.sock", { nameIndex: 62, representation: "added" }));
    sendRequest(connection, 7, indexed(62));
    sendRequest(connection, 9, indexed(63));
    sendRequest(connection, 11, literal("", "/tmp/c.sock", { nameIndex: 63, huffmanValue: true }));
    for (const stream of [1, 3, 5, 7, 9, 11])
      expect(told(await connection.answer(stream))).toBe("gRPC status");
  });

  it("may change from call to call on one connection", async () => {
    using connection = await RawConnection.open(path);
    for (const [i, [, authority]] of accepted.entries()) {
      sendRequest(
        connection,
        2 * i + 1,
        literal(":authority", authority, { representation: "added", nameIndex: 1 }),
      );
    }
    for (const i of accepted.keys()) expect(told(await connection.answer(2 * i + 1))).toBe("gRPC status");
  });

  it("may come after the encoder has emptied its table", async () => {
    using connection = await RawConnection.open(path);
    sendRequest(connection, 1, literal(":authority", "/tmp/a.sock", { representation: "added" }));
    const block = Buffer.concat([
      sizeUpdate(0),
      sizeUpdate(100),
      requestHeaders(literal(":authority", "/tmp/b.sock", { representation: "added" })),
    ]);
    connection.write(frame(FRAME.headers, FLAG.endHeaders, 3, block), messageFrame(3));
    sendRequest(connection, 5, indexed(62));
    for (const stream of [1, 3, 5]) expect(told(await connection.answer(stream))).toBe("gRPC status");
  });

  it("may be spread over frames with padding, octet by octet", async () => {
    using connection = await RawConnection.open(path);
    const block = requestHeaders(literal(":authority", "/tmp/agent.sock", { huffmanValue: true }));
    const [first, second] = [block.subarray(0, 80), block.subarray(80)];
    const padded = Buffer.concat([Buffer.of(7), Buffer.alloc(5), first, Buffer.alloc(7)]);
    const octets = Buffer.concat([
      frame(FRAME.headers, FLAG.padded | FLAG.priority, 1, padded),
      frame(FRAME.continuation, FLAG.endHeaders, 1, second),
      messageFrame(1),
    ]);
    for (const octet of octets) {
      connection.write(Buffer.of(octet));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(told(await connection.answer(1))).toBe("gRPC status");
  });

  it("may be missing where there is a host", async () => {
    expect(await answerTo(literal("host", "localhost"))).toBe("gRPC status");
  });

  it("is refused where it is missing or empty", async () => {
    expect(await answerTo(Buffer.alloc(0))).toBe("reset with 1");
    expect(await answerTo(literal(":authority", ""))).toBe("reset with 1");
  });

  it("is refused where it holds a control character", async () => {
    for (const bad of ["a\0b", "a\r\nb", "a\tb", "\x7f"]) {
      expect(await answerTo(literal(":authority", bad))).toBe("reset with 1");
    }
  });

  it("would be refused by the platform alone, so the front is still needed", async () => {
    const plain = createServer((_request, response) => response.end());
    plain.listen(join(folder, "plain"));
    await once(plain, "listening");
    using connection = await RawConnection.open(join(folder, "plain"));
    sendRequest(connection, 1, literal(":authority", "/tmp/agent.sock"));
    expect(told(await connection.answer(1))).toBe("reset with 1");
    plain.close();
  });
});
