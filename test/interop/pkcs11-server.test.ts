import { execFileSync } from "node:child_process";
import { chmod, cp, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import {
  assay,
  type AssayAgent,
  type AssayServer,
  placeAgent,
  placeServer,
  type ServerPlace,
  startAgent,
  startServer,
} from "../e2e/harness.ts";
import { Program } from "../e2e/program.ts";
import { makeScratch, type Scratch } from "../e2e/scratch.ts";
import { fetchX509, OWN_SELECTORS } from "../e2e/workload.ts";
import { judge } from "../lifecycle/fast-forward-report.ts";
import { BUILD_PATIENCE, buildPeer, describeWith } from "./peers.ts";
import { makeSoftHsm, type SoftHsm } from "./softhsm.ts";

const NODE = "spiffe://example.org/node";
const RESPONDER = "spiffe://example.org/responder";
const CALLER = "spiffe://example.org/caller";

describeWith(["softhsm", "go"], "a server whose keys are in SoftHSM 2", () => {
  let scratch: Scratch;
  let hsm: SoftHsm;
  let clientPrograms: string;
  const running: AsyncDisposable[] = [];
  beforeAll(async () => {
    clientPrograms = await buildPeer("go-client");
    scratch = await makeScratch();
    hsm = await makeSoftHsm(scratch);
    process.env["SOFTHSM2_CONF"] = hsm.env.SOFTHSM2_CONF;
  }, BUILD_PATIENCE);
  afterEach(async () => {
    for (const one of running.splice(0).toReversed()) await one[Symbol.asyncDispose]();
  });
  afterAll(async () => {
    delete process.env["SOFTHSM2_CONF"];
    await scratch?.[Symbol.asyncDispose]();
  });

  async function start(place: ServerPlace, settings: string): Promise<AssayServer> {
    const path = scratch.at(`${place.name}.yaml`);
    const keyManager = { type: "pkcs11", config: { ...hsm.config, key_label_prefix: place.name } };
    await writeFile(path, `${settings}key_manager: ${JSON.stringify(keyManager)}\n`);
    const server = await startServer(place, [`--config=${path}`]);
    running.push(server);
    return server;
  }

  async function startAgentOf(server: AssayServer, name: string): Promise<AssayAgent> {
    const config = scratch.at(`${name}.yaml`);
    await writeFile(
      config,
      "workload_attestors:\n  - type: unix\n    config:\n      discover_workload_path: true\n",
    );
    const agent = await startAgent(placeAgent(scratch, name), {
      server: server.place.address,
      trustBundleFile: await server.trustBundleFile(),
      joinTokenFile: await server.joinTokenFile(NODE),
      flags: [`--config=${config}`],
    });
    running.push(agent);
    return agent;
  }

  const activeAuthority = async (server: AssayServer) => {
    const all = await server.ask<readonly { state: string; authority_id: string }[]>(
      "authority",
      "x509",
      "show",
    );
    return all.find(({ state }) => state === "active")?.authority_id;
  };

  it("rotates and is restarted under two go-spiffe workloads that never fail to meet", async () => {
    const place = await placeServer(scratch, "rotating");
    const settings = "ca_ttl: 90s\ndefault_x509_svid_ttl: 30s\ndefault_jwt_svid_ttl: 30s\nagent_ttl: 1m\n";
    let server = await start(place, settings);
    const agent = await startAgentOf(server, "rotating-agent");
    const programs = [];
    for (const [name, id] of [
      ["hsm-responder", RESPONDER],
      ["hsm-caller", CALLER],
    ] as const) {
      const path = scratch.at(name);
      await cp(join(clientPrograms, "spiffe-probe"), path);
      await chmod(path, 0o755);
      programs.push(path);
      await server.createEntry({ parentId: NODE, spiffeId: id, selectors: [`unix:path:${path}`] });
    }
    const [responder = "", caller = ""] = programs;
    const env = { SPIFFE_ENDPOINT_SOCKET: agent.endpoint };
    const serving = Program.start("responder", responder, ["steady-server", "127.0.0.1:0", CALLER], { env });
    running.push(serving);
    const { address } = await serving.json<{ event: string; address: string }>(
      ({ event }) => event === "listening",
    );
    const calling = Program.start("caller", caller, ["steady-client", address, RESPONDER], { env });
    running.push(calling);

    const seen = new Set([await activeAuthority(server)]);
    for (let restarted = false; seen.size < 4; ) {
      await wait(1000);
      seen.add(await activeAuthority(server));
      if (seen.size < 2 || restarted) continue;
      restarted = true;
      const before = await activeAuthority(server);
      await server.program.stop();
      server = await start(place, settings);
      // The key that was signing was found again in the token.
      expect(await activeAuthority(server)).toBe(before);
    }
    await calling.stop();
    await serving.stop();
    const { problems, ...counts } = judge({ calling: calling.lines, serving: serving.lines, away: [] });
    expect(problems, agent.program.lines.slice(-10).join("\n")).toEqual([]);
    expect(counts).toMatchObject({ failed: 0 });
    expect(counts.handshakes).toBeGreaterThan(100);
    expect(counts.validations).toBeGreaterThan(50);
    expect(tokenLabels()).toEqual(expect.arrayContaining(["rotating/x509-CA-A", "rotating/x509-CA-B"]));
  });

  it("says that the token is gone and which code it got, serves on what was issued, and signs again when it is back", async () => {
    const server = await start(await placeServer(scratch, "bereft"), "");
    const agent = await startAgentOf(server, "bereft-agent");
    await server.createEntry({ parentId: NODE, spiffeId: CALLER, selectors: OWN_SELECTORS });
    await expect.poll(() => idsOf(agent), { timeout: 60_000 }).toEqual([CALLER]);
    const [held] = await fetchX509(agent.endpoint);

    const said = server.program.lines.length;
    await hsm.setPresent(false);
    try {
      killTokenProcess(server.program.pid);
      await server.createEntry({ parentId: NODE, spiffeId: RESPONDER, selectors: OWN_SELECTORS });
      const lost = await server.program.line((line) => line.includes("CKR_GENERAL_ERROR"), {
        from: said,
        patience: 60_000,
      });
      expect(lost).toMatch(/the token was lost/);
      await server.program.line((line) => line.includes("the key manager is in trouble"), { from: said });
      expect(await fetchX509(agent.endpoint)).toEqual([held]);
      expect((await assay(["healthcheck", `--admin-socket=${server.place.adminSocket}`])).code).toBe(0);
    } finally {
      await hsm.setPresent(true);
    }
    await expect.poll(() => idsOf(agent), { timeout: 120_000, interval: 1000 }).toEqual([CALLER, RESPONDER]);
    await server.program.line((line) => line.includes("the key manager works again"), {
      from: said,
      patience: 60_000,
    });
    expect(server.program.lines.slice(said).some((line) => line.includes("the token is open again"))).toBe(
      true,
    );
    expect(server.program.lines.join("\n")).not.toContain(hsm.pin);
  });

  it("does not start with a wrong PIN, and says so without the PIN", async () => {
    const pinFile = scratch.at("wrong-pin");
    await writeFile(pinFile, "very-wrong-8472\n", { mode: 0o600 });
    const config = { ...hsm.config, pin_file: pinFile };
    const path = scratch.at("wrong.yaml");
    await writeFile(path, `key_manager: ${JSON.stringify({ type: "pkcs11", config })}\n`);
    const place = await placeServer(scratch, "wrong");
    const started = startServer(place, [`--config=${path}`]);
    await expect(started).rejects.toThrow(/CKR_PIN_INCORRECT/);
    await expect(started).rejects.not.toThrow(/very-wrong-8472/);
  });

  async function idsOf(agent: AssayAgent): Promise<readonly string[]> {
    const outcome = await assay(["fetch", "x509", `--socket=${agent.endpoint}`, "--output=json"]);
    if (outcome.code !== 0) return [];
    return (JSON.parse(outcome.stdout) as readonly { spiffe_id: string }[])
      .map((svid) => svid.spiffe_id)
      .toSorted();
  }

  /** The labels of our keys' files, as SoftHSM itself keeps them. */
  function tokenLabels(): readonly string[] {
    const text = execFileSync("grep", ["-rahoE", "rotating/[A-Za-z0-9-]+", scratch.at("softhsm", "tokens")], {
      encoding: "utf8",
    });
    return [...new Set(text.trim().split("\n"))];
  }

  /** As a library does that crashes. */
  function killTokenProcess(server: number): void {
    const children = execFileSync("cat", [`/proc/${server}/task/${server}/children`], { encoding: "utf8" });
    for (const child of children.trim().split(" ")) {
      const command = execFileSync("cat", [`/proc/${child}/cmdline`], { encoding: "utf8" });
      if (command.includes("token-process")) process.kill(Number(child), "SIGKILL");
    }
  }
});
