import { sign } from "node:crypto";
import { once } from "node:events";
import http2 from "node:http2";
import { connect, type TLSSocket } from "node:tls";
import { afterEach, describe, expect, it, vi } from "vitest";
import { FakeClock } from "../../test/fakes/clock.ts";
import { makeCrl } from "../../test/fakes/crl.ts";
import { type FactoryCertificate, makeAuthority, makeLeaf } from "../../test/fakes/svid-factory.ts";
import { listen } from "../../test/fakes/tls-pair.ts";
import { type TestMaterial, TestX509Source } from "../../test/fakes/x509-source.ts";
import { readCertificate } from "../crypto/certificate-reader.ts";
import { readCrl } from "../crypto/crl.ts";
import { authorizeAny, authorizeId } from "./authorize.ts";
import { tlsClientOptions } from "./tls-client.ts";
import { peerOf, verifyPeer } from "./tls-peer.ts";
import { createTlsServer, guardServer, type SpiffeTlsServerOptions, tlsServerOptions } from "./tls-server.ts";

const SERVER = "spiffe://factory.test/server";
const ONE = "spiffe://factory.test/one";
const TWO = "spiffe://factory.test/two";
const PARTNER = "spiffe://partner.test/caller";
const authority = makeAuthority("factory.test");
const partner = makeAuthority("partner.test");
const server = [makeLeaf(SERVER, authority)] as const;
const everybody = { "factory.test": [authority], "partner.test": [partner] };

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

/** A guarded server, who is connected with it now, and whom it turned away. */
async function guarded(change: Partial<SpiffeTlsServerOptions> = {}) {
  const source = new TestX509Source({ chain: server, trust: everybody });
  const inside = new Set<TLSSocket>();
  const refused: string[] = [];
  const guard = createTlsServer(
    source,
    {
      authorize: authorizeAny(),
      onRefused: ({ code }, socket) => refused.push(`${code} ${peerOf(socket)?.spiffeId ?? ""}`),
      ...change,
    },
    (socket) => {
      inside.add(socket);
      socket.on("error", () => undefined).once("close", () => inside.delete(socket));
    },
  );
  cleanups.push(() => guard.close());
  const port = await listen(guard);
  const call = async (leaf: FactoryCertificate) => {
    const calling = new TestX509Source({ chain: [leaf], trust: everybody });
    const options = tlsClientOptions(calling, { authorize: authorizeAny() });
    const socket = connect({ host: "127.0.0.1", port, ...options });
    cleanups.push(() => socket.destroy());
    socket.on("error", () => undefined).resume();
    await Promise.all([once(socket, "secureConnect"), once(guard, "secureConnection")]);
    return socket;
  };
  const callers = () => [...inside].map((socket) => peerOf(socket)?.spiffeId);
  const set = (trust: TestMaterial["trust"], crls: TestMaterial["crls"] = []) =>
    source.set({ chain: server, trust, crls });
  return { source, set, call, callers, refused };
}

function crlOf(...revoked: readonly FactoryCertificate[]) {
  const { subject, key } = authority;
  const issuer = {
    certificate: readCertificate(authority.der),
    key: { spki: key.spki, sign: (bytes: Uint8Array) => sign("sha256", bytes, key.privateKey) },
  };
  expect(Buffer.from(issuer.certificate.subject)).toEqual(Buffer.from(subject));
  return readCrl(
    makeCrl({ issuer, revoked: revoked.map(({ der }) => readCertificate(der).serial) }),
    "INVALID_CRL",
  );
}

describe("open connections of a guarded server", () => {
  it("are closed where the caller's certificate is revoked, and no others", async () => {
    const { set, call, callers, refused } = await guarded();
    const leaf = makeLeaf(ONE, authority);
    await call(leaf);
    await call(makeLeaf(TWO, authority));
    set(everybody, [crlOf(leaf)]);
    await vi.waitFor(() => expect(callers()).toEqual([TWO]));
    expect(refused).toEqual([`INVALID_CERTIFICATE ${ONE}`]);
  });

  it("are closed where the caller's trust domain is trusted no longer, or by another authority", async () => {
    const { set, call, callers, refused } = await guarded();
    await call(makeLeaf(PARTNER, partner));
    await call(makeLeaf(ONE, authority));
    set({ "factory.test": [authority] });
    await vi.waitFor(() => expect(callers()).toEqual([ONE]));
    set({ "factory.test": [makeAuthority("factory.test", { subject: "next" })] });
    await vi.waitFor(() => expect(callers()).toEqual([]));
    expect(refused).toEqual([`BUNDLE_NOT_FOUND ${PARTNER}`, `INVALID_CERTIFICATE ${ONE}`]);
  });

  it("are closed where the server itself has lost its identity and trusts nobody", async () => {
    const { source, call, callers } = await guarded();
    await call(makeLeaf(ONE, authority));
    source.set(undefined);
    await vi.waitFor(() => expect(callers()).toEqual([]));
  });

  it("are judged by the authorizer again", async () => {
    const welcome = new Set<string>([ONE, TWO]);
    const { set, call, callers, refused } = await guarded({ authorize: (id) => welcome.has(id) });
    await call(makeLeaf(ONE, authority));
    await call(makeLeaf(TWO, authority));
    welcome.delete(ONE);
    set({ "factory.test": [authority] });
    await vi.waitFor(() => expect(callers()).toEqual([TWO]));
    expect(refused).toEqual([`PEER_REFUSED ${ONE}`]);
  });

  it("outlive the caller's X509-SVID, which is no reason to close them", async () => {
    const clock = new FakeClock(Date.now());
    const { set, call, callers } = await guarded({ clock });
    const brief = makeLeaf(ONE, authority, { notAfter: 600 });
    const lost = makeLeaf(TWO, authority, { notAfter: 600 });
    await call(brief);
    await call(lost);
    clock.step(1_200_000);
    set({ "factory.test": [authority] }, [crlOf(lost)]);
    await vi.waitFor(() => expect(callers()).toEqual([ONE]));
  });

  it("are not judged where only the server's own X509-SVID is renewed", async () => {
    const authorize = vi.fn(() => true);
    const { source, call, callers } = await guarded({ authorize });
    await call(makeLeaf(ONE, authority));
    source.set({ chain: [makeLeaf(SERVER, authority)], trust: everybody });
    expect(authorize).toHaveBeenCalledTimes(1);
    expect(callers()).toEqual([ONE]);
  });

  it("are judged by bundles of others where the server was told to believe those", async () => {
    const bundles = new TestX509Source({ chain: server, trust: everybody });
    const { set, call, callers } = await guarded({ bundles });
    await call(makeLeaf(ONE, authority));
    set({});
    expect(callers()).toEqual([ONE]);
    bundles.set({ chain: server, trust: {} });
    await vi.waitFor(() => expect(callers()).toEqual([]));
  });

  it("are all closed, of hundreds too, whatever changes while they are being judged", async () => {
    const { set, call, callers, refused } = await guarded();
    const leaf = makeLeaf(ONE, authority);
    for (let opened = 0; opened < 150; opened++) await call(leaf);
    set({ "factory.test": [authority] });
    set(everybody, [crlOf(leaf)]);
    await vi.waitFor(() => expect(callers()).toEqual([]));
    expect(refused).toHaveLength(150);
  });

  it("are judged where they carry HTTP/2 too", async () => {
    const source = new TestX509Source({ chain: server, trust: everybody });
    const guard = guardServer(http2.createSecureServer(tlsServerOptions()), source, {
      authorize: authorizeAny(),
    });
    guard.on("request", (_, response) => response.end("in"));
    cleanups.push(() => guard.close());
    const port = await listen(guard);
    const leaf = makeLeaf(ONE, authority);
    const options = tlsClientOptions(new TestX509Source({ chain: [leaf], trust: everybody }), {
      authorize: authorizeAny(),
    });
    const session = http2.connect(`https://127.0.0.1:${port}`, {
      createConnection: () => connect({ host: "127.0.0.1", port, ALPNProtocols: ["h2"], ...options }),
    });
    session.on("error", () => undefined);
    const ask = async () => {
      const stream = session.request({ ":path": "/" });
      return (await stream.setEncoding("utf8").toArray()).join("");
    };
    expect(await ask()).toBe("in");
    source.set({ chain: server, trust: { "factory.test": [authority] } });
    expect(await ask()).toBe("in");
    source.set({ chain: server, trust: everybody, crls: [crlOf(leaf)] });
    if (!session.closed) await once(session, "close");
    expect(session.destroyed).toBe(true);
  });

  it("are all judged though the program fails when it is told", async () => {
    const told = vi.fn();
    const failed = vi.fn();
    process.once("uncaughtException", failed);
    const before = process.listeners("uncaughtException").filter((one) => one !== failed);
    for (const one of before) process.off("uncaughtException", one);
    cleanups.push(() => {
      process.off("uncaughtException", failed);
      for (const one of before) process.on("uncaughtException", one);
    });
    const { set, call, callers } = await guarded({
      onRefused: () => {
        told();
        if (told.mock.calls.length === 1) throw new Error("no log");
      },
    });
    await call(makeLeaf(ONE, authority));
    await call(makeLeaf(TWO, authority));
    set({});
    await vi.waitFor(() => expect(callers()).toEqual([]));
    await vi.waitFor(() => expect(told).toHaveBeenCalledTimes(2));
    expect(failed).toHaveBeenCalledTimes(1);
  });
});

describe("a peer that is verified again", () => {
  it("is who it was while it is trusted, and refused when it is not, on a client's connection too", async () => {
    const { call } = await guarded();
    const socket = await call(makeLeaf(ONE, authority));
    const source = new TestX509Source({ chain: server, trust: everybody });
    const policy = { authorize: authorizeId(SERVER) };
    const { notAfter } = readCertificate(server[0].der);
    expect(verifyPeer(socket, source, policy)).toEqual({ spiffeId: SERVER, notAfter });
    expect(() => verifyPeer(socket, source, { authorize: authorizeId(ONE) })).toThrowCode("PEER_REFUSED");
    const bundles = new TestX509Source({ chain: server, trust: {} });
    expect(() => verifyPeer(socket, source, { ...policy, bundles })).toThrowCode("BUNDLE_NOT_FOUND");
    source.set({ chain: server, trust: everybody, crls: [crlOf(server[0])] });
    expect(() => verifyPeer(socket, source, policy)).toThrowCode("INVALID_CERTIFICATE", "revoked");
    socket.destroy();
    expect(() => verifyPeer(socket, source, policy)).toThrowCode("PEER_REFUSED", "no X509-SVID");
  });
});
