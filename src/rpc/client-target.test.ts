import "reflect-metadata";
import * as x509 from "@peculiar/x509";
import { KeyObject, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import tls from "node:tls";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { systemClock } from "../clock.ts";
import { AssayError } from "../errors/assay-error.ts";
import { Agent } from "../proto/gen/spire/api/server/agent/v1/agent_pb.ts";
import { RpcClient } from "./client.ts";
import type { TlsTarget } from "./client-target.ts";
import { RpcServer } from "./server.ts";

interface Party {
  readonly certificate: Buffer<ArrayBuffer>;
  readonly key: KeyObject;
  readonly signingKey: CryptoKey;
}

let folder: string;
let authority: Party;
let intermediate: Party;
let otherAuthority: Party;
let server: Party;
let serverBelowIntermediate: Party;
let expired: Party;
let agent: Party;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "assay-tls-"));
  authority = await issue("ca", undefined, "spiffe://example.org", { ca: true });
  otherAuthority = await issue("ca", undefined, "spiffe://example.org", { ca: true });
  intermediate = await issue("intermediate", authority, "spiffe://example.org", { ca: true });
  server = await issue("server", authority, SERVER_ID);
  serverBelowIntermediate = await issue("below", intermediate, SERVER_ID);
  expired = await issue("expired", authority, SERVER_ID, { end: -3_600_000 });
  agent = await issue("agent", authority, "spiffe://example.org/spire/agent/x");
});
afterAll(() => rmSync(folder, { recursive: true }));

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

describe("a TLS connection", () => {
  it("shows the client's certificate to the handler and the server's chain to the client", async () => {
    const port = await listen([server.certificate], server.key);
    const chains: (readonly Uint8Array[])[] = [];
    const client = connect({
      port,
      verifyServer: (chain) => void chains.push(chain),
      identity: { certificates: [agent.certificate], privateKey: agent.key },
    });
    expect((await client.service(Agent).createJoinToken({})).value).toBe(
      "URI:spiffe://example.org/spire/agent/x",
    );
    expect(chains).toHaveLength(1);
    expect(chains[0]?.[0]).toEqual(server.certificate);
  });

  it("serves a client without certificate", async () => {
    const port = await listen([server.certificate], server.key);
    expect((await connect({ port }).service(Agent).createJoinToken({})).value).toBe("anonymous");
  });

  it("is refused by the client's own check, whatever the chain says", async () => {
    const port = await listen([server.certificate], server.key);
    const client = connect({
      port,
      verifyServer: () => {
        throw new AssayError("INVALID_CERTIFICATE", "server must be spiffe://example.org/spire/server");
      },
    });
    await expect(client.service(Agent).createJoinToken({})).rejects.toMatchObject({
      status: "UNAVAILABLE",
      detail: expect.stringContaining("server must be spiffe://example.org/spire/server") as string,
    });
  });

  it("is checked anew on each connection, never resumed", async () => {
    const port = await listen([server.certificate], server.key);
    let checks = 0;
    const verifyServer = (): void => void checks++;
    for (let round = 1; round <= 3; round++) {
      const client = connect({ port, verifyServer });
      await client.service(Agent).createJoinToken({});
      client[Symbol.dispose]();
      expect(checks).toBe(round);
    }
  });

  it.each<[string, () => Party]>([
    ["of another authority", () => server],
    ["whose time is over", () => expired],
  ])("with a server certificate %s never reaches the client's check", async (name, party) => {
    const port = await listen([party().certificate], party().key);
    let checks = 0;
    const client = connect({
      port,
      authorities: [name === "of another authority" ? otherAuthority.certificate : authority.certificate],
      verifyServer: () => void checks++,
    });
    await expect(client.service(Agent).createJoinToken({})).rejects.toMatchObject({ status: "UNAVAILABLE" });
    expect(checks).toBe(0);
  });

  it("finds the right one of two authorities with the same name", async () => {
    const port = await listen([server.certificate], server.key);
    const client = connect({ port, authorities: [otherAuthority.certificate, authority.certificate] });
    expect((await client.service(Agent).createJoinToken({})).value).toBe("anonymous");
  });

  it("accepts an authority that is itself signed by one it does not know", async () => {
    const port = await listen([serverBelowIntermediate.certificate], serverBelowIntermediate.key);
    const client = connect({ port, authorities: [intermediate.certificate] });
    expect((await client.service(Agent).createJoinToken({})).value).toBe("anonymous");
  });

  it("gives the check the whole chain that the server sent", async () => {
    const port = await listen(
      [serverBelowIntermediate.certificate, intermediate.certificate],
      serverBelowIntermediate.key,
    );
    let chain: readonly Uint8Array[] = [];
    const client = connect({ port, verifyServer: (certificates) => void (chain = certificates) });
    await client.service(Agent).createJoinToken({});
    expect(chain.slice(0, 2)).toEqual([serverBelowIntermediate.certificate, intermediate.certificate]);
  });

  it("works by name as well as by address", async () => {
    const port = await listen([server.certificate], server.key);
    const client = connect({ port, host: "localhost" });
    expect((await client.service(Agent).createJoinToken({})).value).toBe("anonymous");
  });
});

describe("a target", () => {
  it.each(["relative", "//two/slashes", ""])("refuses the socket path %j", (path) => {
    expect(() => new RpcClient({ target: { kind: "unix", path } })).toThrowCode(
      "INVALID_REQUEST",
      /absolute/,
    );
  });

  it("that nobody listens on fails a call with UNAVAILABLE at once", async () => {
    const client = new RpcClient({ target: { kind: "unix", path: join(folder, "nobody") } });
    cleanups.push(() => client[Symbol.dispose]());
    await expect(client.service(Agent).countAgents({})).rejects.toThrowCode("SERVER_UNAVAILABLE");
    await expect(client.service(Agent).attestAgent()[Symbol.asyncIterator]().next()).rejects.toThrowCode(
      "SERVER_UNAVAILABLE",
    );
  });
});

/** A server whose CreateJoinToken answers with the URI of the client's certificate. */
async function listen(chain: readonly Buffer[], key: KeyObject): Promise<number> {
  const rpc = new RpcServer<{ readonly certificate: X509Certificate | undefined }>({
    clock: systemClock,
    before: () => undefined,
  });
  rpc.register(Agent, {
    createJoinToken: (_request, { peer }) => ({ value: peer.certificate?.subjectAltName ?? "anonymous" }),
  });
  const listener = tls.createServer(
    {
      cert: chain.map(pemOf).join("\n"),
      key: key.export({ type: "pkcs8", format: "pem" }),
      ALPNProtocols: ["h2"],
      requestCert: true,
      rejectUnauthorized: false,
    },
    (socket) => rpc.injectConnection(socket, { certificate: socket.getPeerX509Certificate() }),
  );
  listener.on("tlsClientError", () => undefined);
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  cleanups.push(async () => {
    listener.close();
    await rpc.shutdown(0);
  });
  return (listener.address() as AddressInfo).port;
}

function connect(target: Partial<TlsTarget> & { readonly port: number }): RpcClient {
  const client = new RpcClient({
    target: {
      kind: "tls",
      host: "127.0.0.1",
      authorities: [authority.certificate],
      verifyServer: () => undefined,
      ...target,
    },
  });
  cleanups.push(() => client[Symbol.dispose]());
  return client;
}

/** A certificate signed by itself or by a party made before. */
async function issue(
  name: string,
  issuer: Party | undefined,
  uri: string,
  { ca = false, end = 3_600_000 }: { readonly ca?: boolean; readonly end?: number } = {},
): Promise<Party> {
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: Buffer.from(crypto.getRandomValues(new Uint8Array(8)).with(0, 1)).toString("hex"),
    subject: `O=${name}`,
    issuer: issuer === undefined ? `O=${name}` : new x509.X509Certificate(issuer.certificate).subject,
    notBefore: new Date(systemClock.now() - 7_200_000),
    notAfter: new Date(systemClock.now() + end),
    publicKey: keys.publicKey,
    signingKey: issuer?.signingKey ?? keys.privateKey,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(ca, undefined, true),
      new x509.KeyUsagesExtension(
        ca ? x509.KeyUsageFlags.keyCertSign : x509.KeyUsageFlags.digitalSignature,
        true,
      ),
      new x509.SubjectAlternativeNameExtension([{ type: "url", value: uri }]),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ...(issuer === undefined
        ? []
        : [await x509.AuthorityKeyIdentifierExtension.create(new x509.X509Certificate(issuer.certificate))]),
    ],
  });
  return {
    certificate: Buffer.from(certificate.rawData),
    signingKey: keys.privateKey,
    key: KeyObject.from(keys.privateKey),
  };
}

function pemOf(der: Buffer): string {
  return new X509Certificate(der).toString();
}

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const SERVER_ID = "spiffe://example.org/spire/server";
