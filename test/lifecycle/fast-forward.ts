/**
 * Years in minutes: a server whose authorities live for two minutes, an agent, and two go-spiffe programs that never stop
 * meeting each other, while authorities rotate by themselves and by hand, are tainted and revoked, and server and agent are
 * restarted. Called by the interop test for a few minutes, and by `npm run fast-forward` for as long as one likes.
 */
import { chmod, cp, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import {
  type AssayAgent,
  type AssayServer,
  placeAgent,
  placeServer,
  startAgent,
  startServer,
} from "../e2e/harness.ts";
import { Program } from "../e2e/program.ts";
import type { Scratch } from "../e2e/scratch.ts";
import { judge, type FastForwardReport, type Window } from "./fast-forward-report.ts";

/** What a run is told. */
export interface FastForwardOptions {
  readonly minutes: number;
  /** How often server and agent are restarted and authorities are rotated, tainted and revoked by hand. */
  readonly rounds: number;
  /** The folder of the go-spiffe peer. */
  readonly programs: string;
  readonly scratch: Scratch;
  readonly print: (line: string) => void;
}

/** Runs it, and says what the two workloads met with. */
export async function fastForward(options: FastForwardOptions): Promise<FastForwardReport> {
  const { minutes, rounds, scratch, print } = options;
  await using world = await startWorld(scratch);
  const [responder, caller] = await placePrograms(options.programs, scratch);
  for (const [id, path] of [
    [RESPONDER, responder],
    [CALLER, caller],
  ] as const) {
    await world.server.createEntry({
      parentId: NODE,
      spiffeId: id,
      selectors: [`unix:path:${path}`],
      flags: [`--x509-svid-ttl=${SVID_TTL}`, `--jwt-svid-ttl=${SVID_TTL}`],
    });
  }
  const env = { SPIFFE_ENDPOINT_SOCKET: world.agent.endpoint };
  const serving = Program.start("responder", responder, ["steady-server", "127.0.0.1:0", CALLER], { env });
  await using _serving = serving;
  const { address } = await serving.json<{ event: string; address: string }>(
    (line) => line.event === "listening",
  );
  const calling = Program.start("caller", caller, ["steady-client", address, RESPONDER], { env });
  await using _calling = calling;

  const began = Date.now();
  const away: Window[] = [];
  const told = { lines: 0 };
  const until = async (fraction: number) => {
    const at = began + fraction * minutes * 60_000;
    while (Date.now() < at) {
      if (
        (await Promise.race([calling.ended, serving.ended, wait(Math.min(1000, at - Date.now()))])) !==
        undefined
      ) {
        throw new Error(
          `a workload ended by itself:\n${[...serving.lines, ...calling.lines].slice(-20).join("\n")}`,
        );
      }
      for (const line of calling.lines.slice(told.lines)) if (line.includes('"count"')) print(line);
      told.lines = calling.lines.length;
    }
  };
  for (let round = 0; round < rounds; round++) {
    await until((round + 0.2) / rounds);
    print("restart of the server");
    await world.restartServer();
    await until((round + 0.4) / rounds);
    await rotateByHand(world.server, print);
    await until((round + 0.75) / rounds);
    print("restart of the agent");
    const from = Date.now();
    await world.restartAgent();
    away.push({ from, to: Date.now() });
  }
  await until(1);
  // The one who calls first, lest it finds nobody.
  await calling.stop();
  await serving.stop();
  return judge({ calling: calling.lines, serving: serving.lines, away });
}

interface World extends AsyncDisposable {
  readonly server: AssayServer;
  readonly agent: AssayAgent;
  restartServer(): Promise<void>;
  restartAgent(): Promise<void>;
}

async function startWorld(scratch: Scratch): Promise<World> {
  const config = { server: scratch.at("server.yaml"), agent: scratch.at("agent.yaml") };
  await writeFile(
    config.server,
    `ca_ttl: ${CA_TTL}\ndefault_x509_svid_ttl: ${SVID_TTL}\ndefault_jwt_svid_ttl: ${SVID_TTL}\nagent_ttl: ${AGENT_TTL}\n`,
  );
  await writeFile(
    config.agent,
    "workload_attestors:\n  - type: unix\n    config:\n      discover_workload_path: true\n",
  );
  const place = await placeServer(scratch);
  const serverFlags = [`--config=${config.server}`];
  let server = await startServer(place, serverFlags);
  const wanted = {
    server: place.address,
    trustBundleFile: await server.trustBundleFile(),
    flags: [`--config=${config.agent}`],
  };
  const joinTokenFile = await server.joinTokenFile(NODE);
  let agent = await startAgent(placeAgent(scratch), { ...wanted, joinTokenFile });
  return {
    get server() {
      return server;
    },
    get agent() {
      return agent;
    },
    async restartServer() {
      await server.program.stop();
      server = await startServer(place, serverFlags);
    },
    async restartAgent() {
      await agent.program.stop();
      agent = await startAgent(agent.place, wanted);
    },
    async [Symbol.asyncDispose]() {
      await agent[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

/** A program for each workload: the agent tells them apart by their paths, so that nobody has to be root. */
async function placePrograms(folder: string, scratch: Scratch): Promise<readonly [string, string]> {
  const place = async (name: string) => {
    const path = scratch.at(name);
    await cp(join(folder, "spiffe-probe"), path);
    await chmod(path, 0o755);
    return path;
  };
  return [await place("responder"), await place("caller")];
}

/** The four steps of an operator who suspects a key: prepare, activate, taint, revoke, with time for everybody to follow. */
async function rotateByHand(server: AssayServer, print: (line: string) => void): Promise<void> {
  const kinds = ["x509", "jwt"] as const;
  const active = async (kind: string) => {
    const all = await server.ask<readonly Shown[]>("authority", kind, "show");
    return all.find(({ state }) => state === "active");
  };
  // Not at a moment when the schedule rotates too: an operator's command would then meet another authority than expected.
  for (const kind of kinds) {
    while (Date.parse((await active(kind))?.expires_at ?? "") - Date.now() < ROTATION_NEEDS) await wait(1000);
  }
  const olds = new Map<string, string>();
  for (const kind of kinds) {
    const old = (await active(kind))?.authority_id ?? "";
    const { prepared } = await server.ask<{ prepared: string }>("authority", kind, "prepare");
    await wait(LEARNING);
    await server.ask("authority", kind, "activate", `--authority-id=${prepared}`);
    olds.set(kind, old);
    print(`${kind} authority replaced by hand`);
  }
  await wait(LEARNING);
  for (const [kind, id] of olds) await server.ask("authority", kind, "taint", `--authority-id=${id}`);
  print("old authorities tainted");
  await wait(REPLACING);
  for (const [kind, id] of olds) await server.ask("authority", kind, "revoke", `--authority-id=${id}`);
  print("old authorities revoked");
}

interface Shown {
  readonly state: string;
  readonly authority_id: string;
  readonly expires_at: string;
}

const NODE = "spiffe://example.org/node";
const RESPONDER = "spiffe://example.org/responder";
const CALLER = "spiffe://example.org/caller";
const CA_TTL = "2m";
const SVID_TTL = "30s";
const AGENT_TTL = "1m";
/** Milliseconds that the active authority must have left: it is replaced by schedule twenty seconds before its end. */
const ROTATION_NEEDS = 60_000;
/** Milliseconds in which everybody hears of a new authority. */
const LEARNING = 3000;
/** Milliseconds in which everybody has replaced what a tainted authority signed. */
const REPLACING = 12_000;
