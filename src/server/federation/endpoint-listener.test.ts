import { once } from "node:events";
import { connect as plain } from "node:net";
import { connect, type TLSSocket } from "node:tls";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { makeCa, makeCredential } from "../../../test/fakes/remote-server.ts";
import { systemClock } from "../../clock.ts";
import { EndpointListener } from "./endpoint-listener.ts";

const NAME = "bundle.example.org";
const { cert, key } = makeCredential(makeCa("authority"), { dnsNames: [NAME] });

describe("while a CA validates a name, somebody who passes for it", () => {
  let listener: EndpointListener;
  const served: unknown[] = [];
  const cleanups: (() => void)[] = [];

  beforeEach(async () => {
    listener = await EndpointListener.open({
      listen: { host: "127.0.0.1", port: 0 },
      clock: systemClock,
      credential: undefined,
      onConnection: (socket) => served.push(socket),
      onRefused: () => undefined,
      onOverLimit: () => undefined,
    });
    listener.setChallenge(NAME, { certificateChain: cert, privateKey: key });
  });
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0)) cleanup();
    await listener[Symbol.asyncDispose]();
  });

  it("cannot keep the connection by going on to send", async () => {
    const before = openSockets();
    const options = {
      ...listener.address,
      servername: NAME,
      ALPNProtocols: ["acme-tls/1"],
      rejectUnauthorized: false,
      // Node takes it, its types have not heard of it.
      allowHalfOpen: true,
    };
    const socket = connect(options);
    cleanups.push(() => socket.destroy());
    socket.on("error", () => undefined);
    await once(socket, "secureConnect");
    expect(socket.alpnProtocol).toBe("acme-tls/1");
    // More than is read on behalf of a program that does not.
    for (let chunk = 0; chunk < 100; chunk++) socket.write(Buffer.alloc(16_384));
    socket.resume();
    // What is left is the client's own end.
    await vi.waitFor(() => expect(openSockets() - before).toBeLessThanOrEqual(1), 3000);
    expect(served).toEqual([]);
  });
});

describe("one address", () => {
  it("may have only some of the connections, and is let in again when others have closed", async () => {
    const served: TLSSocket[] = [];
    const over: string[] = [];
    await using listener = await EndpointListener.open({
      listen: { host: "127.0.0.1", port: 0 },
      clock: systemClock,
      credential: { certificateChain: cert, privateKey: key },
      onConnection: (socket) => served.push(socket.on("error", () => undefined)),
      onRefused: () => undefined,
      onOverLimit: (address) => over.push(address),
    });
    const sockets = Array.from({ length: 260 }, () => plain(listener.address.port, "127.0.0.1"));
    for (const socket of sockets) socket.on("error", () => undefined).resume();
    const open = () => sockets.filter(({ closed }) => !closed);
    await vi.waitFor(() => expect(open()).toHaveLength(256), 5000);
    expect(over).toEqual(Array.from({ length: 4 }, () => "127.0.0.1"));
    for (const socket of sockets) socket.destroy();
    await vi.waitFor(async () => {
      const late = connect({ ...listener.address, servername: NAME, rejectUnauthorized: false });
      late.on("error", () => undefined);
      await once(late, "secureConnect");
    }, 5000);
    await vi.waitFor(() => expect(served).toHaveLength(1));
  });
});

function openSockets(): number {
  return process.getActiveResourcesInfo().filter((kind) => kind === "TCPSocketWrap").length;
}
