import { rm } from "node:fs/promises";
import type { Command } from "commander";
import { loadAgentConfig } from "../config/agent-config.ts";
import { loadServerConfig } from "../config/server-config.ts";
import type { HostPort } from "../config/units.ts";
import { createLog, LOG_LEVELS, type LogLevel, type RootLog } from "../observe/log.ts";
import { writeMockFacts } from "./ci-mock-place.ts";
import { makeDevMock } from "./dev-mock.ts";
import { makeDevPlace, type DevPlace } from "./dev-place.ts";
import { setUpLaptop, setUpMocks } from "./dev-setup.ts";
import { type DemoSvids, demoText, nextText, placeText } from "./dev-text.ts";
import type { CliIo } from "./io.ts";
import { oneOf } from "./options.ts";
import type { Programs, RunningProgram } from "./programs.ts";
import { untilOver, untilReady } from "./run-program.ts";
import { first, SECURITY_HEADER, withWorkloadClient, x509SvidViews } from "./workload-client.ts";

interface DevFlags {
  readonly demo: boolean;
  readonly dataDir?: string;
  readonly trustDomain: string;
  readonly logLevel: LogLevel;
}

/** Adds `assay dev`: server and agent in one process for a laptop, through the same doors as everywhere else. */
export function addDevCommand(program: Command, io: CliIo, programs: Programs): void {
  program
    .command("dev")
    .description("run both in one process for a laptop, and register the calling user as a workload")
    .option("--demo", "fetch the user's own SVIDs over the socket and print them", false)
    .option("--data-dir <folder>", "keep everything there (default: a temporary folder, removed at the end)")
    .option("--trust-domain <name>", "the trust domain", "example.org")
    .option("--log-level <level>", LOG_LEVELS.join(", "), oneOf("--log-level", LOG_LEVELS), "warn")
    .action((flags: DevFlags) => runDev(io, programs, flags));
}

async function runDev(io: CliIo, programs: Programs, flags: DevFlags): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const place = stack.use(await makeDevPlace(flags.dataDir));
  const log = createLog({
    level: flags.logLevel,
    clock: io.clock,
    format: "pretty",
    destination: { write: io.stderr },
  });
  const deps = { clock: io.clock, log, version: io.version };

  const [mock] = await Promise.all([makeDevMock(place.folder), programs.prepare()]);
  const source = { file: mock.configFile, flags: serverFlags(place, flags, mock.webAddress) };
  const serverConfig = loadServerConfig(source).config;
  const server = stack.use(await programs.startServer(serverConfig, deps));
  await untilReady(server, io.signal);
  if (io.signal.aborted) return;
  const user = await setUpLaptop(io, place, serverConfig.trustDomain);

  const { api, web } = server.addresses;
  const agentConfig = loadAgentConfig({ flags: agentFlags(place, flags, api) }).config;
  const agent = stack.use(await programs.startAgent(agentConfig, deps));
  await untilReady(agent, io.signal);
  if (io.signal.aborted) return;

  // It works once, and that was now.
  await rm(place.joinTokenFile, { force: true });

  io.stdout(
    `${placeText(place, { api: `${api.host}:${api.port}`, web: `https://${web.host}:${web.port}` })}\n\n`,
  );
  if (flags.demo) await demonstrate(io, place, log);
  // Last, as nobody waits for it at the keyboard.
  await setUpMocks(io, place, serverConfig.trustDomain);
  await writeMockFacts(place.folder, {
    server: mock.issuer,
    trustBundle: place.trustBundleFile,
    adminSocket: place.server.adminSocket,
  });
  io.stdout(`${nextText(io, place, user)}\n`);
  io.notify("READY=1");
  await untilEitherOver([server, agent], io.signal);
}

async function demonstrate(io: CliIo, place: DevPlace, log: RootLog): Promise<void> {
  const svids = await fetchOwn(io, place.agent.socket);
  const milliseconds = Math.round(io.elapsed());
  io.tellLauncher({ event: "first-svid", milliseconds });
  log.debug("first SVID", { elapsed_ms: milliseconds });
  io.stdout(`${demoText(svids)}\n\nfirst SVID ${(milliseconds / 1000).toFixed(2)} s after the start\n\n`);
}

/** What this process, and so every process of its user, gets as a workload. */
async function fetchOwn(io: CliIo, socket: string): Promise<DemoSvids> {
  return withWorkloadClient(io, socket, async (client) => {
    const options = { ...SECURITY_HEADER, signal: io.signal, timeout: PATIENCE };
    const x509 = await first(client.fetchX509SVID({}, options), x509SvidViews);
    const { svids } = await client.fetchJWTSVID({ audience: ["demo"] }, options);
    const { spiffeId = "", hint = "", svid = "" } = svids[0] ?? {};
    return { x509, jwt: { spiffeId, hint, svid } };
  });
}

async function untilEitherOver(programs: readonly RunningProgram[], signal: AbortSignal): Promise<void> {
  await Promise.race(programs.map((program) => untilOver(program, signal)));
}

function serverFlags(place: DevPlace, flags: DevFlags, webAddress: string): Readonly<Record<string, string>> {
  return {
    "trust-domain": flags.trustDomain,
    "data-dir": place.server.dataDir,
    "admin-socket": place.server.adminSocket,
    listen: "127.0.0.1:0",
    "web-listen": webAddress,
  };
}

function agentFlags(place: DevPlace, flags: DevFlags, api: HostPort): Readonly<Record<string, string>> {
  return {
    "trust-domain": flags.trustDomain,
    server: `${api.host}:${api.port}`,
    "trust-bundle": place.trustBundleFile,
    "join-token-file": place.joinTokenFile,
    "data-dir": place.agent.dataDir,
    socket: place.agent.socket,
    "admin-socket": place.agent.adminSocket,
  };
}

const PATIENCE = 30_000;
