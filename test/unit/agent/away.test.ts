import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startAgent } from "../../../src/agent/agent.ts";
import type { AgentOptions, RunningAgent } from "../../../src/agent/agent-options.ts";
import { systemClock } from "../../../src/clock.ts";
import { readCertificate } from "../../../src/crypto/certificate-reader.ts";
import { toPem } from "../../../src/crypto/pem.ts";
import { openAuditLog } from "../../../src/observe/audit-log.ts";
import { createLog } from "../../../src/observe/log.ts";
import { createMetrics } from "../../../src/observe/metrics.ts";
import { LocalAuthority } from "../../../src/proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts";
import { makeCertificate, makeKey } from "../../fakes/certificates.ts";
import { until } from "../../fakes/agent-harness.ts";
import { ServerBench, trustDomain } from "../../fakes/server-bench.ts";

/** A wire between agent and server that can be cut. */
class Wire {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** What is done to connections: passed on, or cut once the handshake is through. */
  mode: "passes" | "cuts" = "passes";
  /** Connections that were cut. */
  cuts = 0;

  constructor(port: number) {
    this.#server = createServer((near) => {
      const far = connect(port, "127.0.0.1");
      for (const [socket, other] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(socket);
        socket.on("error", () => undefined);
        socket.on("data", (bytes) => void other.write(bytes));
        socket.on("close", () => {
          this.#sockets.delete(socket);
          other.destroy();
        });
      }
      if (this.mode === "passes") return;
      let answers = 0;
      far.on("data", () => {
        // The server's flight has come through, and the client's has gone out or is about to.
        if ((answers += 1) < 2) return;
        this.cuts += 1;
        near.destroy();
      });
    });
  }

  async listen(): Promise<number> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return (this.#server.address() as AddressInfo).port;
  }

  /** Cuts what there is, and what comes. */
  cut(): void {
    this.mode = "cuts";
    for (const socket of this.#sockets) socket.destroy();
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

let bench: ServerBench;
let wire: Wire;
let port: number;
let agent: RunningAgent | undefined;
let lines: string[];

beforeEach(async () => {
  lines = [];
  bench = await ServerBench.start();
  const now = Math.floor(systemClock.now() / 1000);
  const times = { notBefore: now - 60, notAfter: now + 3600 };
  const ca = { key: makeKey(), name: "root" };
  const root = makeCertificate({ ...times, subject: ca.name, ca: true, key: ca.key });
  const key = makeKey();
  const leaf = makeCertificate({
    ...times,
    subject: "node",
    key,
    issuer: { certificate: root, key: ca.key },
  });
  writeFileSync(bench.path("roots.pem"), toPem("CERTIFICATE", root.der));
  writeFileSync(bench.path("node.pem"), toPem("CERTIFICATE", leaf.der));
  writeFileSync(bench.path("node.key"), key.privateKey.export({ type: "pkcs8", format: "pem" }), {
    mode: 0o600,
  });
  await bench.stop();
  await bench.start({
    nodeAttestors: [
      { type: "join_token" },
      { type: "x509pop", config: { ca_bundle_path: bench.path("roots.pem") } },
    ],
  });
  wire = new Wire(bench.addresses.api.port);
  port = await wire.listen();
  await writeBundle();
});

afterEach(async () => {
  await agent?.[Symbol.asyncDispose]();
  agent = undefined;
  wire.close();
  await bench[Symbol.asyncDispose]();
});

const POP = () => ({
  name: "x509pop",
  config: { private_key_path: bench.path("node.key"), certificate_path: bench.path("node.pem") },
});

async function token() {
  const { value } = await bench.agents.createJoinToken({ ttl: 600 });
  return { name: "join_token", config: { token: value } };
}

/** Writes the bundle as it is now to where the operator keeps it. */
async function writeBundle(): Promise<void> {
  const pem = (await bench.authorities()).map((der) => toPem("CERTIFICATE", der)).join("");
  writeFileSync(bench.path("bundle.pem"), pem);
}

async function start(nodeAttestor: AgentOptions["nodeAttestor"]): Promise<RunningAgent> {
  const log = createLog({
    level: "debug",
    clock: systemClock,
    destination: { write: (line: string) => void lines.push(line) },
  });
  agent = await startAgent(
    {
      trustDomain,
      server: { host: "127.0.0.1", port },
      dataDir: bench.path("agent"),
      socketPath: bench.path("w.sock"),
      adminSocketPath: bench.path("a.sock"),
      trustBundle: { kind: "file", path: bench.path("bundle.pem") },
      ...(nodeAttestor === undefined ? {} : { nodeAttestor }),
      workloadAttestors: [{ name: "unix" }],
      rateLimit: "off",
    },
    {
      clock: systemClock,
      log,
      metrics: createMetrics({ process: false }),
      version: "test",
      openAudit: () =>
        openAuditLog({ path: bench.path("agent-audit.jsonl"), clock: systemClock, fsync: "never" }),
    },
  );
  return agent;
}

/** Starts an agent, and waits until it serves and has written down what it was told. */
async function serve(nodeAttestor: AgentOptions["nodeAttestor"]): Promise<void> {
  await (await start(nodeAttestor)).ready;
  await until(() => stored().bundle.sequence !== "0");
}

async function stop(): Promise<void> {
  await agent?.[Symbol.asyncDispose]();
  agent = undefined;
}

function stored(): { chain: string[]; bundle: { sequence: string; x509Authorities: unknown[] } } {
  return JSON.parse(readFileSync(bench.path("agent/agent-identity.json"), "utf8")) as never;
}

/** The authority of the SVID that is on disk, in hex. */
function issuer(): string {
  const { authorityKeyId } = readCertificate(Buffer.from(stored().chain[0] ?? "", "base64"));
  return Buffer.from(authorityKeyId ?? []).toString("hex");
}

const authorities = () => bench.admin.service(LocalAuthority);

async function prepare(): Promise<string> {
  const { preparedAuthority } = await authorities().prepareX509Authority({});
  return preparedAuthority?.authorityId ?? "";
}

/** Makes the prepared authority sign and takes the one before out of the bundle. */
async function replace(authorityId: string): Promise<void> {
  const { active } = await authorities().getX509AuthorityState({});
  const old = { authorityId: active?.authorityId ?? "" };
  await authorities().activateX509Authority({ authorityId });
  await authorities().taintX509Authority(old);
  await authorities().revokeX509Authority(old);
}

const said = (text: string) => lines.filter((line) => line.includes(text)).length;

describe("an agent that was away while the authority of its SVID was revoked", () => {
  it("attests anew as soon as it is back, while it runs", async () => {
    await serve(POP());
    const prepared = await prepare();
    await until(() => stored().bundle.x509Authorities.length === 2);
    wire.cut();
    await replace(prepared);
    wire.mode = "passes";
    await until(() => issuer() === prepared);
    await until(() => said("node attested") === 2);
    expect(said("has to attest again")).toBe(1);
    // And follows its server as before.
    await prepare();
    await until(() => stored().bundle.x509Authorities.length === 2);
  });

  it("attests anew as soon as it is started again", async () => {
    await serve(POP());
    const prepared = await prepare();
    await until(() => stored().bundle.x509Authorities.length === 2);
    await stop();
    await replace(prepared);
    await start(POP());
    await until(() => issuer() === prepared);
    await until(() => said("node attested") === 2);
  });

  it("that has nothing more to show ends and says what to do, and comes back with a new join token", async () => {
    const used = await token();
    await serve(used);
    const prepared = await prepare();
    await until(() => stored().bundle.x509Authorities.length === 2);
    wire.cut();
    await replace(prepared);
    wire.mode = "passes";
    expect(await agent?.closed).toMatchObject({
      detail: expect.stringMatching(
        /join token.*no authority that the trust domain still has.*assay token generate/,
      ) as string,
    });
    await stop();
    await serve(await token());
    expect(issuer()).toBe(prepared);
  });

  it("believes a server whose authority it never heard of by a bundle that the operator has renewed, and by no other", async () => {
    await serve(POP());
    const before = stored();
    wire.cut();
    const prepared = await prepare();
    await replace(prepared);
    wire.mode = "passes";
    await until(() => said("write the present bundle to trust_bundle") > 1);
    expect(stored()).toEqual(before);
    expect(agent?.agentId).toBeDefined();
    await writeBundle();
    await until(() => issuer() === prepared);
    expect(stored().bundle.x509Authorities.length).toBe(1);
  });
});

describe("an agent whose connections are cut by another than its server", () => {
  it("keeps its identity, whatever else may pass", async () => {
    await serve(POP());
    const before = stored();
    wire.cut();
    await until(() => wire.cuts > 6);
    expect(stored()).toEqual(before);
    expect(agent?.agentId).toBeDefined();
    expect(said("node attested")).toBe(1);
    wire.mode = "passes";
    await prepare();
    await until(() => stored().bundle.x509Authorities.length === 2);
    expect(said("has to attest")).toBe(0);
  });
});
