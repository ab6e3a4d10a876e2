import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Clock, systemClock } from "../../src/clock.ts";
import { readCertificate } from "../../src/crypto/certificate-reader.ts";
import { validateX509Svid } from "../../src/crypto/x509-svid.ts";
import { createLog } from "../../src/observe/log.ts";
import { Agent } from "../../src/proto/gen/spire/api/server/agent/v1/agent_pb.ts";
import { Bundle } from "../../src/proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import { Entry } from "../../src/proto/gen/spire/api/server/entry/v1/entry_pb.ts";
import { RpcClient } from "../../src/rpc/client.ts";
import type { TlsTarget } from "../../src/rpc/client-target.ts";
import type { ServerOptions } from "../../src/server/options.ts";
import type { RunningServer } from "../../src/server/running-server.ts";
import { startServer } from "../../src/server/server.ts";
import { serverId } from "../../src/spiffe/reserved.ts";
import { parseTrustDomain } from "../../src/spiffe/trust-domain.ts";

/** The trust domain of the bench. */
export const trustDomain = parseTrustDomain("example.org");

/** A real server in a temporary folder, on loopback and a Unix socket. */
export class ServerBench implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), "server-"));
  /** What the server logged, line by line. */
  readonly lines: string[] = [];
  readonly clock: Clock;
  readonly #options: Partial<ServerOptions>;
  readonly #clients = new Set<RpcClient>();
  #running: RunningServer | undefined;
  #admin: RpcClient | undefined;

  private constructor(options: Partial<ServerOptions>, clock: Clock) {
    this.#options = options;
    this.clock = clock;
  }

  static async start(options: Partial<ServerOptions> = {}, clock: Clock = systemClock): Promise<ServerBench> {
    const bench = new ServerBench(options, clock);
    await bench.start();
    return bench;
  }

  /** Options of a server on this folder. */
  options(changes: Partial<ServerOptions> = {}): ServerOptions {
    return {
      trustDomain,
      dataDir: this.path("data"),
      listen: { host: "127.0.0.1", port: 0 },
      webListen: { host: "127.0.0.1", port: 0 },
      adminSocket: this.path("admin.sock"),
      caTtl: 86_400,
      caKeyType: "ec-p256",
      jwtKeyType: "ec-p256",
      caSubject: { country: "US", organization: "SPIFFE" },
      defaultX509SvidTtl: 3600,
      maxX509SvidTtl: 0,
      defaultJwtSvidTtl: 300,
      maxJwtSvidTtl: 0,
      defaultWitSvidTtl: 3600,
      maxWitSvidTtl: 0,
      defaultAccessTokenTtl: 300,
      maxAccessTokenTtl: 900,
      witProofOfPossession: "optional",
      rs256Audiences: [],
      agentTtl: 3600,
      rateLimit: "off",
      maxConnectionsPerAddress: 1000,
      keyManager: { type: "disk" },
      nodeAttestors: [{ type: "join_token" }],
      adminIds: [],
      metricsReaders: [],
      oidcDomains: [],
      features: [],
      audit: { path: this.path("audit.jsonl"), fsync: "never", maxSize: 100 * 1024 * 1024, keep: 2 },
      ...this.#options,
      ...changes,
    };
  }

  /** Starts a server on the folder, beside the one that may run already. */
  launch(changes: Partial<ServerOptions> = {}): Promise<RunningServer> {
    const log = createLog({
      level: "trace",
      clock: this.clock,
      destination: { write: (line: string) => void this.lines.push(line) },
    });
    return startServer(this.options(changes), { clock: this.clock, log, version: "test" });
  }

  /** Starts the server of the bench. */
  async start(changes: Partial<ServerOptions> = {}): Promise<void> {
    this.#running = await this.launch(changes);
  }

  /** Stops it, with the clients still open. */
  async stop(): Promise<void> {
    const running = this.#running;
    this.#running = undefined;
    await running?.[Symbol.asyncDispose]();
  }

  get addresses(): RunningServer["addresses"] {
    if (this.#running === undefined) throw new Error("the server is not running");
    return this.#running.addresses;
  }

  /** A client of the admin socket, the same each time. */
  get admin(): RpcClient {
    this.#admin ??= this.keep(new RpcClient({ target: { kind: "unix", path: this.path("admin.sock") } }));
    return this.#admin;
  }

  get entries() {
    return this.admin.service(Entry);
  }

  get agents() {
    return this.admin.service(Agent);
  }

  get bundles() {
    return this.admin.service(Bundle);
  }

  /** The certificates of the bundle. */
  async authorities(): Promise<readonly Uint8Array[]> {
    return (await this.bundles.getBundle({})).x509Authorities.map(({ asn1 }) => asn1);
  }

  /** A client over TLS, with an identity or without; the server must be who it should be. */
  async tls(identity?: TlsTarget["identity"]): Promise<RpcClient> {
    const authorities = await this.authorities();
    const roots = authorities.map((certificate) => readCertificate(certificate));
    return this.keep(
      new RpcClient({
        target: {
          kind: "tls",
          ...this.addresses.api,
          authorities,
          verifyServer(chain) {
            const certificates = chain.map((certificate) => readCertificate(certificate));
            const { spiffeId } = validateX509Svid(certificates, roots, systemClock.now() / 1000);
            if (spiffeId !== serverId(trustDomain)) throw new Error(`${spiffeId} is not the server`);
          },
          ...(identity === undefined ? {} : { identity }),
        },
      }),
    );
  }

  keep(client: RpcClient): RpcClient {
    this.#clients.add(client);
    return client;
  }

  /** The records of the audit log. */
  audit(): Record<string, unknown>[] {
    return readFileSync(this.path("audit.jsonl"), "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) client[Symbol.dispose]();
    await this.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
