import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { get, type IncomingMessage } from "node:http";
import { createServer, connect as plain } from "node:net";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  makeCertificate,
  makeKey,
  type TestCertificate,
  type TestKey,
} from "../../test/fakes/certificates.ts";
import { makeCsr } from "../../test/fakes/issuance-csr.ts";
import { TestAgent } from "../../test/fakes/server-agent.ts";
import { ServerBench } from "../../test/fakes/server-bench.ts";
import { readCertificate } from "../crypto/certificate-reader.ts";
import { toPem } from "../crypto/pem.ts";
import { Bundle } from "../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import { Entry } from "../proto/gen/spire/api/server/entry/v1/entry_pb.ts";

let bench: ServerBench;
let agent: TestAgent;
/** An authority in the server's bundle whose key the test has. */
let trusted: { key: TestKey; certificate: ReturnType<typeof makeCertificate> };
beforeAll(async () => {
  bench = await ServerBench.start();
  agent = await TestAgent.attest(bench);
  trusted = authority();
  await bench.bundles.appendBundle({ x509Authorities: [{ asn1: trusted.certificate.der }] });
});
afterAll(() => bench[Symbol.asyncDispose]());

describe("the server over TLS", () => {
  it("shows exactly the SPIFFE ID of the server, with a leaf for clients and servers", async () => {
    const socket = await handshake();
    const leaf = readCertificate(socket.getPeerCertificate().raw);
    expect(leaf.subjectAltName?.uris).toEqual(["spiffe://example.org/spire/server"]);
    expect(socket.alpnProtocol).toBe("h2");
    socket.destroy();
  });

  it.each<[string, ConnectionOptions]>([
    ["TLS 1.1", { minVersion: "TLSv1.1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" }],
    ["TLS 1.0", { minVersion: "TLSv1", maxVersion: "TLSv1", ciphers: "DEFAULT@SECLEVEL=0" }],
    ["another protocol than gRPC's", { ALPNProtocols: ["http/1.1"] }],
  ])("refuses %s", async (_, options) => {
    await expect(handshake(options)).rejects.toThrow();
  });

  it.each(["TLSv1.2", "TLSv1.3"] as const)("speaks %s", async (version) => {
    const socket = await handshake({ minVersion: version, maxVersion: version });
    expect(socket.getProtocol()).toBe(version);
    socket.destroy();
  });

  it("does not fall over a client that speaks no TLS, or leaves in the middle", async () => {
    for (const bytes of ["GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01", ""]) {
      const socket = plain(bench.addresses.api.port, "127.0.0.1");
      await once(socket, "connect");
      socket.end(bytes);
      socket.on("error", () => undefined);
      socket.resume();
      await once(socket, "close");
    }
    await expect((await bench.tls()).service(Bundle).getBundle({})).resolves.toBeDefined();
  });
});

describe("a client certificate", () => {
  const now = Math.floor(Date.now() / 1000);
  const valid = { notBefore: now - 60, notAfter: now + 600, subject: "w", uris: ["spiffe://example.org/w"] };

  it("is not needed", async () => {
    expect(await ask(undefined)).toBe("OK");
  });

  it("is taken from an authority in the bundle", async () => {
    expect(await ask(issue(valid, trusted))).toBe("OK");
  });

  it("is taken through an intermediate", async () => {
    const key = makeKey();
    const certificate = makeCertificate({
      subject: "middle",
      key,
      ca: true,
      issuer: trusted,
      uris: ["spiffe://example.org"],
      notBefore: now - 60,
      notAfter: now + 600,
    });
    const leaf = issue(valid, { key, certificate });
    expect(await ask({ ...leaf, certificates: [...leaf.certificates, certificate.der] })).toBe("OK");
    expect(await ask(leaf)).toBe("UNAVAILABLE");
  });

  it.each<[string, () => Identity]>([
    ["from a foreign authority", () => issue(valid, authority())],
    ["that signed itself", () => selfSigned(valid)],
    ["that has expired", () => issue({ ...valid, notBefore: now - 600, notAfter: now - 5 }, trusted)],
    ["that is not valid yet", () => issue({ ...valid, notBefore: now + 300 }, trusted)],
    ["of a CA", () => issue({ ...valid, ca: true }, trusted)],
    [
      "that is the authority itself",
      () => ({ certificates: [trusted.certificate.der], privateKey: trusted.key.privateKey }),
    ],
    ["without a URI", () => issue({ ...valid, uris: [] }, trusted)],
    [
      "with two URIs",
      () => issue({ ...valid, uris: ["spiffe://example.org/a", "spiffe://example.org/b"] }, trusted),
    ],
    ["with a malformed ID", () => issue({ ...valid, uris: ["spiffe://example.org/a/"] }, trusted)],
    ["of another trust domain", () => issue({ ...valid, uris: ["spiffe://other.org/w"] }, trusted)],
    ["that may not sign", () => issue({ ...valid, keyUsage: [5, 0x20] }, trusted)],
    ["without keyUsage", () => issue({ ...valid, keyUsage: null }, trusted)],
  ])("is refused %s", async (name, identity) => {
    bench.lines.length = 0;
    expect(await ask(identity())).toBe("UNAVAILABLE");
    const reasons = bench.lines.filter((line) => line.includes("TLS connection refused"));
    expect(reasons.join("")).toContain("client SVID: ");
    // What the platform itself refuses would be refused for another reason than ours.
    expect(reasons.join("")).toMatch(WHY[name] ?? /./);
  });

  it("must come with its key", async () => {
    const { certificates } = issue(valid, trusted);
    const { status } = await askedWith({ certificates, privateKey: makeKey().privateKey });
    expect(status).not.toBe("OK");
  });

  it("of an ID in an agent's place that never attested gets nothing of an agent", async () => {
    const fake = issue({ ...valid, uris: [agent.id] }, trusted);
    const client = await bench.tls(fake);
    await expect(client.service(Entry).getAuthorizedEntries({})).rejects.toMatchObject({
      reason: "AGENT_NOT_ACTIVE",
    });
  });
});

describe("TLS sessions", () => {
  it.each(["TLSv1.2", "TLSv1.3"] as const)("are never resumed, in %s", async (version) => {
    const options = { ...identityOptions(agent), minVersion: version, maxVersion: version } as const;
    const first = await handshake(options);
    let session = first.getSession();
    first.on("session", (later) => (session = later));
    // In TLS 1.3 sessions follow the handshake; the server's first frame is proof that they had their time.
    await once(first, "data");
    first.destroy();
    if (session === undefined) throw new Error("there is no session to try with");
    const second = await handshake({ ...options, session });
    expect(second.isSessionReused()).toBe(false);
    second.destroy();
  });

  it("are never resumed by openssl either, and a banned agent has nothing by trying", async () => {
    const banned = await TestAgent.attest(bench);
    const files = { cert: bench.path("c.pem"), key: bench.path("k.pem"), session: bench.path("s.pem") };
    writeFileSync(files.cert, banned.chain.map((der) => toPem("CERTIFICATE", der)).join(""));
    writeFileSync(files.key, banned.privateKey.export({ type: "pkcs8", format: "pem" }));
    const { port } = bench.addresses.api;
    for (const version of ["-tls1_2", "-tls1_3"]) {
      const base = [
        "s_client",
        "-connect",
        `127.0.0.1:${port}`,
        version,
        "-alpn",
        "h2",
        "-cert",
        files.cert,
        "-key",
        files.key,
      ];
      const first = await openssl([...base, "-sess_out", files.session]);
      expect(first).toContain("New, TLS");
      const second = await openssl([...base, "-sess_in", files.session]);
      expect(second).toContain("New, TLS");
      expect(second).not.toContain("Reused, TLS");
    }
    await bench.agents.banAgent({ id: banned.wireId });
    await expect(
      banned.svids.batchNewX509SVID({ params: [{ entryId: "x", csr: makeCsr() }] }),
    ).rejects.toMatchObject({
      reason: "AGENT_BANNED",
    });
  });
});

describe("connections without an SVID", () => {
  it("are so many of one address at each port, and nobody who is connected feels it", async () => {
    await using small = await ServerBench.start({ maxConnectionsPerAddress: 3 });
    const known = await TestAgent.attest(small);
    await known.entries.getAuthorizedEntries({});
    small.lines.length = 0;
    const { api, web } = small.addresses;
    await using _api = await crowd(api.port, 5, 3);
    await expect((await small.tls()).service(Bundle).getBundle({})).rejects.toMatchObject({
      status: "UNAVAILABLE",
    });
    await using _web = await crowd(web.port, 5, 3);
    await expect(known.entries.getAuthorizedEntries({})).resolves.toBeDefined();
    const warnings = small.lines.filter((line) => line.includes("too many connections without an SVID"));
    expect(warnings).toHaveLength(2);
    expect(warnings[0]).toMatch(/"level":"warn".*127\.0\.0\.1/);
    const metrics = await adminGet(small, "/metrics");
    expect(metrics).toMatch(/connections_over_limit_total\{port="api"\} ([3-9]|\d\d)/);
    expect(metrics).toMatch(/connections_over_limit_total\{port="web"\} 2/);
  });
});

describe("a port that is taken", () => {
  it("is said with its address and what to do", async () => {
    await using busy = createServer();
    busy.listen(0, "127.0.0.1");
    await once(busy, "listening");
    const { port } = busy.address() as { port: number };
    await using other = await ServerBench.start();
    await other.stop();
    for (const key of ["listen", "webListen"]) {
      await expect(other.launch({ [key]: { host: "127.0.0.1", port } })).rejects.toThrowCode(
        "LISTEN_FAILED",
        `cannot listen on 127.0.0.1:${port}: the port is taken by another process, choose another or stop that process`,
      );
    }
    await expect(other.launch({ listen: { host: "192.0.2.1", port: 0 } })).rejects.toThrowCode(
      "LISTEN_FAILED",
      "this machine does not have that address",
    );
    // Nothing that was opened before is left: the same folder, ports and socket can be used at once.
    await other.start();
  });
});

/** Opens connections that say nothing, until all but so many of them have been closed by the server. */
async function crowd(port: number, count: number, kept: number): Promise<AsyncDisposable> {
  const sockets = Array.from({ length: count }, () => plain(port, "127.0.0.1"));
  for (const socket of sockets) socket.on("error", () => undefined).resume();
  await expect.poll(() => sockets.filter(({ closed }) => !closed)).toHaveLength(kept);
  return {
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
    },
  };
}

async function adminGet(server: ServerBench, path: string): Promise<string> {
  const headers = { host: "localhost" };
  const sent = get({ socketPath: server.path("admin.sock"), path, headers, agent: false });
  const [answer] = (await once(sent, "response")) as [IncomingMessage];
  return text(answer);
}

interface Identity {
  readonly certificates: readonly Uint8Array[];
  readonly privateKey: TestKey["privateKey"];
}

function authority() {
  const key = makeKey();
  const now = Math.floor(Date.now() / 1000);
  const certificate = makeCertificate({
    subject: "authority",
    key,
    ca: true,
    uris: ["spiffe://example.org"],
    notBefore: now - 3600,
    notAfter: now + 3600,
  });
  return { key, certificate };
}

function issue(
  wanted: Omit<TestCertificate, "key">,
  issuer: { key: TestKey; certificate: ReturnType<typeof makeCertificate> },
): Identity {
  const key = makeKey();
  return { certificates: [makeCertificate({ ...wanted, key, issuer }).der], privateKey: key.privateKey };
}

function selfSigned(wanted: Omit<TestCertificate, "key">): Identity {
  const key = makeKey();
  return { certificates: [makeCertificate({ ...wanted, key }).der], privateKey: key.privateKey };
}

async function ask(identity: Identity | undefined): Promise<string> {
  return (await askedWith(identity)).status;
}

async function askedWith(identity: Identity | undefined): Promise<{ status: string }> {
  try {
    const client = await bench.tls(identity);
    await client.service(Bundle).getBundle({}, { timeout: 5000 });
    return { status: "OK" };
  } catch (error) {
    return { status: (error as { status?: string }).status ?? "FAILED" };
  }
}

function identityOptions({ chain, privateKey }: TestAgent): ConnectionOptions {
  return {
    cert: chain.map((der) => toPem("CERTIFICATE", der)).join(""),
    key: privateKey.export({ type: "pkcs8", format: "pem" }),
  };
}

async function handshake(options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connect({
    ...bench.addresses.api,
    ALPNProtocols: ["h2"],
    rejectUnauthorized: false,
    ...options,
  });
  await once(socket, "secureConnect");
  return socket;
}

async function openssl(args: readonly string[]): Promise<string> {
  const run = promisify(execFile)("openssl", [...args], { timeout: 5000 });
  run.child.stdin?.end();
  const { stdout } = await run;
  return stdout;
}

const WHY: Readonly<Record<string, RegExp>> = {
  "of a CA": /must not be a CA/,
  "without a URI": /exactly one URI/,
  "with two URIs": /exactly one URI/,
  "of another trust domain": /no bundle of trust domain other\.org/,
  "that may not sign": /digitalSignature/,
  "without keyUsage": /must have keyUsage/,
  "that has expired": /expired/,
};
