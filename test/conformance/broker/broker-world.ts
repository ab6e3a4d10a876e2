import { type ChildProcess, spawn } from "node:child_process";
import { createPrivateKey } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BrokerClient, type BrokerIdentity, pidReference } from "../../fakes/broker-client.ts";
import { FakeKubernetesApi } from "../../fakes/kubernetes-api.ts";
import { eventually, firstOf, makeWorld, SECURED, type World } from "../world.ts";

/** The methods of the Broker API. */
export const RPCS = [
  "subscribeToX509SVID",
  "subscribeToX509Bundles",
  "fetchJWTSVID",
  "subscribeToJWTBundles",
] as const;
export type Rpc = (typeof RPCS)[number];

/** A world whose agent has a Broker Endpoint, with a broker, two workloads and a cluster. */
export interface BrokerWorld extends AsyncDisposable {
  readonly world: World;
  readonly cluster: FakeKubernetesApi;
  readonly socket: string;
  readonly port: number;
  /** The broker: it may name processes over the Unix socket, and objects over both. */
  readonly broker: BrokerIdentity;
  /** A workload with an SVID that is on no list. */
  readonly stranger: BrokerIdentity;
  /** A client of the Unix socket as the broker. */
  client(who?: BrokerIdentity): Promise<BrokerClient>;
  /** A client over TCP as the broker. */
  remote(): Promise<BrokerClient>;
  /** Starts a process of the program that has the identity `/workload`, and perhaps others. */
  startWorkload(): Promise<ChildProcess & { readonly pid: number }>;
  /** A complete request about a process. */
  about(rpc: Rpc, pid: number): object;
}

/** Makes the world. The broker's SPIFFE ID is `/broker`. */
export async function makeBrokerWorld(): Promise<BrokerWorld> {
  await using stack = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), "broker-"));
  stack.defer(() => rmSync(folder, { recursive: true, force: true }));
  const cluster = stack.use(await FakeKubernetesApi.start());
  const socket = join(folder, "b.sock");
  const port = await freePort();
  const world = stack.use(await makeWorld({ agentConfig: agentConfig(cluster, socket, port) }));
  await world.createEntry({ path: "/broker" });
  await world.createEntry({ path: "/stranger" });
  await world.createEntry({ path: "/workload", selectors: world.otherSelectors });
  const broker = await identity(world, "/broker");
  const stranger = await identity(world, "/stranger");
  const connect = async (target: { path: string } | { port: number }, who: BrokerIdentity) =>
    stack.use(await BrokerClient.connect(target, who));
  const startWorkload = async () => {
    const child = spawn(world.scratch.at("other-program"), ["-e", "setInterval(() => {}, 1e6)"]);
    await once(child, "spawn");
    owned.defer(() => void child.kill("SIGKILL"));
    return child as ChildProcess & { readonly pid: number };
  };
  // The agent hears of entries within moments.
  const probe = await connect({ path: socket }, broker);
  const first = spawn(world.scratch.at("other-program"), ["-e", "setInterval(() => {}, 1e6)"]);
  await once(first, "spawn");
  await eventually(
    () => probe.first("subscribeToX509SVID", { reference: pidReference(first.pid ?? 0) }),
    ({ message }) => message !== undefined,
  );
  first.kill("SIGKILL");
  const owned = stack.move();
  return {
    world,
    cluster,
    socket,
    port,
    broker,
    stranger,
    client: async (who = broker) => owned.use(await BrokerClient.connect({ path: socket }, who)),
    remote: async () => owned.use(await BrokerClient.connect({ port }, broker)),
    startWorkload,
    about: (rpc, pid) => ({
      reference: pidReference(pid),
      ...(rpc === "fetchJWTSVID" ? { audience: ["somebody"] } : {}),
    }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function identity(world: World, path: string): Promise<BrokerIdentity> {
  const id = `spiffe://${world.trustDomain}${path}`;
  const svid = await eventually(async () => {
    const { svids } = await firstOf(world.api.fetchX509SVID({}, SECURED));
    return svids.find(({ spiffeId }) => spiffeId === id);
  });
  if (svid === undefined) throw new Error(`there is no SVID of ${id}`);
  const key = createPrivateKey({ key: Buffer.from(svid.x509SvidKey), format: "der", type: "pkcs8" });
  return { chain: [svid.x509Svid], key };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}

/** Goes on where the world's list of workload attestors ends. */
function agentConfig(cluster: FakeKubernetesApi, socket: string, port: number): string {
  return `  - type: kubernetes_object
    config:
      api_server: ${cluster.url}
      token_file: ${cluster.tokenFile}
      ca_file: ${cluster.caFile}
      node_name: node-1
features: [broker]
broker:
  addresses: ["unix://${socket}", "tcp://localhost:${port}"]
  brokers:
    - id: spiffe://example.org/broker
      references:
        - type: workload_pid
        - { type: kubernetes_object, allow_over_tcp: true }
`;
}
