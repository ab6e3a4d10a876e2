import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type AssayServer, placeAgent, placeServer, startAgent, startServer } from "../e2e/harness.ts";
import { Program, run } from "../e2e/program.ts";
import { makeScratch, type Scratch } from "../e2e/scratch.ts";
import { type Make, MAKES } from "./issuers.ts";
import { BUILD_PATIENCE, buildPeer, describeWith, placeForAll } from "./peers.ts";
import { createEntryBy, spireCli } from "./spire.ts";

const DELEGATE = { id: "spiffe://example.org/delegate", uid: 0 };
const BROKER = { id: "spiffe://example.org/broker", uid: 61041 };
const STRANGER = { id: "spiffe://example.org/stranger", uid: 61042 };
const WORKLOAD = { id: "spiffe://example.org/workload", uid: 61043 };
const PARENT: Readonly<Record<Make, string>> = {
  assay: "spiffe://example.org/assay-node",
  spire: "spiffe://example.org/spire-node",
};

/** What the probe says about a workload: SPIRE's and go-spiffe's own types have read it. */
interface Told {
  readonly event: string;
  readonly identities?: readonly string[];
  readonly subjects?: readonly string[];
  readonly x509Bundles?: readonly string[];
  readonly jwtBundles?: readonly string[];
  readonly code?: string;
  readonly reason?: string;
  readonly domain?: string;
  readonly message?: string;
}

/** Where an agent of either make is. */
interface Agent {
  readonly endpoint: string;
  readonly adminSocket: string;
}

// Both makes answer the same probe under the same server: what differs between them is named where it does.
describeWith(["go", "root"], "delegates and brokers that use SPIRE's and go-spiffe's own code", () => {
  const stack = new AsyncDisposableStack();
  const agents = {} as Record<Make, Agent>;
  let scratch: Scratch;
  let probe: string;
  let workload: ChildProcess;

  beforeAll(async () => {
    const spire = await buildPeer("spire");
    scratch = stack.use(await makeScratch());
    probe = await placeForAll(join(await buildPeer("go-client"), "spiffe-probe"), scratch);
    const server = stack.use(await startServer(await placeServer(scratch)));
    const cli = spireCli(spire, server.place.adminSocket);
    for (const make of MAKES) {
      for (const { id: spiffeId, uid } of [DELEGATE, BROKER, STRANGER, WORKLOAD]) {
        await createEntryBy(cli, { parentId: PARENT[make], spiffeId, selectors: [`unix:uid:${uid}`] });
      }
    }
    agents.assay = await startAssayAgent(server);
    agents.spire = await startSpireAgent(spire, server);
    workload = spawn("sleep", ["600"], { uid: WORKLOAD.uid, gid: WORKLOAD.uid, cwd: "/" });
    await once(workload, "spawn");
    stack.defer(() => void workload.kill("SIGKILL"));
    for (const make of MAKES) {
      await until(async () => (await asked(make, BROKER, "x509")).event !== "error");
      await until(async () => (await delegated(make)).identities?.length === 1);
    }
  }, BUILD_PATIENCE);

  afterAll(() => stack.disposeAsync());

  const delegated = (make: Make, ...named: readonly string[]) =>
    asked(
      make,
      DELEGATE,
      "delegate",
      agents[make].adminSocket,
      ...(named.length === 0 ? ["pid", String(workload.pid)] : named),
    );
  const brokered = (pid: string, who = BROKER) =>
    asked("assay", who, "broker", `unix:${scratch.at("assay-broker.sock")}`, pid);

  it.each(MAKES)("a delegate gets all there is about a process, from %s", async (make) => {
    expect(await delegated(make)).toEqual({
      event: "told",
      identities: [WORKLOAD.id],
      subjects: [WORKLOAD.id],
      x509Bundles: ["spiffe://example.org"],
      jwtBundles: ["spiffe://example.org"],
    });
  });

  it.each(MAKES)("a delegate gets all there is about what it describes, from %s", async (make) => {
    const told = await delegated(make, `unix:uid:${WORKLOAD.uid}`);
    expect(told).toMatchObject({ identities: [WORKLOAD.id], subjects: [WORKLOAD.id] });
    expect(await delegated(make, "unix:uid:1")).toEqual({ event: "told", identities: [] });
  });

  it.each(MAKES)("a delegate that names nothing, or twice, is refused by %s", async (make) => {
    expect(await delegated(make, "pid", "0")).toMatchObject({ event: "error", code: "InvalidArgument" });
  });

  it("a delegate may be another user than the agent, and whoever is none is denied", async () => {
    const ask = (who: { readonly uid: number }) =>
      asked("assay", who, "delegate", agents.assay.adminSocket, `unix:uid:${WORKLOAD.uid}`);
    expect(await ask(BROKER)).toMatchObject({ event: "told", identities: [WORKLOAD.id] });
    expect(await ask(STRANGER)).toMatchObject({
      event: "error",
      code: "PermissionDenied",
      message: expect.stringContaining("caller not configured as an authorized delegate") as string,
    });
  });

  // SPIRE's own Broker Endpoint resolves references by its Kubernetes attestor only, so it cannot be asked here.
  it("a broker gets all there is about a process", async () => {
    expect(await brokered(String(workload.pid))).toMatchObject({
      event: "told",
      identities: [WORKLOAD.id],
      subjects: [WORKLOAD.id],
      x509Bundles: ["spiffe://example.org"],
      jwtBundles: ["spiffe://example.org"],
    });
  });

  it("a broker is told in the standard's words what is wrong", async () => {
    const reason = async (pid: string) => {
      const { code, reason: why, domain } = await brokered(pid);
      return [code, why, domain];
    };
    expect(await reason("0")).toEqual(["InvalidArgument", "WORKLOAD_REFERENCE_INVALID", "spiffe.io"]);
    expect(await reason("2147483647")).toEqual(["NotFound", "WORKLOAD_NOT_FOUND", "spiffe.io"]);
    const nobody = spawn("sleep", ["600"], { uid: 61049, gid: 61049, cwd: "/" });
    await once(nobody, "spawn");
    expect(await reason(String(nobody.pid))).toEqual([
      "PermissionDenied",
      "WORKLOAD_NOT_ENTITLED",
      "spiffe.io",
    ]);
    nobody.kill("SIGKILL");
  });

  it("a workload that is no broker gets nothing", async () => {
    expect(await brokered(String(workload.pid), STRANGER)).toMatchObject({ code: "PermissionDenied" });
  });

  async function asked(make: Make, who: { readonly uid: number }, ...args: readonly string[]): Promise<Told> {
    const { stdout } = await run(probe, [...args], {
      uid: who.uid,
      gid: who.uid,
      cwd: "/",
      env: { SPIFFE_ENDPOINT_SOCKET: agents[make].endpoint },
    });
    return JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as Told;
  }

  async function startAssayAgent(server: AssayServer): Promise<Agent> {
    const place = placeAgent(scratch);
    const config = scratch.at("assay-agent.yaml");
    await writeFile(
      config,
      `admin_socket_mode: "0666"
authorized_delegates: [${DELEGATE.id}, ${BROKER.id}]
features: [broker]
broker:
  addresses: ["unix://${scratch.at("assay-broker.sock")}"]
  socket_mode: "0666"
  brokers: [{ id: ${BROKER.id}, references: [{ type: workload_pid }] }]
`,
    );
    const agent = stack.use(
      await startAgent(place, {
        server: server.place.address,
        trustBundleFile: await server.trustBundleFile(),
        joinTokenFile: await server.joinTokenFile(PARENT.assay),
        flags: [`--config=${config}`],
      }),
    );
    return { endpoint: agent.endpoint, adminSocket: place.adminSocket };
  }

  async function startSpireAgent(programs: string, server: AssayServer): Promise<Agent> {
    // It wants a folder for each.
    const folders = {
      public: scratch.at("spire-public"),
      admin: scratch.at("spire-admin"),
    };
    for (const folder of Object.values(folders)) await mkdir(folder, { mode: 0o755 });
    const socket = join(folders.public, "agent.sock");
    const adminSocket = join(folders.admin, "admin.sock");
    const tokenFile = await server.joinTokenFile(PARENT.spire);
    const { stdout: token } = await run("cat", [tokenFile]);
    const config = scratch.at("spire-agent.conf");
    const [host = "", port = ""] = server.place.address.split(":");
    await writeFile(
      config,
      `agent {
  data_dir = "${scratch.at("spire-agent")}"
  server_address = "${host}"
  server_port = ${port}
  socket_path = "${socket}"
  admin_socket_path = "${adminSocket}"
  authorized_delegates = ["${DELEGATE.id}"]
  trust_bundle_path = "${await server.trustBundleFile()}"
  trust_domain = "example.org"
  join_token = "${token.trim()}"
  experimental { sync_interval = "1s" }
}
plugins {
  KeyManager "memory" { plugin_data {} }
  WorkloadAttestor "unix" { plugin_data {} }
  NodeAttestor "join_token" { plugin_data {} }
}
`,
    );
    const binary = join(programs, "spire-agent");
    const program = stack.use(Program.start("spire-agent", binary, ["run", "-config", config]));
    await until(async () => (await run(binary, ["healthcheck", "-socketPath", socket])).code === 0, program);
    return { endpoint: `unix://${socket}`, adminSocket };
  }
});

/** Asks again until it is so; a program that should make it so is quoted where it does not. */
async function until(condition: () => Promise<boolean>, program?: Program): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!(await condition())) {
    if (performance.now() > deadline) {
      throw new Error(`it did not come to that:\n${program?.lines.join("\n") ?? ""}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
