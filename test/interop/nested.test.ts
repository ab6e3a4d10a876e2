import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { placeAgent, placeServer, startAgent, startServer } from "../e2e/harness.ts";
import { parsePemCertificates } from "../../src/crypto/pem.ts";
import { Program, run } from "../e2e/program.ts";
import { makeScratch, type Scratch } from "../e2e/scratch.ts";
import type { JwtLine, MtlsLine } from "./clients.ts";
import { joinTokenFile, type Make } from "./issuers.ts";
import { BUILD_PATIENCE, buildPeer, describeWith, placeForAll } from "./peers.ts";
import {
  aboveOf,
  createEntryBy,
  spireCli,
  type SpireCli,
  startSpireAgent,
  startSpireServer,
} from "./spire.ts";

/** Programs on go-spiffe, one of each side. */
const ABOVE = { uid: 61501, id: "spiffe://example.org/workload/above" };
const BELOW = { uid: 61502, id: "spiffe://example.org/workload/below" };
type Workload = typeof ABOVE;

/** What either agent logs once it has a new SVID of its own. */
const RENEWED = /agent SVID renewed|Successfully rotated agent SVID/;

const ORDERS: readonly (readonly [above: Make, below: Make])[] = [
  ["spire", "assay"],
  ["assay", "spire"],
  ["assay", "assay"],
];

describeWith(["go", "root"], "nested servers", () => {
  describe.each(ORDERS)("a server of %s above one of %s", (above, below) => {
    let world: World;

    beforeAll(async () => {
      world = await World.start(above, below);
    }, BUILD_PATIENCE);
    afterAll(() => world?.[Symbol.asyncDispose]());

    it("have one bundle of roots, in which the authority below is not", async () => {
      expect(await world.roots("below")).toEqual(await world.roots("above"));
    });

    it("let workloads of both sides do mTLS, each as server and as client", async () => {
      await world.meet(ABOVE, BELOW);
      await world.meet(BELOW, ABOVE);
    });

    it("let each side's agent validate JWT-SVIDs of the other's", async () => {
      expect(await world.validated(ABOVE, "below")).toBe(ABOVE.id);
      expect(await world.validated(BELOW, "above")).toBe(BELOW.id);
    });

    // What the servers said is the first thing to read where they did not go on.
    afterEach(({ task }) => {
      if (task.result?.state !== "fail") return;
      for (const name of ["above", "below"] as const) {
        console.error(`${name}:\n${world.side(name).program.lines.slice(-40).join("\n")}`);
      }
    });

    it("go on when the authority above was replaced, tainted and revoked", async () => {
      const { cli } = world.side("above");
      const old = (await states(cli)).active?.authority_id ?? "";
      const before = await world.roots("above");
      await cli.text("localauthority", "x509", "prepare");
      const prepared = (await states(cli)).prepared?.authority_id ?? "";
      await until(async () => (await world.roots("below")).length === before.length + 1);
      await cli.text("localauthority", "x509", "activate", "-authorityID", prepared);
      await cli.text("localauthority", "x509", "taint", "-authorityID", old);
      // The server below has its authority signed by the new one before the old one goes.
      await until(async () => {
        const { active } = await states(world.side("below").cli);
        return active?.upstream_authority_subject_key_id === prepared;
      });
      await until(async () => (await world.chainOf(BELOW)).includes(prepared));
      await until(async () => (await world.chainOf(ABOVE)).includes(prepared));
      // Agents replace their own SVIDs within ten seconds; who revokes before that locks them out.
      for (const name of ["above", "below"] as const) {
        await world.side(name).agent.line((line) => RENEWED.test(line));
      }
      await cli.text("localauthority", "x509", "revoke", "-authorityID", old);
      await until(async () => (await world.roots("below")).length === before.length);
      await until(async () => {
        const outcomes = [await world.tries(ABOVE, BELOW), await world.tries(BELOW, ABOVE)];
        return outcomes.every((met) => met);
      });
    }, 240_000);
  });
});

/** One server with its agent and one workload. */
interface Side {
  readonly address: string;
  readonly cli: SpireCli;
  readonly endpoint: string;
  readonly program: Program;
  readonly agent: Program;
}

/** Two servers, one above the other, each with an agent and a workload. */
class World implements AsyncDisposable {
  readonly #stack: AsyncDisposableStack;
  readonly #sides: Readonly<Record<"above" | "below", Side>>;
  readonly #programs: string;
  readonly #probe: string;

  private constructor(
    stack: AsyncDisposableStack,
    sides: Readonly<Record<"above" | "below", Side>>,
    programs: string,
    probe: string,
  ) {
    this.#stack = stack;
    this.#sides = sides;
    this.#programs = programs;
    this.#probe = probe;
  }

  static async start(aboveMake: Make, belowMake: Make): Promise<World> {
    const programs = await buildPeer("spire");
    await using stack = new AsyncDisposableStack();
    const scratch = stack.use(await makeScratch());
    const probe = await placeForAll(join(await buildPeer("go-client"), "spiffe-probe"), scratch);
    const above = await startSide(stack, scratch, programs, "above", aboveMake);
    await createEntryBy(above.cli, entryOf("above", ABOVE));
    // The server below runs as the user of the test.
    await createEntryBy(above.cli, {
      parentId: nodeOf("above"),
      spiffeId: "spiffe://example.org/server-below",
      selectors: [`unix:uid:${process.getuid?.() ?? 0}`],
      flags: ["-downstream"],
    });
    const below = await startSide(stack, scratch, programs, "below", belowMake, above);
    await createEntryBy(below.cli, entryOf("below", BELOW));
    const world = new World(stack.move(), { above, below }, programs, probe);
    for (const workload of [ABOVE, BELOW]) {
      await until(async () => (await world.#ask(workload, "x509")).code === 0);
    }
    return world;
  }

  side(name: "above" | "below"): Side {
    return this.#sides[name];
  }

  /** The roots that a server publishes, in base64. */
  async roots(name: "above" | "below"): Promise<readonly string[]> {
    const document = JSON.parse(
      await this.side(name).cli.text("bundle", "show", "-format", "spiffe"),
    ) as Bundle;
    return document.keys.flatMap(({ use, x5c }) => (use === "x509-svid" ? (x5c ?? []) : [])).toSorted();
  }

  /** Makes one workload call another that listens; both must say who the other is. */
  async meet(server: Workload, client: Workload): Promise<void> {
    await using listening = this.#start(server, "mtls-server", "127.0.0.1:0", client.id);
    const { address = "" } = await listening.json<MtlsLine>(({ event }) => event === "listening");
    const { code, stdout } = await this.#ask(client, "mtls-client", address, server.id);
    expect(code, stdout).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ peer: server.id, own: client.id });
    const heard = await listening.json<MtlsLine>(({ event }) => event === "peer");
    expect(heard.peer).toBe(client.id);
  }

  async tries(server: Workload, client: Workload): Promise<boolean> {
    try {
      await this.meet(server, client);
      return true;
    } catch {
      return false;
    }
  }

  /** Whom an agent takes the bearer of a workload's JWT-SVID for. */
  async validated(workload: Workload, by: "above" | "below"): Promise<string> {
    const { code, stdout } = await this.#ask(workload, "jwt", "somebody");
    expect(code, stdout).toBe(0);
    const { token } = JSON.parse(stdout) as JwtLine & { readonly token: string };
    let said = "";
    await until(async () => {
      const outcome = await run(join(this.#programs, "spire-agent"), [
        "api",
        "validate",
        "jwt",
        "-audience=somebody",
        `-svid=${token}`,
        `-socketPath=${this.side(by).endpoint.replace("unix://", "")}`,
      ]);
      said = outcome.stdout;
      return outcome.code === 0;
    });
    return /SPIFFE ID\s*:\s*(\S+)/.exec(said)?.[1] ?? said;
  }

  /** Authority key identifiers in a workload's chain: of its SVID and of what comes after it. */
  async chainOf(workload: Workload): Promise<readonly string[]> {
    const { stdout } = await this.#ask(workload, "x509");
    const { identities } = JSON.parse(stdout) as {
      readonly identities: readonly { readonly chain: string }[];
    };
    return parsePemCertificates(identities[0]?.chain ?? "").map(({ authorityKeyId }) =>
      Buffer.from(authorityKeyId ?? []).toString("hex"),
    );
  }

  #ask(workload: Workload, ...args: readonly string[]) {
    return run(this.#probe, args, this.#as(workload));
  }

  #start(workload: Workload, ...args: readonly string[]): Program {
    return Program.start(`probe of ${workload.uid}`, this.#probe, args, this.#as(workload));
  }

  #as(workload: Workload) {
    const { endpoint } = this.side(workload === ABOVE ? "above" : "below");
    return { uid: workload.uid, gid: workload.uid, cwd: "/", env: { SPIFFE_ENDPOINT_SOCKET: endpoint } };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** Starts a server, below another where one is given, and an agent of the same make. */
async function startSide(
  stack: AsyncDisposableStack,
  scratch: Scratch,
  programs: string,
  name: "above" | "below",
  make: Make,
  above?: Side,
): Promise<Side> {
  if (make === "spire") {
    const options = above === undefined ? { name } : { name, above };
    const server = stack.use(await startSpireServer(programs, scratch, options));
    const agent = stack.use(
      await startSpireAgent(programs, scratch, {
        name: `${name}-agent`,
        server: server.address,
        trustBundleFile: await server.trustBundleFile(),
        evidence: { joinToken: await server.joinToken(nodeOf(name)) },
      }),
    );
    return {
      address: server.address,
      cli: spireCli(programs, server.adminSocket),
      endpoint: agent.endpoint,
      program: server.program,
      agent: agent.program,
    };
  }
  const flags: string[] = [];
  if (above !== undefined) {
    const config = scratch.at(`${name}.yaml`);
    await writeFile(
      config,
      JSON.stringify({ upstream_authority: { type: "spire", config: aboveOf(above) } }),
    );
    flags.push(`--config=${config}`);
  }
  const server = stack.use(await startServer(await placeServer(scratch, name), flags));
  const cli = spireCli(programs, server.place.adminSocket);
  const { token } = await server.ask<{ token: string }>(
    "token",
    "generate",
    "--ttl=10m",
    `--spiffe-id=${nodeOf(name)}`,
  );
  const agent = stack.use(
    await startAgent(placeAgent(scratch, `${name}-agent`), {
      server: server.place.address,
      trustBundleFile: await server.trustBundleFile(),
      joinTokenFile: await joinTokenFile(scratch, token),
    }),
  );
  return {
    address: server.place.address,
    cli,
    endpoint: agent.endpoint,
    program: server.program,
    agent: agent.program,
  };
}

function nodeOf(name: "above" | "below"): string {
  return `spiffe://example.org/node-${name}`;
}

function entryOf(name: "above" | "below", { uid, id }: Workload) {
  return { parentId: nodeOf(name), spiffeId: id, selectors: [`unix:uid:${uid}`] };
}

async function states(cli: SpireCli): Promise<States> {
  return cli.json<States>("localauthority", "x509", "show");
}

/** Asks again and again, for as long as a server below may take to hear of what changed above. */
async function until(holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 90_000;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error("it did not come about in 90 s");
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

interface States {
  readonly active?: AuthorityState;
  readonly prepared?: AuthorityState;
  readonly old?: AuthorityState;
}

interface AuthorityState {
  readonly authority_id: string;
  readonly upstream_authority_subject_key_id: string;
}

interface Bundle {
  readonly keys: readonly { readonly use: string; readonly x5c?: readonly string[] }[];
}
