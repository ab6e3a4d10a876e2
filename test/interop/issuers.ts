import { writeFile } from "node:fs/promises";
import { type EntryWanted, placeAgent, placeServer, startAgent, startServer } from "../e2e/harness.ts";
import { makeScratch, type Scratch } from "../e2e/scratch.ts";
import { createEntryBy, spireCli, type SpireServer, startSpireAgent, startSpireServer } from "./spire.ts";

/** A registration entry in words that both makes have. */
export interface WorkloadEntry extends Omit<EntryWanted, "flags"> {
  /** Seconds that X509-SVIDs live; the server's default where absent. */
  readonly x509SvidTtl?: number;
  /** Seconds that JWT-SVIDs live; the server's default where absent. */
  readonly jwtSvidTtl?: number;
  /** A foreign trust domain whose bundle is known already. */
  readonly federatesWith?: string;
}

/** A server of either make, as far as interop tests use it. */
export interface Server extends Omit<SpireServer, "program" | "createEntry"> {
  /** Creates an entry and gives its ID. */
  createEntry(entry: WorkloadEntry): Promise<string>;
  /** Sets the bundle of a foreign trust domain to that of a SPIFFE bundle document. */
  setBundle(trustDomain: string, document: string): Promise<void>;
  /** Deletes the bundle of a foreign trust domain and takes it from the entries that federate with it. */
  deleteBundle(trustDomain: string): Promise<void>;
}

/** A server with one agent that has attested, in a folder of their own. */
export interface Issuer extends AsyncDisposable {
  readonly scratch: Scratch;
  readonly server: Server;
  /** The IDs of the entries that it was started with, by their SPIFFE IDs. */
  readonly entryIds: ReadonlyMap<string, string>;
  /** What workloads put into `SPIFFE_ENDPOINT_SOCKET`. */
  readonly endpoint: string;
}

/**
 * Both makes run through the same tests: what SPIRE itself does not pass would be a test of our own opinion, not of
 * interoperability.
 */
export const MAKES = ["assay", "spire"] as const;
export type Make = (typeof MAKES)[number];

/**
 * Seconds that X509-SVIDs live in tests of rotation. SPIRE dates them back and renews at half of the whole, which would
 * be at once for a shorter life.
 */
export const SHORT_TTL: Readonly<Record<Make, number>> = { assay: 6, spire: 16 };

/** The alias of the agent, which entries take for their parent. */
export const NODE_ID = "spiffe://example.org/node";

/** Starts a server, writes `entries`, and starts an agent that attests with a join token for `NODE_ID`. */
export async function startIssuer(
  make: Make,
  spirePrograms: string,
  entries: readonly WorkloadEntry[],
): Promise<Issuer> {
  await using stack = new AsyncDisposableStack();
  const scratch = stack.use(await makeScratch());
  const server = stack.use(await startServerOf(make, spirePrograms, scratch));
  const entryIds = new Map<string, string>();
  for (const entry of entries) entryIds.set(entry.spiffeId, await server.createEntry(entry));
  const trustBundleFile = await server.trustBundleFile();
  const joinToken = await server.joinToken(NODE_ID);
  const agent = stack.use(
    make === "spire"
      ? await startSpireAgent(spirePrograms, scratch, {
          server: server.address,
          trustBundleFile,
          evidence: { joinToken },
        })
      : await startAgent(placeAgent(scratch), {
          server: server.address,
          trustBundleFile,
          joinTokenFile: await joinTokenFile(scratch, joinToken),
        }),
  );
  const kept = stack.move();
  return {
    scratch,
    server,
    entryIds,
    endpoint: agent.endpoint,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** Starts a server of either make; with a CA file it accepts the nodes of that CA by x509pop. */
export async function startServerOf(
  make: Make,
  spirePrograms: string,
  scratch: Scratch,
  x509popCaFile?: string,
): Promise<Server> {
  const flags = x509popCaFile === undefined ? {} : { x509popCaFile };
  const server =
    make === "spire"
      ? await startSpireServer(spirePrograms, scratch, flags)
      : await startAssay(scratch, flags);
  // The same command line tells both.
  const cli = spireCli(spirePrograms, server.adminSocket);
  return {
    ...server,
    createEntry: ({ x509SvidTtl, jwtSvidTtl, federatesWith, ...entry }) =>
      createEntryBy(cli, {
        ...entry,
        flags: [
          ...(x509SvidTtl === undefined ? [] : ["-x509SVIDTTL", String(x509SvidTtl)]),
          ...(jwtSvidTtl === undefined ? [] : ["-jwtSVIDTTL", String(jwtSvidTtl)]),
          ...(federatesWith === undefined ? [] : ["-federatesWith", `spiffe://${federatesWith}`]),
        ],
      }),
    async deleteEntry(id) {
      await cli.text("entry", "delete", "-entryID", id);
    },
    async setBundle(trustDomain, document) {
      const file = scratch.at(`bundle-of-${trustDomain}.json`);
      await writeFile(file, document);
      await cli.text("bundle", "set", "-id", `spiffe://${trustDomain}`, "-format", "spiffe", "-path", file);
    },
    async deleteBundle(trustDomain) {
      await cli.text("bundle", "delete", "-id", `spiffe://${trustDomain}`, "-mode", "dissociate");
    },
  };
}

async function startAssay(scratch: Scratch, { x509popCaFile }: { readonly x509popCaFile?: string }) {
  const flags = x509popCaFile === undefined ? [] : await x509popFlags(scratch, x509popCaFile);
  const server = await startServer(await placeServer(scratch), flags);
  return {
    address: server.place.address,
    adminSocket: server.place.adminSocket,
    trustBundleFile: () => server.trustBundleFile(),
    joinToken: async (alias: string) =>
      (await server.ask<{ token: string }>("token", "generate", "--ttl=10m", `--spiffe-id=${alias}`)).token,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** Writes a join token to a file that our agent reads. */
export async function joinTokenFile(scratch: Scratch, joinToken: string): Promise<string> {
  const path = scratch.at("join-token");
  await writeFile(path, joinToken, { mode: 0o600 });
  return path;
}

/** A configuration file with the one attestor that takes more than a flag. */
async function x509popFlags(scratch: Scratch, caFile: string): Promise<string[]> {
  const path = scratch.at("assay-server.yaml");
  const attestors = [{ type: "join_token" }, { type: "x509pop", config: { ca_bundle_path: caFile } }];
  // JSON is YAML.
  await writeFile(path, JSON.stringify({ node_attestors: attestors }));
  return [`--config=${path}`];
}
