import type { AddressInfo } from "node:net";
import { connect, type ConnectionOptions, createServer, type TLSSocket } from "node:tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { toPem } from "../../../src/crypto/pem.ts";
import { Entry } from "../../../src/proto/gen/spire/api/server/entry/v1/entry_pb.ts";
import { TestAgent } from "../../fakes/server-agent.ts";
import { ServerBench } from "../../fakes/server-bench.ts";

let bench: ServerBench;

beforeAll(async () => {
  bench = await ServerBench.start();
});

afterAll(() => bench?.[Symbol.asyncDispose]());

describe("class 5: TLS sessions", () => {
  it.each([
    ["api", "TLSv1.2", ["h2"]],
    ["api", "TLSv1.3", ["h2"]],
    ["web", "TLSv1.2", ["http/1.1"]],
    ["web", "TLSv1.3", ["http/1.1"]],
  ] as const)(
    "of the %s port are never resumed over %s: each handshake shows its certificate",
    async (door, version, alpn) => {
      const agent = await TestAgent.attest(bench);
      const options: ConnectionOptions = {
        ...bench.addresses[door],
        cert: agent.chain.map((der) => toPem("CERTIFICATE", der)).join(""),
        key: pemOf(agent),
        // Who the server is plays no part here.
        rejectUnauthorized: false,
        minVersion: version,
        maxVersion: version,
        ALPNProtocols: [...alpn],
      };
      const { session } = await handshake(options);
      expect(session).toBeDefined();
      expect((await handshake({ ...options, session })).reused).toBe(false);
    },
  );

  it.each(["TLSv1.2", "TLSv1.3"] as const)(
    "of a server that does not care are resumed over %s by the same client, so that this test could fail",
    async (version) => {
      const agent = await TestAgent.attest(bench);
      const cert = agent.chain.map((der) => toPem("CERTIFICATE", der)).join("");
      const key = pemOf(agent);
      const careless = createServer({ cert, key }, (socket) => socket.on("error", () => {}).write("hello"));
      await new Promise<void>((resolve) => careless.listen(0, "127.0.0.1", resolve));
      const { port } = careless.address() as AddressInfo;
      const options: ConnectionOptions = {
        host: "127.0.0.1",
        port,
        rejectUnauthorized: false,
        minVersion: version,
        maxVersion: version,
      };
      const { session } = await handshake(options, { ticket: true });
      expect((await handshake({ ...options, session })).reused).toBe(true);
      careless.close();
    },
  );

  it("do not carry a banned agent through: open connections and new ones are refused at the next call", async () => {
    const agent = await TestAgent.attest(bench);
    await expect(agent.entries.getAuthorizedEntries({})).resolves.toBeDefined();
    await bench.agents.banAgent({ id: agent.wireId });
    await expect(agent.entries.getAuthorizedEntries({})).rejects.toMatchObject({ reason: "AGENT_BANNED" });
    const again = await bench.tls({ certificates: agent.chain, privateKey: agent.privateKey });
    await expect(again.service(Entry).getAuthorizedEntries({})).rejects.toMatchObject({
      reason: "AGENT_BANNED",
    });
  });
});

function pemOf(agent: TestAgent): string {
  return agent.privateKey.export({ type: "pkcs8", format: "pem" }).toString();
}

/**
 * Shakes hands, and waits for the server's first bytes, which it sends after anything it has to say about sessions; with
 * `ticket` also until the client has made a session of that, which Node's releases do at different moments.
 */
async function handshake(options: ConnectionOptions, { ticket = false } = {}) {
  const socket: TLSSocket = connect(options);
  const ticketed = ticket ? new Promise((resolve) => socket.once("session", resolve)) : undefined;
  let session: Buffer | undefined;
  socket.on("session", (data: Buffer) => {
    session = data;
  });
  socket.on("error", () => {});
  await new Promise<void>((resolve, reject) => {
    socket.once("secureConnect", resolve);
    socket.once("error", reject);
  });
  const answered = new Promise((resolve) => socket.once("data", resolve).once("close", resolve));
  socket.write(socket.alpnProtocol === "h2" ? H2_PREFACE : "GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n");
  await Promise.all([answered, ticketed]);
  const result = { reused: socket.isSessionReused(), session: session ?? socket.getSession() };
  socket.destroy();
  return result;
}

const H2_PREFACE = Buffer.concat([
  Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
  Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
]);
