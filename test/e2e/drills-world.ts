import { chown, mkdir, writeFile } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";
import { systemClock } from "../../src/clock.ts";
import { readCertificate } from "../../src/crypto/certificate-reader.ts";
import { toPem } from "../../src/crypto/pem.ts";
import { SpiffeWorkloadAPI } from "../../src/proto/gen/spiffe/workload/workload_pb.ts";
import { makeCertificate, makeKey } from "../fakes/certificates.ts";
import {
  type AgentPlace,
  assay,
  type AssayAgent,
  type AssayServer,
  placeAgent,
  placeServer,
  type ServerPlace,
  startAgent,
  startServer,
} from "./harness.ts";
import type { Program } from "./program.ts";
import { Machine, SERVER_USER } from "./recovery-page.ts";
import { makeScratch, type Scratch } from "./scratch.ts";
import { fetchX509, OWN_SELECTORS, SECURITY_HEADER, workloadClient } from "./workload.ts";

/** The node alias of both agents, as the page calls it. */
export const NODE = "spiffe://example.org/node/web-1";
/** Who this process is. */
export const SELF = "spiffe://example.org/self";

/**
 * Milliseconds until a drill gives up on what it waits for. Only a failure takes this long, so it is for the slowest machine
 * and not for the slowest agent.
 */
export const PATIENCE = 240_000;
/** Milliseconds that a whole drill may take. */
export const DRILL = 900_000;

/** Lifetimes of a world, as a server's YAML has them. */
export interface Lives {
  readonly ca: string;
  readonly agent: string;
  readonly svid: string;
}

/**
 * A server and two agents on one machine: one whose evidence is a certificate and can be shown again, one that came by a join
 * token. All are the real programs; what the page does by `systemctl` is done to them.
 */
export class DrillWorld implements AsyncDisposable {
  readonly scratch: Scratch;
  readonly place: ServerPlace;
  readonly steady: AgentPlace;
  readonly fleeting: AgentPlace;
  readonly #serverFlags: readonly string[];
  /** The environment of servers from the next start on. */
  environment: Readonly<Record<string, string>> = {};
  #machine: Machine | undefined;
  readonly #programs: Program[] = [];
  server: AssayServer | undefined;
  steadyAgent: AssayAgent | undefined;
  /** The agent that came by a token. Started as a program whose readiness nobody waits for where it cannot be. */
  fleetingAgent: AssayAgent | undefined;

  private constructor(scratch: Scratch, place: ServerPlace) {
    this.scratch = scratch;
    this.place = place;
    this.steady = placeAgent(scratch, "steady");
    this.fleeting = placeAgent(scratch, "fleeting");
    this.#serverFlags = [`--config=${scratch.at("server.yaml")}`];
  }

  /** Starts everything and waits until both agents serve. */
  static async start(lives: Lives): Promise<DrillWorld> {
    const scratch = await makeScratch();
    // Folders of the server's own, as its user may be another one.
    const place = {
      ...(await placeServer(scratch)),
      adminSocket: scratch.at("run", "admin.sock"),
      dataDir: scratch.at("state", "server"),
    };
    for (const folder of ["run", "state"]) {
      await mkdir(scratch.at(folder));
      if (SERVER_USER !== undefined) await chown(scratch.at(folder), SERVER_USER.uid, SERVER_USER.gid);
    }
    const world = new DrillWorld(scratch, place);
    await world.#writeEvidence();
    await world.configure(lives);
    const pop = {
      type: "x509pop",
      config: { private_key_path: scratch.at("node.key"), certificate_path: scratch.at("node.pem") },
    };
    await writeFile(scratch.at("steady.yaml"), JSON.stringify({ node_attestor: pop }));
    world.#machine = await Machine.open(scratch, world.place, {
      server: { start: () => world.startServer(), stop: () => world.stopServer() },
      agent: {
        start: () => world.startFleeting(true),
        stop: async () => world.fleetingAgent?.program.stop(),
      },
    });
    await world.startServer();
    const { machine } = world;
    for (const alias of [NODE, `${NODE}-steady`]) {
      await world.ask("entry", "create", `--parent-id=${alias}`, `--spiffe-id=${SELF}`, ...SELECTOR_FLAGS);
    }
    await world.ask(
      "entry",
      "create",
      "--node",
      `--spiffe-id=${NODE}-steady`,
      "--selector=x509pop:subject:cn:node",
    );
    await machine.run("assay bundle show > bundle.pem\ninstall -m 0644 bundle.pem /etc/assay/bundle.pem");
    await machine.run(
      `assay token generate --spiffe-id ${NODE} > join-token\ninstall -m 0600 join-token /etc/assay/join-token`,
    );
    for (const agent of [await world.startSteady(), await world.startFleeting(true)]) {
      await fetchX509(agent.endpoint);
    }
    return world;
  }

  /** The machine that the page's commands run on. */
  get machine(): Machine {
    if (this.#machine === undefined) throw new Error("the world has not begun");
    return this.#machine;
  }

  /** Runs a command against the server's admin socket and gives its JSON. */
  ask<T>(...args: readonly string[]): Promise<T> {
    if (this.server === undefined) throw new Error("no server runs");
    return this.server.ask<T>(...args);
  }

  /** Sets the lifetimes that hold from the server's next start on. */
  async configure({ ca, agent, svid }: Lives): Promise<void> {
    const settings = {
      ca_ttl: ca,
      agent_ttl: agent,
      ...Object.fromEntries(
        ["x509_svid", "jwt_svid", "wit_svid", "access_token"].flatMap((kind) => [
          [`default_${kind}_ttl`, svid],
          [`max_${kind}_ttl`, svid],
        ]),
      ),
      node_attestors: [
        { type: "join_token" },
        { type: "x509pop", config: { ca_bundle_path: this.scratch.at("roots.pem") } },
      ],
    };
    // JSON is YAML.
    await writeFile(this.scratch.at("server.yaml"), JSON.stringify(settings));
  }

  /** What every server and agent has said last, for whoever asks why a drill failed. */
  get told(): string {
    return this.#programs
      .map(({ pid, lines }) =>
        [`-- process ${pid}`, ...lines.slice(-60).map((line) => line.slice(0, 400))].join("\n"),
      )
      .join("\n");
  }

  async startServer(): Promise<AssayServer> {
    this.server = await startServer(this.place, this.#serverFlags, {
      env: this.environment,
      ...(SERVER_USER !== undefined && { uid: SERVER_USER.uid, gid: SERVER_USER.gid }),
    });
    this.#programs.push(this.server.program);
    return this.server;
  }

  async stopServer(): Promise<void> {
    await this.server?.program.stop();
    this.server = undefined;
  }

  async startSteady(): Promise<AssayAgent> {
    this.steadyAgent = await startAgent(this.steady, {
      server: this.place.address,
      trustBundleFile: this.machine.at("/etc/assay/bundle.pem"),
      flags: [`--config=${this.scratch.at("steady.yaml")}`],
    });
    this.#programs.push(this.steadyAgent.program);
    return this.steadyAgent;
  }

  async startFleeting(withToken: boolean): Promise<AssayAgent> {
    this.fleetingAgent = await startAgent(this.fleeting, {
      server: this.place.address,
      trustBundleFile: this.machine.at("/etc/assay/bundle.pem"),
      ...(withToken ? { joinTokenFile: this.machine.at("/etc/assay/join-token") } : {}),
    });
    this.#programs.push(this.fleetingAgent.program);
    return this.fleetingAgent;
  }

  /** Starts the agent that came by a token with another one; rejects with what it said where it cannot serve. */
  async startFleetingBy(token: string): Promise<AssayAgent> {
    await writeFile(this.machine.at("/etc/assay/join-token"), token, { mode: 0o600 });
    return this.startFleeting(true);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.steadyAgent?.[Symbol.asyncDispose]();
    await this.fleetingAgent?.[Symbol.asyncDispose]();
    await this.server?.[Symbol.asyncDispose]();
    await this.scratch[Symbol.asyncDispose]();
  }

  async #writeEvidence(): Promise<void> {
    const now = Math.floor(systemClock.now() / 1000);
    // Good on any day to which a drill may set a clock.
    const times = { notBefore: now - 3 * YEAR, notAfter: now + 3 * YEAR };
    const ca = { key: makeKey(), name: "root" };
    const root = makeCertificate({ ...times, subject: ca.name, ca: true, key: ca.key });
    const key = makeKey();
    const leaf = makeCertificate({
      ...times,
      subject: "node",
      key,
      issuer: { certificate: root, key: ca.key },
    });
    await writeFile(this.scratch.at("roots.pem"), toPem("CERTIFICATE", root.der));
    await writeFile(this.scratch.at("node.pem"), toPem("CERTIFICATE", leaf.der));
    const pem = key.privateKey.export({ type: "pkcs8", format: "pem" });
    await writeFile(this.scratch.at("node.key"), pem, { mode: 0o600 });
  }
}

/** The sequence number of the bundle that the server publishes. */
export async function sequenceOf(of: DrillWorld): Promise<number> {
  const { stdout } = await assay([
    "bundle",
    "show",
    "--format=spiffe",
    `--admin-socket=${of.place.adminSocket}`,
  ]);
  return (JSON.parse(stdout) as { spiffe_sequence: number }).spiffe_sequence;
}

/** The IDs of this process at a Workload Endpoint; none where it gets none. */
export async function idsAt(endpoint: string): Promise<readonly string[]> {
  const { code, stdout } = await assay([
    "fetch",
    "x509",
    `--socket=${endpoint}`,
    "--output=json",
    "--timeout=5s",
  ]);
  if (code !== 0) return [];
  return (JSON.parse(stdout) as { spiffe_id: string }[]).map(({ spiffe_id }) => spiffe_id);
}

/** An X509-SVID of this process, as a Workload Endpoint gives it. */
export interface Served {
  readonly id: string;
  /** The subject key ID of the authority that signed it, hex. */
  readonly authority: string;
}

/**
 * Waits until a Workload Endpoint serves this process what passes: it tells of each change by its stream, and is asked anew
 * where the stream ends. Rejects with what was served last.
 */
export async function served(
  socket: string,
  passes: (svids: readonly Served[]) => boolean,
): Promise<readonly Served[]> {
  const signal = AbortSignal.timeout(PATIENCE);
  let last: unknown = "nothing";
  while (!signal.aborted) {
    using client = workloadClient(socket);
    try {
      const updates = client
        .service(SpiffeWorkloadAPI)
        .fetchX509SVID({}, { headers: SECURITY_HEADER, signal });
      for await (const { svids } of updates) {
        const now = svids.map(({ spiffeId, x509Svid }) => ({ id: spiffeId, authority: signerOf(x509Svid) }));
        last = now;
        if (passes(now)) return now;
      }
    } catch (error) {
      if (!signal.aborted) last = error;
    }
    await pause(200);
  }
  throw new Error(`${socket} served ${last instanceof Error ? last.message : JSON.stringify(last)} last`);
}

/** Waits until a Workload Endpoint gives this process exactly these IDs. */
export async function servedIds(socket: string, wanted: readonly string[]): Promise<void> {
  const sorted = wanted.toSorted().join();
  await served(
    socket,
    (svids) =>
      svids
        .map(({ id }) => id)
        .toSorted()
        .join() === sorted,
  );
}

/** Waits until everything that a Workload Endpoint gives this process is of one authority. */
export async function servedBy(socket: string, authority: string): Promise<void> {
  await served(socket, (svids) => svids.length > 0 && svids.every((svid) => svid.authority === authority));
}

function signerOf(certificate: Uint8Array): string {
  return Buffer.from(readCertificate(certificate).authorityKeyId ?? []).toString("hex");
}

const SELECTOR_FLAGS = OWN_SELECTORS.map((selector) => `--selector=${selector}`);
const YEAR = 365 * 86_400;
