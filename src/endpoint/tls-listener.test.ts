import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { createConnection, type Socket } from "node:net";
import { connect, type TLSSocket } from "node:tls";
import { afterEach, describe, expect, it, vi } from "vitest";
import { makeCertificate, makeKey } from "../../test/fakes/certificates.ts";
import { makeCrl } from "../../test/fakes/crl.ts";
import { systemClock, unixSeconds } from "../clock.ts";
import { toPem } from "../crypto/pem.ts";
import { emptyBundle } from "../spiffe/bundle.ts";
import { parseTrustDomain } from "../spiffe/trust-domain.ts";
import { createClientSvidVerifier } from "./client-svid.ts";
import { type TlsConnection, TlsListener } from "./tls-listener.ts";

const trustDomain = parseTrustDomain("example.org");
const now = unixSeconds(systemClock);
const authorityKey = makeKey();
const authority = makeCertificate({
  subject: "authority",
  key: authorityKey,
  ca: true,
  uris: ["spiffe://example.org"],
  notBefore: now - 60,
  notAfter: now + 600,
});

const LIMIT = 4;
const clients: Socket[] = [];
afterEach(() => {
  for (const client of clients.splice(0)) client.destroy();
});

describe("the connections of one address", () => {
  it("are closed at once, before any TLS, where too many have shown no SVID", async () => {
    await using door = await openDoor();
    for (let n = 0; n < LIMIT; n++) await secured(door);
    const late = plain(door);
    await once(late, "close");
    expect(late.bytesRead).toBe(0);
    expect(door.over).toEqual([["127.0.0.1", true]]);
    await expect(secured(door)).rejects.toThrow();
    expect(door.over.at(-1)).toEqual(["127.0.0.1", false]);
    expect(door.refused).toEqual([]);
  });

  it("count while their handshake has not ended or not begun", async () => {
    await using door = await openDoor();
    for (let n = 0; n < LIMIT; n++) {
      const client = plain(door);
      await once(client, "connect");
      if (n % 2 === 0) client.write("\x16\x03\x01");
    }
    await expect(secured(door)).rejects.toThrow();
    clients[0]?.destroy();
    await vi.waitFor(() => secured(door));
  });

  it("do not count once they have shown an SVID", async () => {
    await using door = await openDoor();
    for (let n = 0; n < 2 * LIMIT; n++) await secured(door, svid("spiffe://example.org/agent"));
    expect(door.taken).toHaveLength(2 * LIMIT);
    for (let n = 0; n < LIMIT; n++) await secured(door);
    await expect(secured(door)).rejects.toThrow();
    // Those who have shown one give nobody's place away when they leave.
    for (const client of clients.slice(0, 2 * LIMIT)) client.destroy();
    await vi.waitFor(() => expect(door.taken.filter(({ socket }) => !socket.closed)).toHaveLength(LIMIT));
    await expect(secured(door)).rejects.toThrow();
    clients[2 * LIMIT]?.destroy();
    await vi.waitFor(() => secured(door));
  });

  it("give their place to others when they close, also where they were refused", async () => {
    await using door = await openDoor();
    for (let n = 0; n < 3 * LIMIT; n++) {
      const refused = await secured(door, svid("spiffe://other.org/agent"));
      if (!refused.closed) await once(refused, "close");
    }
    expect(door.refused).toHaveLength(3 * LIMIT);
    for (let n = 0; n < 3 * LIMIT; n++) {
      const client = plain(door);
      client.end("GET / HTTP/1.1\r\n\r\n");
      await once(client, "close");
    }
    expect(door.over).toEqual([]);
    await vi.waitFor(() => secured(door));
  });
});

it("a listener that judges again cuts those whose SVID was revoked, and nobody else", async () => {
  await using door = await openDoor();
  const good = svid("spiffe://example.org/good");
  const bad = svid("spiffe://example.org/bad");
  const clientsOf = [await secured(door), await secured(door, good), await secured(door, bad)];
  await door.listener.recheck();
  expect(door.taken.map(({ socket }) => socket.destroyed)).toEqual([false, false, false]);
  const { serialNumber } = new X509Certificate(bad.certificateChain);
  const revoked = [Buffer.from(serialNumber, "hex")];
  const issuer = { certificate: authority, key: authorityKey };
  door.crls = [makeCrl({ issuer, revoked, thisUpdate: now - 60, nextUpdate: now + 600 })];
  // Asked for many times at once it judges by what is known last.
  await Promise.all([door.listener.recheck(), door.listener.recheck(), door.listener.recheck()]);
  if (clientsOf[2]?.closed === false) await once(clientsOf[2], "close");
  expect(door.taken.map(({ socket }) => socket.destroyed)).toEqual([false, false, true]);
  expect(door.refused).toEqual([expect.stringMatching(/client SVID: certificate .* has been revoked/)]);
  expect(clientsOf.map((client) => client.closed)).toEqual([false, false, true]);
});

it("a listener that stops accepting keeps what is open, and cuts it when it is disposed", async () => {
  const door = await openDoor();
  const open = await secured(door);
  const half = plain(door);
  await once(half, "connect");
  door.listener.stopAccepting();
  await expect(secured(door)).rejects.toMatchObject({ code: "ECONNREFUSED" });
  expect(open.destroyed).toBe(false);
  await door[Symbol.asyncDispose]();
  for (const socket of [open, half]) if (!socket.closed) await once(socket, "close");
});

interface Door extends AsyncDisposable {
  crls: readonly Uint8Array[];
  readonly listener: TlsListener;
  readonly port: number;
  readonly taken: readonly TlsConnection[];
  readonly over: readonly (readonly [string, boolean])[];
  readonly refused: readonly string[];
}

async function openDoor(): Promise<Door> {
  const taken: TlsConnection[] = [];
  const over: [string, boolean][] = [];
  const refused: string[] = [];
  const bundle = {
    ...emptyBundle(trustDomain),
    x509Authorities: [{ certificate: authority.der, tainted: false }],
  };
  const listener = await TlsListener.open({
    address: { host: "127.0.0.1", port: 0 },
    alpn: ["h2"],
    credential: svid("spiffe://example.org/spire/server"),
    verifier: createClientSvidVerifier({
      clock: systemClock,
      bundleOf: (name) => (name === trustDomain ? bundle : undefined),
      crlsOf: () => door.crls,
    }),
    addressLimit: { limit: LIMIT, onOver: (address, first) => over.push([address, first]) },
    onConnection: (connection) => {
      connection.socket.on("error", () => undefined).resume();
      taken.push(connection);
    },
    onRefused: (_address, reason) => refused.push(reason),
  });
  const { port } = listener.address;
  const door: Door = {
    crls: [],
    listener,
    port,
    taken,
    over,
    refused,
    [Symbol.asyncDispose]: () => listener[Symbol.asyncDispose](),
  };
  return door;
}

function svid(id: string) {
  const key = makeKey();
  const { der } = makeCertificate({
    subject: "svid",
    key,
    uris: [id],
    issuer: { key: authorityKey, certificate: authority },
    notBefore: now - 60,
    notAfter: now + 600,
  });
  return {
    certificateChain: toPem("CERTIFICATE", der),
    privateKey: key.privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  };
}

function plain({ port }: Door): Socket {
  const client = createConnection(port, "127.0.0.1");
  client.on("error", () => undefined).resume();
  clients.push(client);
  return client;
}

/** A connection whose handshake is done on both sides. */
async function secured(door: Door, identity?: ReturnType<typeof svid>): Promise<TLSSocket> {
  const before = door.taken.length + door.refused.length;
  const client = connect({
    host: "127.0.0.1",
    port: door.port,
    ALPNProtocols: ["h2"],
    rejectUnauthorized: false,
    ...(identity === undefined ? {} : { cert: identity.certificateChain, key: identity.privateKey }),
  });
  clients.push(client);
  await once(client, "secureConnect");
  client.on("error", () => undefined).resume();
  await vi.waitFor(() => expect(door.taken.length + door.refused.length).toBeGreaterThan(before));
  return client;
}
