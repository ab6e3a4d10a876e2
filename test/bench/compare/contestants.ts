import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { placeServer, startServer, TRUST_DOMAIN } from "../../e2e/harness.ts";
import { Program, run } from "../../e2e/program.ts";
import { freePorts, type Scratch } from "../../e2e/scratch.ts";
import type { Make } from "./plan.ts";

/** A server that stands to be measured. */
export interface Contestant extends AsyncDisposable {
  readonly name: Make;
  /** `host:port` of the server API. */
  readonly address: string;
  readonly adminSocket: string;
  readonly pid: number;
  readonly trustDomain: string;
  /** How many lines it has logged so far. */
  lines(): number;
}

/** What both servers are told, each in its own words. */
export const SETTINGS = {
  caTtl: "24h",
  agentTtl: "4h",
  x509SvidTtl: "1h",
  jwtSvidTtl: "5m",
  keyType: "ec-p256",
  logLevel: "info",
  logFormat: "json",
} as const;

/** Starts our server from the source of this checkout, and waits until it is ready. */
export async function startAssay(scratch: Scratch): Promise<Contestant> {
  const place = await placeServer(scratch, "assay-server");
  const server = await startServer(place, [
    `--ca-ttl=${SETTINGS.caTtl}`,
    `--agent-ttl=${SETTINGS.agentTtl}`,
    `--default-x509-svid-ttl=${SETTINGS.x509SvidTtl}`,
    `--default-jwt-svid-ttl=${SETTINGS.jwtSvidTtl}`,
    `--ca-key-type=${SETTINGS.keyType}`,
    `--jwt-key-type=${SETTINGS.keyType}`,
    `--log-level=${SETTINGS.logLevel}`,
    `--log-format=${SETTINGS.logFormat}`,
    "--key-manager-type=memory",
    "--rate-limit=off",
  ]);
  return contestant("assay", server.program, place.address, place.adminSocket);
}

/** Starts spire-server from the folder of SPIRE's programs, and waits until it is healthy. */
export async function startSpire(programs: string, scratch: Scratch): Promise<Contestant> {
  const [port = 0] = await freePorts(1);
  const adminSocket = scratch.at("spire-server.sock");
  const config = scratch.at("spire-server.json");
  await writeFile(config, JSON.stringify(spireConfig(port, adminSocket, scratch)));
  const binary = join(programs, "spire-server");
  const program = Program.start("spire-server", binary, ["run", "-config", config]);
  let ended = false;
  program.ended.finally(() => (ended = true)).catch(() => {});
  const deadline = performance.now() + 60_000;
  while ((await run(binary, ["healthcheck", "-socketPath", adminSocket])).code !== 0) {
    if (ended || performance.now() > deadline) {
      await program.stop();
      throw new Error(`spire-server did not become healthy:\n${program.lines.join("\n")}`);
    }
  }
  return contestant("spire", program, `127.0.0.1:${port}`, adminSocket);
}

function spireConfig(port: number, adminSocket: string, scratch: Scratch): object {
  return {
    server: {
      bind_address: "127.0.0.1",
      bind_port: String(port),
      socket_path: adminSocket,
      trust_domain: TRUST_DOMAIN,
      data_dir: scratch.at("spire-server"),
      ca_ttl: SETTINGS.caTtl,
      agent_ttl: SETTINGS.agentTtl,
      default_x509_svid_ttl: SETTINGS.x509SvidTtl,
      default_jwt_svid_ttl: SETTINGS.jwtSvidTtl,
      ca_key_type: SETTINGS.keyType,
      jwt_key_type: SETTINGS.keyType,
      log_level: SETTINGS.logLevel.toUpperCase(),
      log_format: SETTINGS.logFormat,
      ratelimit: { attestation: false, signing: false },
    },
    plugins: {
      DataStore: [
        plugin("sql", { database_type: "sqlite3", connection_string: scratch.at("spire-server.sqlite") }),
      ],
      KeyManager: [plugin("memory", {})],
      NodeAttestor: [plugin("join_token", {})],
    },
  };
}

function plugin(name: string, data: Readonly<Record<string, string>>): object {
  return { [name]: [{ plugin_data: [data] }] };
}

function contestant(name: Make, program: Program, address: string, adminSocket: string): Contestant {
  return {
    name,
    address,
    adminSocket,
    pid: program.pid,
    trustDomain: TRUST_DOMAIN,
    lines: () => program.lines.length,
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}
