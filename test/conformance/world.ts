import { copyFile, link, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Entry as EntryService } from "../../src/proto/gen/spire/api/server/entry/v1/entry_pb.ts";
import { SpiffeWorkloadAPI } from "../../src/proto/gen/spiffe/workload/workload_pb.ts";
import type { RpcClient, ServiceClient } from "../../src/rpc/client.ts";
import { adminClient, type EntryInit } from "../e2e/admin-rpc.ts";
import {
  type AgentPlace,
  type AssayAgent,
  type AssayServer,
  placeAgent,
  placeServer,
  startAgent,
  startServer,
  TRUST_DOMAIN,
} from "../e2e/harness.ts";
import { output } from "../e2e/program.ts";
import { makeScratch, type Scratch } from "../e2e/scratch.ts";
import { SECURITY_HEADER, workloadClient } from "../e2e/workload.ts";
import { RawGrpc, type RawAnswer } from "./raw-grpc.ts";

/** How a world differs from the usual one. */
export interface WorldOptions {
  readonly trustDomain?: string;
  readonly serverFlags?: readonly string[];
  readonly agentFlags?: readonly string[];
  /** More lines of the agent's YAML file, which holds its workload attestors and nothing else. */
  readonly agentConfig?: string;
  readonly serverConfig?: string;
}

/** A registration entry for a workload of the world. */
export interface WorldEntry extends Omit<Partial<EntryInit>, "selectors" | "spiffeId"> {
  readonly path: string;
  /** Of its SPIFFE ID; the world's unless told. */
  readonly trustDomain?: string;
  /** Whom it is for; this very process unless told. */
  readonly selectors?: readonly string[];
}

/** A running `assay server` and `assay agent`, and callers of several kinds; made once for a file of tests. */
export interface World extends AsyncDisposable {
  readonly trustDomain: string;
  readonly scratch: Scratch;
  readonly server: AssayServer;
  readonly agent: AssayAgent;
  readonly agentPlace: AgentPlace;
  /** The server's admin socket. */
  readonly admin: RpcClient;
  /** The Workload Endpoint, by the client that our own programs use. */
  readonly workload: RpcClient;
  /** The Workload API on it. Each call takes {@link SECURED} as its options. */
  readonly api: ServiceClient<typeof SpiffeWorkloadAPI>;
  /** A client of the Workload Endpoint that sends what it is told. */
  raw(): RawGrpc;
  /** Creates an entry and gives its id. It reaches the agent within moments, not at once. */
  createEntry(entry: WorldEntry): Promise<string>;
  deleteEntry(...ids: readonly string[]): Promise<void>;
  /** Selectors of {@link asOther}'s process, where it shall have an identity. */
  readonly otherSelectors: readonly string[];
  /** Makes one call as another process, which runs another program and so has none of this process's entries. */
  asOther(method: string, message?: Uint8Array): Promise<RawAnswer>;
}

/** Options of a call of the Workload API: the security header. */
export const SECURED = { headers: SECURITY_HEADER } as const;

/** Starts a world. The agent is the node `/node`; whoever gets an entry is found by user and program. */
export async function makeWorld(options: WorldOptions = {}): Promise<World> {
  await using stack = new AsyncDisposableStack();
  const { trustDomain = TRUST_DOMAIN } = options;
  const scratch = stack.use(await makeScratch());
  const domainFlags = trustDomain === TRUST_DOMAIN ? [] : [`--trust-domain=${trustDomain}`];
  const server = stack.use(
    await startServer(await placeServer(scratch), [
      ...(await configFlag(scratch, "server", options.serverConfig)),
      ...domainFlags,
      ...(options.serverFlags ?? []),
    ]),
  );
  const agentPlace = placeAgent(scratch);
  const agent = stack.use(
    await startAgent(agentPlace, {
      server: server.place.address,
      trustBundleFile: await server.trustBundleFile(),
      joinTokenFile: await server.joinTokenFile(`spiffe://${trustDomain}/node`),
      flags: [
        ...(await configFlag(scratch, "agent", `${ATTESTORS}${options.agentConfig ?? ""}`)),
        ...domainFlags,
        ...(options.agentFlags ?? []),
      ],
    }),
  );
  const admin = stack.use(adminClient(server.place));
  const workload = stack.use(workloadClient(agentPlace.socket));
  const otherProgram = scratch.at("other-program");
  await link(process.execPath, otherProgram).catch(() => copyFile(process.execPath, otherProgram));
  const entries = admin.service(EntryService);
  const owned = stack.move();
  return {
    trustDomain,
    scratch,
    server,
    agent,
    agentPlace,
    admin,
    workload,
    api: workload.service(SpiffeWorkloadAPI),
    raw: () => new RawGrpc(agentPlace.socket),
    async createEntry({ path, trustDomain: named = trustDomain, selectors = OWN_SELECTORS, ...more }) {
      const { results } = await entries.batchCreateEntry({
        entries: [
          {
            spiffeId: { trustDomain: named, path },
            parentId: { trustDomain, path: "/node" },
            selectors: selectors.map(selectorInit),
            ...more,
          },
        ],
      });
      const [{ status, entry } = {}] = results;
      if (status?.code !== 0) throw new Error(`entry ${path}: ${status?.message ?? "no answer"}`);
      return entry?.id ?? "";
    },
    async deleteEntry(...ids) {
      await entries.batchDeleteEntry({ ids: [...ids] });
    },
    otherSelectors: [`unix:path:${otherProgram}`],
    async asOther(method, message = new Uint8Array()) {
      const text = await output(otherProgram, [
        "--disable-warning=ExperimentalWarning",
        join(import.meta.dirname, "caller.ts"),
        agentPlace.socket,
        `/SpiffeWorkloadAPI/${method}`,
        Buffer.from(message).toString("base64"),
      ]);
      const answer = JSON.parse(text) as Omit<RawAnswer, "messages"> & {
        readonly messages: readonly string[];
      };
      return { ...answer, messages: answer.messages.map((base64) => Buffer.from(base64, "base64")) };
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/**
 * Asks again, every 20 ms for up to twenty seconds, until what is seen passes, and gives that; for what reaches the agent by a
 * way that tells nobody.
 */
export async function eventually<T>(
  ask: () => Promise<T>,
  passes: (value: T) => boolean = Boolean,
): Promise<T> {
  const deadline = performance.now() + 20_000;
  for (;;) {
    let seen: unknown;
    try {
      const value = await ask();
      if (passes(value)) return value;
      seen = value;
    } catch (error) {
      seen = error;
    }
    if (performance.now() > deadline) {
      throw new Error("it did not come to that within twenty seconds", { cause: seen });
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** The first message of a stream, which is then left. */
export async function firstOf<T>(stream: AsyncGenerator<T, void, undefined>): Promise<T> {
  const { value, done } = await stream.next();
  await stream.return();
  if (done === true) throw new Error("the stream ended with OK, which it never may");
  return value;
}

async function configFlag(scratch: Scratch, name: string, text = ""): Promise<readonly string[]> {
  if (text === "") return [];
  const path = scratch.at(`${name}.yaml`);
  await writeFile(path, text);
  return [`--config=${path}`];
}

function selectorInit(text: string) {
  const colon = text.indexOf(":");
  return { type: text.slice(0, colon), value: text.slice(colon + 1) };
}

/** Selectors that describe the process of the tests. */
export const OWN_SELECTORS: readonly string[] = [
  `unix:uid:${process.getuid?.() ?? 0}`,
  `unix:path:${process.execPath}`,
];

/** Programs are told apart by their path; hashing a Node of 100 MB for every caller would help nobody. */
const ATTESTORS = `workload_attestors:
  - type: unix
    config: { discover_workload_path: true, workload_size_limit: -1 }
`;
