import { once } from "node:events";
import { createServer as createHttp } from "node:http";
import http2 from "node:http2";
import { get, type RequestOptions } from "node:https";
import { connect, createServer, type TLSSocket } from "node:tls";
import { afterEach, describe, expect, it, vi } from "vitest";
import { makeCertificate as makeOldStyle, makeKey } from "../../test/fakes/certificates.ts";
import { makeCrl } from "../../test/fakes/crl.ts";
import { type FactoryCertificate, makeAuthority, makeLeaf } from "../../test/fakes/svid-factory.ts";
import { listen, shakeHands } from "../../test/fakes/tls-pair.ts";
import { TestX509Source } from "../../test/fakes/x509-source.ts";
import { readCertificate } from "../crypto/certificate-reader.ts";
import { readCrl } from "../crypto/crl.ts";
import type { AssayError } from "../errors/assay-error.ts";
import { authorizeAny, authorizeId, authorizeMemberOf, authorizeOneOf } from "./authorize.ts";
import { createHttpsAgent, tlsClientOptions } from "./tls-client.ts";
import { credentialOf } from "./tls-context.ts";
import { peerOf } from "./tls-peer.ts";
import { createHttpsServer, createTlsServer, guardServer, tlsServerOptions } from "./tls-server.ts";
import { validateX509Svid } from "./validate.ts";

const root = makeAuthority("factory.test");
const nextRoot = makeAuthority("factory.test", { subject: "next" });
const SERVER = "spiffe://factory.test/server";
const CLIENT = "spiffe://factory.test/client";
const trusting = (...roots: FactoryCertificate[]) => ({ "factory.test": roots });
const workload = (id: string, issuer = root, ...roots: FactoryCertificate[]) => ({
  chain: [makeLeaf(id, issuer)] as const,
  trust: trusting(...(roots.length === 0 ? [root] : roots)),
});
const serverSource = () => new TestX509Source(workload(SERVER));
const clientSource = () => new TestX509Source(workload(CLIENT));
const anybody = { authorize: authorizeAny() };

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

describe("authorizers", () => {
  it.each([
    ["authorizeId", authorizeId(CLIENT), true],
    ["authorizeId of another", authorizeId(`${CLIENT}/x`), false],
    ["authorizeOneOf", authorizeOneOf([SERVER, CLIENT]), true],
    ["authorizeOneOf others", authorizeOneOf([SERVER]), false],
    ["authorizeOneOf nobody", authorizeOneOf([]), false],
    ["authorizeMemberOf", authorizeMemberOf("factory.test"), true],
    ["authorizeMemberOf by ID", authorizeMemberOf("spiffe://factory.test"), true],
    ["authorizeMemberOf another", authorizeMemberOf("factory.tes"), false],
    ["authorizeAny", authorizeAny(), true],
  ])("%s decides", async (_, authorize, admits) => {
    const { reached, refusal } = await shakeHands(serverSource(), clientSource(), { server: authorize });
    expect(reached).toBe(admits ? "call" : "");
    expect(refusal?.code).toBe(admits ? undefined : "PEER_REFUSED");
  });

  it("refuse what they cannot be made from", () => {
    expect(() => authorizeId("factory.test/x")).toThrowCode("INVALID_SPIFFE_ID");
    expect(() => authorizeOneOf([CLIENT, ""])).toThrowCode("INVALID_SPIFFE_ID");
    expect(() => authorizeMemberOf("Factory.test")).toThrowCode("INVALID_TRUST_DOMAIN");
  });

  it("let nobody in by throwing, by a promise, or by anything but true", async () => {
    const failing = (): never => {
      throw new Error("no database");
    };
    const later = (() => Promise.resolve(true)) as unknown as () => boolean;
    const truthy = (() => "yes") as unknown as () => boolean;
    for (const authorize of [failing, later, truthy]) {
      const asked = await shakeHands(serverSource(), clientSource(), { server: authorize });
      expect([asked.reached, asked.refusal?.code]).toEqual(["", "PEER_REFUSED"]);
      const asking = await shakeHands(serverSource(), clientSource(), { client: authorize });
      expect([asking.reached, asking.heard]).toEqual(["", ""]);
      expect(asking.clientError).toMatchObject({ code: "PEER_REFUSED" });
    }
  });
});

describe("a guarded server", () => {
  it("completes no handshake with the options alone", async () => {
    const server = createServer(tlsServerOptions(), () => expect.fail("somebody got in"));
    cleanups.push(() => server.close());
    const port = await listen(server);
    const socket = connect({ host: "127.0.0.1", port, rejectUnauthorized: false });
    await expect(once(socket, "secureConnect")).rejects.toThrow(/handshake/);
  });

  it("keeps refused connections from every listener, whenever it was added, and reads nothing of theirs", async () => {
    const heard: string[] = [];
    const server = createServer(tlsServerOptions(), () => heard.push("constructor"));
    server.on("secureConnection", () => heard.push("before"));
    guardServer(server, serverSource(), { authorize: authorizeId(SERVER) });
    server.prependListener("secureConnection", () => heard.push("after"));
    cleanups.push(() => server.close());
    const port = await listen(server);
    await ended(await open(port, clientSource()));
    expect(heard).toEqual([]);
    const socket = await open(port, serverSource());
    cleanups.push(() => socket.destroy());
    await vi.waitFor(() => expect(heard).toEqual(["after", "constructor", "before"]));
  });

  it("refuses who shows no certificate", async () => {
    const refusals: AssayError[] = [];
    const server = createTlsServer(
      serverSource(),
      { ...anybody, onRefused: (reason) => refusals.push(reason) },
      () => expect.fail("somebody got in"),
    );
    cleanups.push(() => server.close());
    const socket = connect({ host: "127.0.0.1", port: await listen(server), rejectUnauthorized: false });
    await ended(socket);
    expect(refusals).toMatchObject([{ code: "PEER_REFUSED", detail: "the peer has shown no X509-SVID" }]);
  });

  it("shows the source's present X509-SVID in each handshake, and none after a withdrawal", async () => {
    const source = serverSource();
    const client = new TestX509Source(workload(CLIENT, root, root, nextRoot));
    const server = createTlsServer(source, anybody, (socket) => socket.end());
    cleanups.push(() => server.close());
    const port = await listen(server);
    const shownBy = async () => {
      const socket = await open(port, client);
      const { serialNumber } = socket.getPeerCertificate();
      socket.destroy();
      return serialNumber;
    };
    const first = await shownBy();
    source.set(workload(SERVER, nextRoot, root));
    expect(await shownBy()).not.toBe(first);
    source.set(undefined);
    await expect(open(port, client)).rejects.toThrow();
    source.set(workload(SERVER));
    await shownBy();
  });

  it("follows its source until it closes and no longer", async () => {
    const source = serverSource();
    const server = createTlsServer(source, anybody);
    await listen(server);
    expect(source.listeners).toBe(1);
    server.close();
    await once(server, "close");
    expect(source.listeners).toBe(0);
  });

  it("lets nobody in by a resumed session, though a program has it resumed", async () => {
    const sessions = new Map<string, Buffer>();
    const refusals: string[] = [];
    const server = createTlsServer(
      serverSource(),
      { ...anybody, onRefused: ({ detail }) => refusals.push(detail) },
      (socket) => socket.end("in"),
    );
    // What a program could do to have sessions resumed all the same.
    server.on("newSession", (id: Buffer, data: Buffer, done: () => void) => {
      sessions.set(id.toString("hex"), data);
      done();
    });
    server.on("resumeSession", (id: Buffer, done: (error: null, data: Buffer | null) => void) => {
      done(null, sessions.get(id.toString("hex")) ?? null);
    });
    cleanups.push(() => server.close());
    const port = await listen(server);
    const call = async (session?: Buffer) => {
      const socket = strange(port, "TLSv1.2", session);
      let next: Buffer | undefined;
      let text = "";
      let isReused: boolean | undefined;
      socket.on("session", (given) => (next = given));
      socket.on("secureConnect", () => (isReused = socket.isSessionReused()));
      socket.on("data", (bytes) => (text += String(bytes)));
      await ended(socket);
      return { next, text, isReused };
    };
    const first = await call();
    expect(first).toMatchObject({ text: "in", isReused: false });
    const again = await call(first.next);
    // The program above has OpenSSL resume the session; the guard is what is left.
    expect(again).toMatchObject({ text: "", isReused: true });
    expect(refusals).toEqual(["sessions are not resumed"]);
  });

  it.each(["TLSv1.2", "TLSv1.3"] as const)(
    "has no session resumed unless a program keeps them (%s)",
    async (version) => {
      const server = createTlsServer(serverSource(), anybody, (socket) => socket.end("in"));
      cleanups.push(() => server.close());
      const port = await listen(server);
      const first = strange(port, version);
      let session: Buffer | undefined;
      first.on("session", (given) => (session = given));
      await ended(first);
      const again = strange(port, version, session);
      await once(again, "secureConnect");
      expect(again.isSessionReused()).toBe(false);
      again.destroy();
    },
  );

  it("does not renegotiate", async () => {
    const server = createTlsServer(serverSource(), anybody, (socket) => socket.on("error", () => undefined));
    cleanups.push(() => server.close());
    const socket = strange(await listen(server), "TLSv1.2");
    await once(socket, "secureConnect");
    const renegotiated = await new Promise((resolve) => {
      socket.on("error", resolve);
      socket.renegotiate({}, (error) => resolve(error ?? "renegotiated"));
      socket.once("close", () => resolve("closed"));
    });
    expect(renegotiated).not.toBe("renegotiated");
    socket.destroy();
  });

  it("serves HTTP/2, where the handler finds the peer too", async () => {
    const server = guardServer(http2.createSecureServer(tlsServerOptions()), serverSource(), anybody);
    server.on("request", (request, response) => response.end(peerOf(request.socket)?.spiffeId ?? "nobody"));
    cleanups.push(() => server.close());
    const session = http2.connect(`https://127.0.0.1:${await listen(server)}`, {
      createConnection: (url) =>
        connect({
          host: url.hostname,
          port: Number(url.port),
          ALPNProtocols: ["h2"],
          ...tlsClientOptions(clientSource(), anybody),
        }),
    });
    const stream = session.request({ ":path": "/" });
    const body = (await stream.setEncoding("utf8").toArray()).join("");
    session.destroy();
    expect(body).toBe(CLIENT);
  });

  it("tells of handshakes that fail", async () => {
    const refusals: AssayError[] = [];
    const server = createTlsServer(serverSource(), {
      ...anybody,
      onRefused: (reason) => refusals.push(reason),
    });
    cleanups.push(() => server.close());
    await ended(connect({ host: "127.0.0.1", port: await listen(server), ca: [] }));
    await vi.waitFor(() => expect(refusals).toHaveLength(1));
    expect(refusals[0]).toMatchObject({
      code: "INVALID_CERTIFICATE",
      detail: expect.stringContaining("handshake") as string,
    });
  });
});

describe("an agent for https.request", () => {
  const greeter = async (source: TestX509Source) => {
    const connections = new Set<unknown>();
    const server = createHttpsServer(source, anybody, ({ socket }, response) => {
      connections.add(socket);
      response.end(peerOf(socket)?.spiffeId);
    });
    cleanups.push(() => server.close());
    return { url: `https://127.0.0.1:${await listen(server)}/`, connections, server };
  };

  it("keeps connections alive, and closes idle ones when the source changes", async () => {
    const { url, connections } = await greeter(serverSource());
    const source = clientSource();
    using agent = createHttpsAgent(source, anybody);
    for (let round = 0; round < 3; round++) expect(await ask(url, { agent })).toBe(CLIENT);
    expect(connections.size).toBe(1);
    source.set(workload(`${CLIENT}/two`));
    expect(await ask(url, { agent })).toBe(`${CLIENT}/two`);
    expect(connections.size).toBe(2);
    agent.destroy();
    expect(source.listeners).toBe(0);
  });

  it("uses no connection again that was busy when the source changed, for a waiting request neither", async () => {
    const held: (() => void)[] = [];
    const server = createHttpsServer(serverSource(), anybody, ({ socket, url: path }, response) => {
      const answer = () => response.end(peerOf(socket)?.spiffeId);
      if (path === "/slow") held.push(answer);
      else answer();
    });
    cleanups.push(() => server.close());
    const url = `https://127.0.0.1:${await listen(server)}`;
    const source = clientSource();
    using agent = createHttpsAgent(source, { ...anybody, maxSockets: 1 });
    const slow = ask(`${url}/slow`, { agent });
    await vi.waitFor(() => expect(held).toHaveLength(1));
    const waiting = ask(`${url}/waiting`, { agent });
    source.set(workload(`${CLIENT}/two`));
    held[0]?.();
    expect(await slow).toBe(CLIENT);
    expect(await waiting).toBe(`${CLIENT}/two`);

    const slower = ask(`${url}/slow`, { agent });
    await vi.waitFor(() => expect(held).toHaveLength(2));
    // The server's authority is believed no longer.
    source.set({ ...workload(CLIENT), trust: trusting(nextRoot) });
    await expect(slower).rejects.toThrowCode("INVALID_CERTIFICATE", "no trusted authority");
    await expect(ask(`${url}/after`, { agent })).rejects.toThrow();
  });

  it("lets no request change how the server is judged or who we are", async () => {
    const { url } = await greeter(
      new TestX509Source({ chain: [makeLeaf(SERVER, nextRoot)], trust: trusting(root) }),
    );
    using agent = createHttpsAgent(clientSource(), anybody);
    const requests: RequestOptions[] = [
      {},
      { rejectUnauthorized: false },
      { checkServerIdentity: () => undefined },
      { ca: `-----BEGIN CERTIFICATE-----\n${nextRoot.der.toString("base64")}\n-----END CERTIFICATE-----` },
    ];
    for (const request of requests) await expect(ask(url, { agent, ...request })).rejects.toThrow();
  });

  it("refuses a server that a request names by another's authority", async () => {
    const { url } = await greeter(serverSource());
    using agent = createHttpsAgent(clientSource(), { authorize: authorizeId(CLIENT) });
    await expect(ask(url, { agent })).rejects.toThrowCode("PEER_REFUSED", SERVER);
  });

  it("fails requests by an event while there is no X509-SVID, and works again after", async () => {
    const { url } = await greeter(serverSource());
    const source = clientSource();
    using agent = createHttpsAgent(source, anybody);
    source.set(undefined);
    await expect(ask(url, { agent })).rejects.toThrowCode("NO_IDENTITY_ISSUED");
    source.set(workload(CLIENT));
    expect(await ask(url, { agent })).toBe(CLIENT);
  });

  it("judges by other bundles where it is told to, at the other end too", async () => {
    const server = new TestX509Source({ chain: [makeLeaf(SERVER, nextRoot)], trust: {} });
    const guard = createHttpsServer(server, { ...anybody, bundles: clientSource() }, (_, response) =>
      response.end("in"),
    );
    cleanups.push(() => guard.close());
    const url = `https://127.0.0.1:${await listen(guard)}/`;
    const bundles = new TestX509Source(workload(CLIENT, root, nextRoot));
    using agent = createHttpsAgent(clientSource(), { ...anybody, bundles });
    expect(await ask(url, { agent })).toBe("in");
  });

  it("does not take a plaintext server's word", async () => {
    const server = createHttp((_, response) => response.end("never"));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    cleanups.push(() => server.close());
    const { port } = server.address() as { port: number };
    using agent = createHttpsAgent(clientSource(), anybody);
    await expect(ask(`https://127.0.0.1:${port}/`, { agent })).rejects.toThrow();
  });
});

describe("revocation lists beside the bundles", () => {
  it("take a certificate out, and only one of the authority that signed the list", () => {
    const key = makeKey();
    const certificate = makeOldStyle({ subject: "root", key, ca: true, notAfter: 4_000_000_000 });
    const leaf = makeOldStyle({
      subject: "leaf",
      key: makeKey(),
      uris: [CLIENT],
      issuer: { certificate, key },
      notAfter: 4_000_000_000,
    });
    const stranger = makeKey();
    const strangers = makeOldStyle({ subject: "root", key: stranger, ca: true });
    const crlOf = (
      by: { readonly certificate: typeof certificate; readonly key: typeof key },
      serial: Uint8Array,
    ) => readCrl(makeCrl({ issuer: by, revoked: [serial] }), "INVALID_CRL");
    const sourceWith = (...crls: ReturnType<typeof crlOf>[]) => {
      const authority = { der: Buffer.from(certificate.der) } as FactoryCertificate;
      return new TestX509Source({ chain: [authority], trust: trusting(authority), crls });
    };
    const judge = (source: TestX509Source) => validateX509Svid([leaf.der], source).spiffeId;
    expect(judge(sourceWith())).toBe(CLIENT);
    expect(judge(sourceWith(crlOf({ certificate: strangers, key: stranger }, leaf.serial)))).toBe(CLIENT);
    expect(judge(sourceWith(crlOf({ certificate, key }, Uint8Array.of(1, 2))))).toBe(CLIENT);
    expect(() =>
      judge(sourceWith(crlOf({ certificate, key }, readCertificate(leaf.der).serial))),
    ).toThrowCode("INVALID_CERTIFICATE", "revoked");
  });
});

/** Connects by mTLS, and gives the connection after the client's half of the handshake. */
async function open(port: number, source: TestX509Source): Promise<TLSSocket> {
  const socket = connect({ host: "127.0.0.1", port, ...tlsClientOptions(source, anybody) });
  await once(socket, "secureConnect");
  socket.on("error", () => undefined);
  socket.resume();
  return socket;
}

/** A client of no library of ours: it shows the right X509-SVID, checks nothing, and may bring a session. */
function strange(port: number, version: "TLSv1.2" | "TLSv1.3", session?: Buffer): TLSSocket {
  return connect({
    host: "127.0.0.1",
    port,
    minVersion: version,
    maxVersion: version,
    rejectUnauthorized: false,
    ...credentialOf(clientSource().x509Svid()),
    ...(session === undefined ? {} : { session }),
  });
}

/** Waits until a connection is over, however that comes. */
function ended(socket: TLSSocket): Promise<void> {
  socket.on("error", () => undefined);
  socket.resume();
  return closed(socket);
}

function closed(socket: TLSSocket): Promise<void> {
  return new Promise((resolve) => {
    if (socket.closed) resolve();
    else socket.once("close", () => resolve());
  });
}

async function ask(url: string, options: RequestOptions): Promise<string> {
  return new Promise((resolve, reject) => {
    get(url, options, (response) => {
      response
        .setEncoding("utf8")
        .toArray()
        .then((parts) => resolve(parts.join("")), reject);
    }).on("error", reject);
  });
}
