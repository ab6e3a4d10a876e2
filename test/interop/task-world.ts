import { chmod, readFile, writeFile } from "node:fs/promises";
import { connect, type TLSSocket } from "node:tls";
import { join } from "node:path";
import { systemClock } from "../../src/clock.ts";
import { makeMockKeys, findMockPlace, writeMockFacts } from "../../src/cli/ci-mock-place.ts";
import {
  demonstrationSelector,
  mockInstance,
  mockIssuer,
  mockPlatform,
} from "../../src/cli/ci-mock-platforms.ts";
import { beginMockRun } from "../../src/cli/ci-mock-tokens.ts";
import {
  type AssayAgent,
  type AssayServer,
  placeAgent,
  placeServer,
  startAgent,
  startServer,
} from "../e2e/harness.ts";
import { Program, type RunOptions } from "../e2e/program.ts";
import type { Scratch } from "../e2e/scratch.ts";

/** The parent of entries for jobs of the imitated GitHub. */
export const GITHUB_TASKS = `spiffe://example.org/spire/task/${mockInstance(mockPlatform("github"))}`;

/** Whose jobs the entries are for: the owner in the imitation's claims. */
export const GITHUB_OWNER = demonstrationSelector(mockPlatform("github"));

/** What Node is told so that it is the `assay` of this source. */
export const ASSAY = [
  "--disable-warning=ExperimentalWarning",
  join(import.meta.dirname, "..", "..", "src", "main.ts"),
] as const;

/** The alias of the agent. */
const NODE_ID = "spiffe://example.org/node";

/** A server that believes an imitated GitHub, and an agent, each a process of its own. */
export interface TaskWorld extends AsyncDisposable {
  readonly server: AssayServer;
  readonly agent: AssayAgent;
  readonly issuer: string;
  /** File of the trust bundle. */
  readonly caFile: string;
  /** What `assay ci-mock --dev` takes. */
  readonly folder: string;
  /** A new token of one run of the imitated GitHub, each time another. */
  run(): Promise<{ readonly runId: string; token(audience: string): string }>;
}

/** Starts one; `config` is put into the server's configuration. */
export async function startTaskWorld(scratch: Scratch, config: object): Promise<TaskWorld> {
  await using stack = new AsyncDisposableStack();
  const place = await placeServer(scratch);
  const issuer = place.webAddress.replace("127.0.0.1", "https://localhost");
  const folder = scratch.at("imitation");
  const keysFile = await makeMockKeys(folder);
  const github = mockPlatform("github");
  const configFile = scratch.at("server.yaml");
  const attestor = {
    preset: github.preset,
    issuer: mockIssuer(github),
    jwks_file: keysFile,
    imitation: true,
  };
  const taskAttestors = [{ name: mockInstance(github), config: attestor }];
  // JSON is YAML.
  await writeFile(configFile, JSON.stringify({ task_attestors: taskAttestors, ...config }));
  const server = stack.use(await startServer(place, [`--config=${configFile}`, `--jwt-issuer=${issuer}`]));
  const caFile = await server.trustBundleFile();
  await writeMockFacts(folder, { server: issuer, trustBundle: caFile, adminSocket: place.adminSocket });
  await server.createEntry({
    parentId: NODE_ID,
    spiffeId: "spiffe://example.org/service",
    selectors: [`unix:uid:${process.geteuid?.() ?? 0}`],
  });
  const agent = stack.use(
    await startAgent(placeAgent(scratch), {
      server: place.address,
      trustBundleFile: caFile,
      joinTokenFile: await server.joinTokenFile(NODE_ID),
    }),
  );
  const kept = stack.move();
  return {
    server,
    agent,
    issuer,
    caFile,
    folder,
    async run() {
      const { claims, token } = beginMockRun(github, await findMockPlace(folder), [], systemClock);
      return { runId: String(claims["run_id"]), token };
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** Starts `assay dev` in a folder and waits until both of it are there. */
export async function startDev(folder: string): Promise<Program> {
  const program = startAssay("dev", ["dev", `--data-dir=${folder}`]);
  try {
    await program.line((line) => line.startsWith("Ctrl-C ends it"), { patience: 60_000 });
    return program;
  } catch (error) {
    await program.stop();
    throw error;
  }
}

/** Starts an `assay` command that goes on. */
export function startAssay(name: string, args: readonly string[], options?: RunOptions): Program {
  return Program.start(name, process.execPath, [...ASSAY, ...args], options);
}

/** A folder with a program `assay` in it, for what looks for one in `PATH`. */
export async function placeAssay(scratch: Scratch): Promise<string> {
  const path = scratch.at("assay");
  const words = [process.execPath, ...ASSAY].map((word) => `'${word}'`).join(" ");
  await writeFile(path, `#!/bin/sh\nexec ${words} "$@"\n`);
  await chmod(path, 0o755);
  return scratch.path;
}

/** An X509-SVID that a job has saved: somebody who has it can show it until it is refused. */
export interface SavedSvid {
  readonly cert: string;
  readonly key: string;
}

/** Reads one from a folder as `assay task run --write-files` fills it. */
export async function readSavedSvid(folder: string): Promise<SavedSvid> {
  const [cert, key] = await Promise.all(
    ["svid.pem", "key.pem"].map((name) => readFile(join(folder, name), "utf8")),
  );
  return { cert: cert ?? "", key: key ?? "" };
}

/** Opens a connection with it and gives the greeting, or `undefined` where the service turns it away. */
export async function greet(
  port: number,
  svid: SavedSvid,
): Promise<{ readonly greeting: string; readonly socket: TLSSocket } | undefined> {
  const socket = connect({ host: "127.0.0.1", port, ...svid, rejectUnauthorized: false });
  const { promise, resolve } = Promise.withResolvers<string | undefined>();
  socket.once("data", (data: Buffer) => resolve(data.toString("utf8").trim()));
  socket.once("error", () => resolve(undefined));
  socket.once("close", () => resolve(undefined));
  const greeting = await promise;
  if (greeting === undefined) {
    socket.destroy();
    return undefined;
  }
  socket.on("error", () => {});
  return { greeting, socket };
}
