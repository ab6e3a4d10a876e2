import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { request as httpsRequest } from "node:https";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { makeCa, makeCredential, type TestCredential } from "../../../test/fakes/remote-server.ts";
import { type Clock, systemClock } from "../../clock.ts";
import { readCertificate } from "../../crypto/certificate-reader.ts";
import { parseX509Svid } from "../../crypto/x509-svid.ts";
import type { ServerCredential } from "../../endpoint/tls-listener.ts";
import { createLog } from "../../observe/log.ts";
import { createMetrics } from "../../observe/metrics.ts";
import { emptyBundle } from "../../spiffe/bundle.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import { type BundleEndpoint, type BundleEndpointParts, openBundleEndpoint } from "./bundle-endpoint.ts";
import type { BundleEndpointOptions } from "./federation-options.ts";

const CA = makeCa("authority");
const SVID = makeCredential(CA, { uris: ["spiffe://example.org/spire/server"] });
const EMPTY = emptyBundle(parseTrustDomain("example.org"));

describe("the bundle endpoint", () => {
  let bench: Bench;

  beforeEach(async () => {
    bench = await Bench.make();
  });
  afterEach(() => bench[Symbol.asyncDispose]());

  it("serves the newest bundle at once, with sequence and hint, as UTF-8 JSON", async () => {
    await bench.open();
    const first = await bench.get();
    expect(first).toMatchObject({
      status: 200,
      headers: { "content-type": "application/json; charset=utf-8" },
    });
    expect(first.body[0]).toBe("{".charCodeAt(0));
    expect(JSON.parse(first.body.toString())).toEqual({
      spiffe_sequence: 7,
      spiffe_refresh_hint: 300,
      keys: [],
    });
    bench.bundle = {
      ...EMPTY,
      sequence: 2n ** 63n - 1n,
      x509Authorities: [{ certificate: CA.certificate.der, tainted: false }],
    };
    const second = (await bench.get()).body.toString();
    expect(second).toContain('"spiffe_sequence": 9223372036854775807,');
    expect(JSON.parse(second)).toMatchObject({ keys: [{ use: "x509-svid", x5c: [expect.any(String)] }] });
  });

  it("tells nobody to wait for longer than a successor is published before it signs", async () => {
    await bench.open({ refreshHint: 3600 });
    const hint = async () =>
      (JSON.parse((await bench.get()).body.toString()) as { spiffe_refresh_hint: number })
        .spiffe_refresh_hint;
    bench.longestRefreshHint = 400;
    expect(await hint()).toBe(400);
    bench.longestRefreshHint = 60;
    expect(await hint()).toBe(60);
    bench.longestRefreshHint = 9600;
    expect(await hint()).toBe(3600);
  });

  it.each([
    ["GET", "/bundle", 404],
    ["GET", "/index.html", 404],
    ["GET", "/v1/entries", 404],
    ["POST", "/", 405],
    ["PUT", "/", 405],
    ["DELETE", "/", 405],
    ["HEAD", "/", 200],
  ])("answers %s %s with %i", async (method, path, status) => {
    await bench.open();
    expect((await bench.get(path, method)).status).toBe(status);
  });

  it("counts requests by what became of them", async () => {
    await bench.open();
    await bench.get();
    await bench.get("/x");
    expect(await bench.metrics.render()).toMatch(/bundle_endpoint_requests_total\{status="404"\} 1/);
  });

  it("asks nobody for a certificate and shows the server's own SVID, the new one once it has rotated", async () => {
    await bench.open();
    const before = await bench.handshake();
    expect(idOf(before)).toBe("spiffe://example.org/spire/server");
    bench.rotate(makeCredential(CA, { uris: ["spiffe://example.org/spire/rotated"] }));
    expect(idOf(await bench.handshake())).toBe("spiffe://example.org/spire/rotated");
  });

  it.each([
    ["TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256"],
    ["TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"],
    ["TLSv1.2", "ECDHE-ECDSA-CHACHA20-POLY1305"],
  ] as const)("speaks %s with %s", async (version, ciphers) => {
    await bench.open();
    const socket = await bench.handshake({ minVersion: version, maxVersion: version, ciphers });
    expect(socket.getCipher().name).toBe(ciphers);
  });

  it("speaks TLS 1.3, lets the client choose the suite, and hands out no session to resume", async () => {
    await bench.open();
    for (const suite of ["TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_256_GCM_SHA384"]) {
      const socket = await bench.handshake({ ciphers: `${suite}:TLS_AES_128_GCM_SHA256` });
      expect([socket.getProtocol(), socket.getCipher().name]).toEqual(["TLSv1.3", suite]);
    }
    const socket = await bench.handshake({ maxVersion: "TLSv1.2" });
    const again = await bench.handshake({
      maxVersion: "TLSv1.2",
      session: socket.getSession() ?? Buffer.alloc(0),
    });
    expect(again.isSessionReused()).toBe(false);
  });

  it.each<[string, ConnectionOptions]>([
    ["TLS 1.1", { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "ALL@SECLEVEL=0" }],
    ["CBC suites", { maxVersion: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES128-SHA256" }],
    ["a key exchange without forward secrecy", { maxVersion: "TLSv1.2", ciphers: "AES128-GCM-SHA256" }],
    ["another group", { ecdhCurve: "secp521r1" }],
    ["HTTP/2 alone", { ALPNProtocols: ["h2"] }],
  ])("does not speak %s", async (_what, options) => {
    await bench.open();
    await expect(bench.handshake(options)).rejects.toThrow(/alert|ECONNRESET|disconnected/);
  });

  it("goes on after peers that break off or speak something else", async () => {
    await bench.open();
    for (const bytes of ["", "GET / HTTP/1.1\r\n\r\n", Buffer.from([22, 3, 1, 0xff, 0xff, 1])]) {
      const socket = createConnection(bench.address);
      socket.on("error", () => {});
      await new Promise((resolve) => socket.once("connect", resolve));
      socket.write(bytes);
      socket.resetAndDestroy();
    }
    expect((await bench.get()).status).toBe(200);
  });

  it("says why it cannot listen", async () => {
    await bench.open();
    const other = await Bench.make();
    await expect(other.open({ listen: bench.address })).rejects.toThrowCode("LISTEN_FAILED", /taken/);
    await other[Symbol.asyncDispose]();
  });
});

describe("the bundle endpoint with certificate files", () => {
  let bench: Bench;

  beforeEach(async () => {
    bench = await Bench.make();
    await bench.write(web("a.example"));
  });
  afterEach(() => bench[Symbol.asyncDispose]());

  it("reads them again when they have changed", async () => {
    const clock = new FakeClock();
    await bench.open(bench.files, clock);
    expect(namesOf(await bench.handshake())).toContain("a.example");
    await bench.write(web("b.example"));
    await lookAgain(clock);
    await expect.poll(async () => namesOf(await bench.handshake())).toContain("b.example");
    expect(bench.lines.join("\n")).toContain("was read again");
  });

  it("keeps the one before as long as the files do not fit, and says so once", async () => {
    const clock = new FakeClock();
    await bench.open(bench.files, clock);
    const { cert, key } = web("b.example");
    await writeFile(join(bench.folder, "cert.pem"), cert);
    for (let looks = 0; looks < 3; looks++) await lookAgain(clock);
    await expect.poll(() => bench.lines.join("\n")).toContain("does not hold the key");
    expect(namesOf(await bench.handshake())).toContain("a.example");
    expect(bench.lines.filter((line) => line.includes("cannot be read again"))).toHaveLength(1);
    await writeFile(join(bench.folder, "key.new"), key);
    await rename(join(bench.folder, "key.new"), join(bench.folder, "key.pem"));
    await lookAgain(clock);
    await expect.poll(async () => namesOf(await bench.handshake())).toContain("b.example");
  });

  it.each([
    ["a certificate that is none", { cert: "nothing" }, /cert\.pem.*PEM certificate/],
    ["a key that is none", { key: "nothing" }, /key\.pem.*private key/],
    ["a key of another certificate", { key: web("a.example").key }, /does not hold the key/],
  ])("does not begin with %s", async (_what, change, reason) => {
    await bench.write({ ...web("a.example"), ...change });
    await expect(bench.open(bench.files)).rejects.toThrowCode("CONFIG_INVALID", reason);
  });
});

class Bench implements AsyncDisposable {
  readonly folder: string;
  readonly metrics = createMetrics({ process: false });
  readonly lines: string[] = [];
  bundle: ReturnType<BundleEndpointParts["bundle"]> = { ...EMPTY, sequence: 7n };
  longestRefreshHint = 9600;
  readonly #rotated: ((credential: ServerCredential) => void)[] = [];
  readonly #sockets: TLSSocket[] = [];
  #endpoint: BundleEndpoint | undefined;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async make(): Promise<Bench> {
    return new Bench(await mkdtemp(join(tmpdir(), "endpoint-")));
  }

  get files(): Partial<BundleEndpointOptions> {
    return {
      profile: "https_web",
      certificateFile: join(this.folder, "cert.pem"),
      keyFile: join(this.folder, "key.pem"),
    };
  }

  get address() {
    if (this.#endpoint === undefined) throw new Error("the endpoint is not open");
    return this.#endpoint.address;
  }

  async write({ cert, key }: TestCredential): Promise<void> {
    await writeFile(join(this.folder, "cert.pem"), cert);
    await writeFile(join(this.folder, "key.pem"), key);
  }

  async open(options: Partial<BundleEndpointOptions> = {}, clock: Clock = systemClock): Promise<void> {
    this.#endpoint = await openBundleEndpoint({
      options: {
        listen: { host: "127.0.0.1", port: 0 },
        profile: "https_spiffe",
        refreshHint: 300,
        ...options,
      },
      dataDir: this.folder,
      clock,
      log: createLog({ level: "debug", clock, destination: { write: (line) => void this.lines.push(line) } }),
      metrics: this.metrics,
      random: () => 0,
      bundle: () => this.bundle,
      longestRefreshHint: () => this.longestRefreshHint,
      svid: {
        credential: { certificateChain: SVID.cert, privateKey: SVID.key },
        onRotated: (listener) => void this.#rotated.push(listener),
      },
    });
  }

  rotate({ cert, key }: TestCredential): void {
    for (const listener of this.#rotated) listener({ certificateChain: cert, privateKey: key });
  }

  get(path = "/", method = "GET") {
    return new Promise<{ status: number; headers: object; body: Buffer }>((resolve, reject) => {
      const options = { ...this.address, path, method, rejectUnauthorized: false, agent: false };
      const asking = httpsRequest(options, (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("end", () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(chunks),
          }),
        );
      });
      asking.once("error", reject);
      asking.end();
    });
  }

  handshake(options: ConnectionOptions = {}): Promise<TLSSocket> {
    return new Promise((resolve, reject) => {
      const socket = connect({ ...this.address, rejectUnauthorized: false, ...options }, () =>
        resolve(socket),
      );
      this.#sockets.push(socket);
      socket.on("error", reject);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await this.#endpoint?.[Symbol.asyncDispose]();
    await rm(this.folder, { recursive: true });
  }
}

/** Lets the files be looked at: the next look is planned when the one before has ended. */
async function lookAgain(clock: FakeClock): Promise<void> {
  await vi.waitUntil(() => clock.pending > 0);
  await clock.advance(5_000);
}

function web(name: string): TestCredential {
  return makeCredential(CA, { dnsNames: [name] });
}

function idOf(socket: TLSSocket): string {
  return parseX509Svid(readCertificate(socket.getPeerCertificate().raw)).spiffeId;
}

function namesOf(socket: TLSSocket): string {
  return socket.getPeerCertificate().subjectaltname ?? "";
}
