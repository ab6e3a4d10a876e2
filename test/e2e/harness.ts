import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { output, type Outcome, Program, run, type RunOptions } from "./program.ts";
import { freePorts, type Scratch } from "./scratch.ts";

/** The trust domain of every server that tests start. */
export const TRUST_DOMAIN = "example.org";

/** Runs an `assay` command to its end. */
export function assay(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return run(process.execPath, [...PROGRAM, ...args], options);
}

/** Runs an `assay` command that must succeed with `--output json`, and gives what it printed. */
export async function assayJson<T>(args: readonly string[], options: RunOptions = {}): Promise<T> {
  return JSON.parse(await output(process.execPath, [...PROGRAM, ...args, "--output", "json"], options)) as T;
}

/** What a registration entry is created from. */
export interface EntryWanted {
  readonly parentId: string;
  readonly spiffeId: string;
  /** Each as `type:value`. */
  readonly selectors: readonly string[];
  /** Further flags of `assay entry create`. */
  readonly flags?: readonly string[];
}

/** A running `assay server`. */
export interface AssayServer extends AsyncDisposable {
  readonly program: Program;
  readonly place: ServerPlace;
  /** Runs a command against the admin socket; it must succeed. Gives its JSON. */
  ask<T>(...args: readonly string[]): Promise<T>;
  /** Writes the trust bundle as PEM, as an agent wants it, and gives the file's path. */
  trustBundleFile(): Promise<string>;
  /** Makes a join token and gives the file it is in; with an ID, the agent that uses it gets that alias. */
  joinTokenFile(alias?: string): Promise<string>;
  /** Creates an entry and gives its ID. */
  createEntry(entry: EntryWanted): Promise<string>;
}

/** Where a server listens and keeps its data: a second start in the same place is a restart. */
export interface ServerPlace {
  readonly scratch: Scratch;
  readonly name: string;
  readonly address: string;
  readonly webAddress: string;
  readonly adminSocket: string;
  readonly dataDir: string;
}

/** Picks free ports and paths for a server in a folder. */
export async function placeServer(scratch: Scratch, name = "server"): Promise<ServerPlace> {
  const [port = 0, webPort = 0] = await freePorts(2);
  return {
    scratch,
    name,
    address: `127.0.0.1:${port}`,
    webAddress: `127.0.0.1:${webPort}`,
    adminSocket: scratch.at(`${name}.sock`),
    dataDir: scratch.at(name),
  };
}

/** Starts a server and waits until it says that it is ready. */
export async function startServer(
  place: ServerPlace,
  flags: readonly string[] = [],
  options: RunOptions = {},
): Promise<AssayServer> {
  const args = [
    ...PROGRAM,
    "server",
    `--trust-domain=${TRUST_DOMAIN}`,
    `--data-dir=${place.dataDir}`,
    `--listen=${place.address}`,
    `--web-listen=${place.webAddress}`,
    `--admin-socket=${place.adminSocket}`,
    ...flags,
  ];
  const program = Program.start(place.name, process.execPath, args, options);
  await ready(program);
  let files = 0;
  const ask = <T>(...args: readonly string[]) =>
    assayJson<T>([...args, `--admin-socket=${place.adminSocket}`]);
  const file = async (kind: string, text: string) => {
    const path = place.scratch.at(`${place.name}-${kind}-${++files}`);
    await writeFile(path, text, { mode: 0o600 });
    return path;
  };
  return {
    program,
    place,
    ask,
    async trustBundleFile() {
      const show = ["bundle", "show", "--format=pem", `--admin-socket=${place.adminSocket}`];
      return file("bundle.pem", await output(process.execPath, [...PROGRAM, ...show]));
    },
    async joinTokenFile(alias) {
      const named = alias === undefined ? [] : [`--spiffe-id=${alias}`];
      const { token } = await ask<{ token: string }>("token", "generate", "--ttl=10m", ...named);
      return file("join-token", token);
    },
    async createEntry({ parentId, spiffeId, selectors, flags: more = [] }) {
      const { id } = await ask<{ id: string }>(
        "entry",
        "create",
        `--parent-id=${parentId}`,
        `--spiffe-id=${spiffeId}`,
        ...selectors.map((selector) => `--selector=${selector}`),
        ...more,
      );
      return id;
    },
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}

/** A running `assay agent`. */
export interface AssayAgent extends AsyncDisposable {
  readonly program: Program;
  readonly place: AgentPlace;
  /** What workloads put into `SPIFFE_ENDPOINT_SOCKET`. */
  readonly endpoint: string;
}

/** Where an agent serves and keeps its data: a second start in the same place is a restart. */
export interface AgentPlace {
  readonly name: string;
  readonly socket: string;
  readonly adminSocket: string;
  readonly dataDir: string;
}

/** Picks paths for an agent in a folder. */
export function placeAgent(scratch: Scratch, name = "agent"): AgentPlace {
  return {
    name,
    socket: scratch.at(`${name}.sock`),
    adminSocket: scratch.at(`${name}-admin.sock`),
    dataDir: scratch.at(name),
  };
}

/** Which server an agent attests to, and how. */
export interface AgentWanted {
  /** `host:port` of the server API. */
  readonly server: string;
  readonly trustBundleFile: string;
  /** Absent on a restart, and where the flags name another attestor. */
  readonly joinTokenFile?: string;
  readonly flags?: readonly string[];
}

/** Starts an agent and waits until it says that it is ready. */
export async function startAgent(place: AgentPlace, wanted: AgentWanted): Promise<AssayAgent> {
  const program = Program.start(place.name, process.execPath, [
    ...PROGRAM,
    "agent",
    `--trust-domain=${TRUST_DOMAIN}`,
    `--server=${wanted.server}`,
    `--trust-bundle=${wanted.trustBundleFile}`,
    ...(wanted.joinTokenFile === undefined ? [] : [`--join-token-file=${wanted.joinTokenFile}`]),
    `--data-dir=${place.dataDir}`,
    `--socket=${place.socket}`,
    `--admin-socket=${place.adminSocket}`,
    ...(wanted.flags ?? []),
  ]);
  await ready(program);
  return {
    program,
    place,
    endpoint: `unix://${place.socket}`,
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}

/** Waits for the one line `ready` of a server or agent, as JSON or as text; one that ends first is an error. */
async function ready(program: Program): Promise<void> {
  try {
    await program.line((line) => /"msg":"ready"|\bready\s*$|\bready\s+\w+=/.test(line), {
      patience: READY_PATIENCE,
    });
  } catch (error) {
    await program.stop();
    throw error;
  }
}

// Milliseconds. A program that cannot start ends, and is not waited for any longer; a slow machine is.
const READY_PATIENCE = 120_000;
/** The program as it stands in the checkout: Node runs the source itself, so no build can be older than a test. */
const PROGRAM = [
  "--disable-warning=ExperimentalWarning",
  join(import.meta.dirname, "..", "..", "src", "main.ts"),
] as const;
