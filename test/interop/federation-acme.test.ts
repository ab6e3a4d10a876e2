import { X509Certificate } from "node:crypto";
import { createSocket } from "node:dgram";
import { readdir, stat, writeFile } from "node:fs/promises";
import { request } from "node:https";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type AssayServer, placeServer, type ServerPlace, startServer } from "../e2e/harness.ts";
import { Program } from "../e2e/program.ts";
import { freePorts, makeScratch, type Scratch } from "../e2e/scratch.ts";
import { makeCa, makeCredential } from "../fakes/remote-server.ts";
import { BUILD_PATIENCE, buildPeer, describeWith } from "./peers.ts";

const NAME = "bundle.assay.test";
/** Seconds that Pebble's certificates live: Assay renews them at two thirds of that. */
const LIFE = 93;
const NEW_CERTIFICATE = /the bundle endpoint has a new certificate/;

describeWith(["go"], "a bundle endpoint's certificate from Pebble", () => {
  let stack: AsyncDisposableStack;
  let scratch: Scratch;
  let place: ServerPlace;
  let config: string;
  let server: AssayServer;
  let roots: string[];
  let port = 0;
  let directory = 0;
  let management = 0;

  beforeAll(async () => {
    stack = new AsyncDisposableStack();
    scratch = stack.use(await makeScratch());
    [port = 0, directory = 0, management = 0] = await freePorts(3);
    const caFile = await startPebble();
    config = scratch.at("server.yaml");
    const acme = {
      domains: [NAME],
      email: "operator@assay.test",
      tos_accepted: true,
      directory_url: `https://localhost:${directory}/dir`,
      directory_ca_file: caFile,
    };
    // JSON is YAML.
    await writeFile(
      config,
      JSON.stringify({
        federation: { bundle_endpoint: { listen: `127.0.0.1:${port}`, profile: "https_web", acme } },
      }),
    );
    place = await placeServer(scratch);
    server = await startServer(place, [`--config=${config}`]);
  }, BUILD_PATIENCE);

  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
    await stack?.disposeAsync();
  });

  it("is had by TLS-ALPN-01 on the endpoint's own port, for the name and from the CA", async () => {
    await server.program.line((line) => NEW_CERTIFICATE.test(line));
    roots = [await managed("/roots/0"), await managed("/intermediates/0")];
    const { status, body, certificate } = await bundle();
    expect(status).toBe(200);
    expect(body).toContain('"spiffe_refresh_hint": 300, "keys": [');
    expect(certificate.subjectAltName).toBe(`DNS:${NAME}`);
  });

  it("is kept beside its account where only the server can read it", async () => {
    const folder = join(place.dataDir, "acme");
    expect((await readdir(folder)).toSorted()).toEqual(["account", "account.key", "certificate.pem"]);
    for (const name of await readdir(folder))
      expect((await stat(join(folder, name))).mode & 0o777).toBe(0o600);
    expect((await stat(folder)).mode & 0o777).toBe(0o700);
  });

  it("is shown again after a restart, without a word with the CA", async () => {
    const { certificate } = await bundle();
    await server[Symbol.asyncDispose]();
    server = await startServer(place, [`--config=${config}`]);
    expect((await bundle()).certificate.serialNumber).toBe(certificate.serialNumber);
    expect(server.program.lines.filter((line) => NEW_CERTIFICATE.test(line))).toEqual([]);
  });

  it("is renewed before it ends, by the same account, while the endpoint goes on serving", async () => {
    const before = (await bundle()).certificate;
    await server.program.line((line) => NEW_CERTIFICATE.test(line), { patience: 2 * LIFE * 1000 });
    const after = (await bundle()).certificate;
    expect(after.serialNumber).not.toBe(before.serialNumber);
    expect(Date.now()).toBeLessThan(before.validToDate.getTime());
  });

  async function startPebble(): Promise<string> {
    const programs = await buildPeer("pebble");
    const ca = makeCa("directory CA");
    const { cert, key } = makeCredential(ca, { dnsNames: ["localhost"] });
    const file = async (name: string, text: string) => {
      await writeFile(scratch.at(name), text);
      return scratch.at(name);
    };
    const caFile = await file("directory-ca.pem", ca.pem);
    const pebble = {
      listenAddress: `127.0.0.1:${directory}`,
      managementListenAddress: `127.0.0.1:${management}`,
      certificate: await file("directory.pem", cert),
      privateKey: await file("directory.key", key),
      httpPort: 1,
      // Where it looks for the challenge: the endpoint's own port, which is 443 elsewhere.
      tlsPort: port,
      profiles: { default: { description: "short", validityPeriod: LIFE } },
    };
    const resolver = stack.use(await startResolver());
    const program = stack.use(
      Program.start(
        "pebble",
        join(programs, "pebble"),
        ["-config", await file("pebble.json", JSON.stringify({ pebble })), "-dnsserver", resolver.address],
        { env: { PEBBLE_VA_NOSLEEP: "1" } },
      ),
    );
    await program.line((line) => /Listening on|ACME directory available/i.test(line));
    return caFile;
  }

  function bundle() {
    return ask(port, "/", NAME, roots);
  }

  async function managed(path: string): Promise<string> {
    const { body } = await ask(management, path, "localhost", undefined);
    return body;
  }
});

/** A resolver that knows every name, at 127.0.0.1. */
async function startResolver(): Promise<{ readonly address: string } & AsyncDisposable> {
  const socket = createSocket("udp4");
  socket.on("message", (query, from) => {
    const end = query.indexOf(0, 12) + 5;
    const question = query.subarray(12, end);
    const isIpv4 = question.readUInt16BE(question.length - 4) === 1;
    const head = Buffer.from([0x81, 0x80, 0, 1, 0, isIpv4 ? 1 : 0, 0, 0, 0, 0]);
    const answer = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]);
    const parts = [query.subarray(0, 2), head, question, ...(isIpv4 ? [answer] : [])];
    socket.send(Buffer.concat(parts), from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  const { port } = socket.address();
  return {
    address: `127.0.0.1:${port}`,
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => socket.close(() => resolve())),
  };
}

/** One GET on loopback; with roots the certificate must be good for the name. */
function ask(port: number, path: string, name: string, roots: readonly string[] | undefined) {
  return new Promise<{ status: number; body: string; certificate: X509Certificate }>((resolve, reject) => {
    const asking = request(
      {
        host: "127.0.0.1",
        port,
        path,
        servername: name,
        agent: false,
        rejectUnauthorized: roots !== undefined,
        ...(roots === undefined ? {} : { ca: [...roots] }),
      },
      (response) => {
        const { raw } = (response.socket as TLSSocket).getPeerCertificate();
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("end", () =>
          resolve({
            status: response.statusCode ?? 0,
            body: Buffer.concat(chunks).toString("utf8"),
            certificate: new X509Certificate(raw),
          }),
        );
      },
    );
    asking.once("error", reject);
    asking.end();
  });
}
