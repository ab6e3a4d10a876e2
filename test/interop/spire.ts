import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type EntryWanted, TRUST_DOMAIN } from "../e2e/harness.ts";
import { output, type Outcome, Program, run } from "../e2e/program.ts";
import { freePorts, type Scratch } from "../e2e/scratch.ts";

/** The files of a node that proves itself by an X.509 certificate and its key. */
export interface X509popFiles {
  readonly caFile: string;
  readonly certificateFile: string;
  readonly keyFile: string;
}

/** A running, unmodified spire-server. */
export interface SpireServer extends AsyncDisposable {
  readonly program: Program;
  readonly address: string;
  readonly adminSocket: string;
  trustBundleFile(): Promise<string>;
  joinToken(alias: string): Promise<string>;
  createEntry(entry: EntryWanted): Promise<string>;
  deleteEntry(id: string): Promise<void>;
}

/** Starts spire-server from the folder of its programs and waits until it is healthy. */
export async function startSpireServer(
  programs: string,
  scratch: Scratch,
  options: {
    readonly name?: string;
    readonly x509popCaFile?: string;
    readonly trustDomain?: string;
    /** As in its configuration file. */
    readonly federation?: object;
    readonly env?: Readonly<Record<string, string>>;
    /** The server above it, and the Workload API where it gets its SVID of that one. */
    readonly above?: { readonly address: string; readonly endpoint: string };
  } = {},
): Promise<SpireServer> {
  const name = options.name ?? "spire-server";
  const [port = 0] = await freePorts(1);
  const adminSocket = scratch.at(`${name}.sock`);
  const config = scratch.at(`${name}.json`);
  await writeFile(
    config,
    JSON.stringify({
      server: {
        bind_address: "127.0.0.1",
        bind_port: String(port),
        socket_path: adminSocket,
        trust_domain: options.trustDomain ?? TRUST_DOMAIN,
        data_dir: scratch.at(name),
        ...(options.federation === undefined ? {} : { federation: options.federation }),
        ratelimit: { attestation: false, signing: false },
        // How soon it takes notice of changed entries: five seconds unless told.
        experimental: { cache_reload_interval: "1s" },
      },
      plugins: {
        DataStore: [
          plugin("sql", { database_type: "sqlite3", connection_string: scratch.at(`${name}.sqlite`) }),
        ],
        KeyManager: [plugin("memory", {})],
        NodeAttestor: [
          plugin("join_token", {}),
          ...(options.x509popCaFile === undefined
            ? []
            : [plugin("x509pop", { ca_bundle_path: options.x509popCaFile })]),
        ],
        ...(options.above === undefined
          ? {}
          : { UpstreamAuthority: [plugin("spire", aboveOf(options.above))] }),
      },
    }),
  );
  const binary = join(programs, "spire-server");
  const program = Program.start(name, binary, ["run", "-config", config], {
    env: options.env ?? {},
  });
  await healthy(program, binary, adminSocket);
  const cli = spireCli(programs, adminSocket);
  return {
    program,
    address: `127.0.0.1:${port}`,
    adminSocket,
    async trustBundleFile() {
      const path = scratch.at(`${name}-bundle.pem`);
      await writeFile(path, await cli.text("bundle", "show"));
      return path;
    },
    joinToken: async (alias) =>
      (await cli.json<{ value: string }>("token", "generate", "-spiffeID", alias)).value,
    createEntry: (entry) => createEntryBy(cli, entry),
    async deleteEntry(id) {
      await cli.text("entry", "delete", "-entryID", id);
    },
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}

/** The settings of the upstream authority `spire`, which both makes have. */
export function aboveOf({ address, endpoint }: { readonly address: string; readonly endpoint: string }) {
  const [host = "", port = ""] = address.split(":");
  return { server_address: host, server_port: port, workload_api_socket: endpoint.replace("unix://", "") };
}

/** The unmodified command line of spire-server, talking to an admin socket of whoever listens there. */
export interface SpireCli {
  /** Runs a command that must succeed; gives what it printed. */
  text(...args: readonly string[]): Promise<string>;
  /** Runs a command that must succeed with `-output json`; gives what it printed. */
  json<T>(...args: readonly string[]): Promise<T>;
  /** Runs a command that may fail. */
  try(...args: readonly string[]): Promise<Outcome>;
}

/** `entry create -output json`, as far as tests read it. */
interface CreatedEntries {
  readonly results: readonly { readonly entry: { readonly id: string } }[];
}

/** The command line of spire-server against an admin socket. Options go after the command's own words. */
export function spireCli(programs: string, adminSocket: string): SpireCli {
  const binary = join(programs, "spire-server");
  const at = (args: readonly string[], more: readonly string[] = []) => {
    const options = args.findIndex((arg) => arg.startsWith("-"));
    const words = options === -1 ? args.length : options;
    return [...args.slice(0, words), "-socketPath", adminSocket, ...more, ...args.slice(words)];
  };
  return {
    text: (...args) => output(binary, at(args)),
    json: async <T>(...args: readonly string[]) =>
      JSON.parse(await output(binary, at(args, ["-output", "json"]))) as T,
    try: (...args) => run(binary, at(args)),
  };
}

/** Creates an entry, with further flags of `entry create`, and gives its ID. */
export async function createEntryBy(
  cli: SpireCli,
  { parentId, spiffeId, selectors, flags = [] }: EntryWanted,
): Promise<string> {
  const created = await cli.json<CreatedEntries>(
    "entry",
    "create",
    "-parentID",
    parentId,
    "-spiffeID",
    spiffeId,
    ...selectors.flatMap((selector) => ["-selector", selector]),
    ...flags,
  );
  return created.results[0]?.entry.id ?? "";
}

/** A running, unmodified spire-agent. */
export interface SpireAgent extends AsyncDisposable {
  readonly program: Program;
  readonly endpoint: string;
}

/** How a spire-agent proves its node. */
export type SpireAgentEvidence = { readonly joinToken: string } | { readonly x509pop: X509popFiles };

/** Which server a spire-agent attests to, and how. */
export interface SpireAgentWanted {
  /** Of its files and socket; `spire-agent` unless told. */
  readonly name?: string;
  /** `host:port` of the server API. */
  readonly server: string;
  readonly trustBundleFile: string;
  readonly trustDomain?: string;
  readonly evidence: SpireAgentEvidence;
}

/** Starts spire-agent against a server of whatever make and waits until it is healthy. */
export async function startSpireAgent(
  programs: string,
  scratch: Scratch,
  wanted: SpireAgentWanted,
): Promise<SpireAgent> {
  const program = await launchSpireAgent(programs, scratch, wanted);
  const socket = socketOf(scratch, wanted);
  await healthy(program, join(programs, "spire-agent"), socket);
  return {
    program,
    endpoint: `unix://${socket}`,
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}

/** Starts spire-agent and leaves it to the caller how it fares. */
export async function launchSpireAgent(
  programs: string,
  scratch: Scratch,
  wanted: SpireAgentWanted,
): Promise<Program> {
  const name = wanted.name ?? "spire-agent";
  const config = scratch.at(`${name}.json`);
  const [host, port] = wanted.server.split(":");
  const { evidence } = wanted;
  await writeFile(
    config,
    JSON.stringify({
      agent: {
        data_dir: scratch.at(name),
        server_address: host,
        server_port: port,
        socket_path: socketOf(scratch, wanted),
        trust_bundle_path: wanted.trustBundleFile,
        trust_domain: wanted.trustDomain ?? TRUST_DOMAIN,
        // It asks its server for news each five seconds unless told.
        experimental: { sync_interval: "1s" },
        ...("joinToken" in evidence ? { join_token: evidence.joinToken } : {}),
      },
      plugins: {
        KeyManager: [plugin("memory", {})],
        WorkloadAttestor: [plugin("unix", {})],
        NodeAttestor: [
          "joinToken" in evidence
            ? plugin("join_token", {})
            : plugin("x509pop", {
                private_key_path: evidence.x509pop.keyFile,
                certificate_path: evidence.x509pop.certificateFile,
              }),
        ],
      },
    }),
  );
  return Program.start(name, join(programs, "spire-agent"), ["run", "-config", config]);
}

/** Makes a CA and a node certificate under it with OpenSSL: an issuer that is neither of the two under test. */
export async function makeX509popFiles(scratch: Scratch, name = "node"): Promise<X509popFiles> {
  const at = (suffix: string) => scratch.at(`x509pop-${name}-${suffix}`);
  const caFile = at("ca.pem");
  const openssl = (line: string) => output("openssl", line.split(" "));
  await openssl(
    `req -x509 ${NEW_KEY} -keyout ${at("ca.key")} -out ${caFile} -days 2 -subj /CN=${name}-ca -addext keyUsage=critical,keyCertSign`,
  );
  const certificateFile = at("node.pem");
  const keyFile = at("node.key");
  await openssl(
    `req -x509 ${NEW_KEY} -keyout ${keyFile} -out ${certificateFile} -CA ${caFile} -CAkey ${at("ca.key")} -days 1 -subj /CN=${name} -addext basicConstraints=critical,CA:FALSE -addext keyUsage=critical,digitalSignature`,
  );
  return { caFile, certificateFile, keyFile };
}

function socketOf(scratch: Scratch, { name = "spire-agent" }: SpireAgentWanted): string {
  return scratch.at(`${name}.sock`);
}

/** Asks for its health until it is well; one that ends first is an error that holds what it said. */
async function healthy(program: Program, binary: string, socket: string): Promise<void> {
  const deadline = performance.now() + 60_000;
  let ended = false;
  program.ended.finally(() => (ended = true)).catch(() => {});
  for (;;) {
    const { code } = await run(binary, ["healthcheck", "-socketPath", socket]);
    if (code === 0) return;
    if (ended || performance.now() > deadline) {
      await program.stop();
      throw new Error(`${binary} did not become healthy:\n${program.lines.join("\n")}`);
    }
  }
}

function plugin(name: string, data: Readonly<Record<string, string>>) {
  return { [name]: [{ plugin_data: [data] }] };
}

const NEW_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
