import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import type { AddressInfo, Server } from "node:net";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { SpiffeId } from "../../src/spiffe/id.ts";
import { type JwtSource, openJwtSource } from "../../src/workload/jwt-source.ts";
import { createTlsServer } from "../../src/workload/tls-server.ts";
import { peerOf } from "../../src/workload/tls-peer.ts";
import { openX509Source, type X509Source } from "../../src/workload/x509-source.ts";
import type { Program } from "../e2e/program.ts";
import { makeScratch, type Scratch } from "../e2e/scratch.ts";
import type { JwtLine, MtlsLine, X509Line } from "./clients.ts";
import { BUILD_PATIENCE, buildPeer, describeWith } from "./peers.ts";
import {
  GITHUB_OWNER,
  GITHUB_TASKS,
  greet,
  placeAssay,
  readSavedSvid,
  type SavedSvid,
  startAssay,
  startDev,
  startTaskWorld,
} from "./task-world.ts";

const AUDIENCE = "spiffe://example.org/database";
const RUN = /^spiffe:\/\/example\.org\/ci\/github\/\d+\/run\/(\d+)\/1$/;
const DEPLOY = join(import.meta.dirname, "..", "..", "deploy");

/** Milliseconds from the end of a task to the refusal of what it has left behind. */
const REACHED = 5000;

let scratch: Scratch;
let probe: string;
beforeAll(async () => {
  scratch = await makeScratch();
  probe = join(await buildPeer("go-client"), "spiffe-probe");
}, BUILD_PATIENCE);
afterAll(() => scratch?.[Symbol.asyncDispose]());

describeWith(["go"], "a job of an imitated platform, and assay dev", () => {
  let dev: Program;
  let service: Service;
  let folder: string;
  beforeAll(async () => {
    folder = scratch.at("dev");
    dev = await startDev(folder);
    service = await startService(`unix://${join(folder, "agent.sock")}`);
  });
  afterAll(async () => {
    await service?.[Symbol.asyncDispose]();
    await dev?.[Symbol.asyncDispose]();
  });

  it("has SVIDs whose ID names the run, does mTLS, and is refused with what it saved within 5 s of its end", async () => {
    const saved = scratch.at("saved");
    await mkdir(saved);
    const job = startJob(folder, saved, [
      `"${probe}" x509`,
      `"${probe}" jwt "${AUDIENCE}"`,
      `"${probe}" mtls-client "127.0.0.1:${service.port}" "${service.id}"`,
      ...SAVE,
      'while [ ! -e "$SAVED/go" ]; do sleep 0.02; done',
      "exit 7",
    ]);
    await using _ = job;
    const x509 = await job.json<X509Line>(({ event }) => event === "x509");
    const [, run] = RUN.exec(x509.default) ?? [];
    expect(run, x509.default).toBeDefined();
    const jwt = await job.json<JwtLine>((line) => line.event === "jwt");
    expect(jwt).toMatchObject({ id: x509.default, audience: [AUDIENCE], validatedByApi: x509.default });
    const met = await job.json<MtlsLine>(({ event }) => event === "peer");
    expect(met).toMatchObject({ own: x509.default, peer: service.id });

    // Somebody has got hold of everything, and has a connection open.
    const stolen = await stolenFrom(saved);
    const open = await greet(service.port, stolen.svid);
    expect(open?.greeting).toBe(`hello ${x509.default}`);
    expect(await service.jwt.validateRemotely(stolen.token, AUDIENCE)).toBe(x509.default);
    const cut = new Promise<number>((resolve) => open?.socket.once("close", () => resolve(Date.now())));

    await writeFile(join(saved, "go"), "");
    const [refusedTls, refusedJwt, cutAt, ending] = await Promise.all([
      refusedAt(() => greetOnce(service, stolen.svid)),
      refusedAt(() => validates(service, stolen.token)),
      cut,
      job.ended,
    ]);
    // What the command itself ended with.
    expect(ending).toEqual({ code: 7, signal: null });
    const exit = Number(await readFile(join(saved, "exit"), "utf8"));
    report("exit → saved X509-SVID refused", refusedTls - exit);
    report("exit → its open connection cut", cutAt - exit);
    report("exit → saved JWT-SVID refused by ValidateJWTSVID", refusedJwt - exit);
    for (const moment of [refusedTls, cutAt, refusedJwt]) expect(moment - exit).toBeLessThan(REACHED);
    expect(service.reasons.join("\n")).toMatch(/revo/i);
  });

  it.each([
    ["the GitHub Action", "github", ["bash", join(DEPLOY, "github-action", "run-task.sh")], "ASSAY_INPUT_"],
    [
      "the Buildkite plugin",
      "buildkite",
      [join(DEPLOY, "buildkite-plugin", "hooks", "command")],
      "BUILDKITE_PLUGIN_ASSAY_TASK_",
    ],
    [
      "the GitLab component's script",
      "gitlab",
      ["bash", join(DEPLOY, "github-action", "run-task.sh")],
      "ASSAY_INPUT_",
    ],
  ])("%s gives a script its identity", async (_, platform, command, prefix) => {
    const bundle = await readFile(join(folder, "bundle.pem"), "utf8");
    const script = `"${probe}" x509\ntest -z "\${ACTIONS_ID_TOKEN_REQUEST_TOKEN:-}"\nexit 3\n`;
    const server = JSON.parse(await readFile(join(folder, "ci-mock", "dev.json"), "utf8")) as {
      readonly server: string;
    };
    const temporary = scratch.at(`temporary-${platform}`);
    await mkdir(temporary);
    await using job = startAssay("job", ["ci-mock", platform, `--dev=${folder}`, "--", ...command], {
      env: {
        PATH: `${await placeAssay(scratch)}:${process.env["PATH"] ?? ""}`,
        TMPDIR: temporary,
        ASSAY_INPUT_RUN: script,
        BUILDKITE_COMMAND: script,
        [`${prefix}SERVER`]: server.server,
        [`${prefix}TRUST_BUNDLE`]: bundle,
        [`${prefix}VERSION`]: "installed",
      },
    });
    const x509 = await job.json<X509Line>(({ event }) => event === "x509");
    expect(x509.default).toMatch(new RegExp(`^spiffe://example\\.org/ci/${platform}/`));
    expect(await job.ended).toEqual({ code: 3, signal: null });
  });
});

describeWith(["go"], "a job whose runner is killed", () => {
  it("is refused with what it saved within 5 s of the end of its lease", { timeout: 200_000 }, async () => {
    await using place = await makeScratch();
    // The shortest that a server can be configured with.
    await using world = await startTaskWorld(place, { tasks: { lease: "60s" } });
    await world.server.createEntry({
      parentId: GITHUB_TASKS,
      spiffeId: "spiffe://example.org/ci/github",
      selectors: [GITHUB_OWNER],
      flags: ["--id-template=/ci/github/{repository_id}/run/{run_id}/{run_attempt}"],
    });
    await using service = await startService(world.agent.endpoint);
    const saved = place.at("saved");
    await mkdir(saved);
    await using job = startJob(world.folder, saved, [`"${probe}" x509`, ...SAVE, "exec sleep 300"]);
    const { default: id } = await job.json<X509Line>(({ event }) => event === "x509");
    const stolen = await stolenFrom(saved);
    expect((await greet(service.port, stolen.svid))?.greeting).toBe(`hello ${id}`);

    const [runner, command] = (await readFile(join(saved, "pids"), "utf8")).trim().split(" ").map(Number);
    process.kill(runner ?? 0, "SIGKILL");
    const killed = Date.now();
    try {
      const [task] = await world.server.ask<readonly TaskLife[]>("tasks", "list");
      const leaseEnd = Date.parse(task?.lease_expires_at ?? "");
      expect(leaseEnd - killed).toBeLessThan(60_000);
      const patience = leaseEnd - killed + 30_000;
      const [refusedTls, refusedJwt] = await Promise.all([
        refusedAt(() => greetOnce(service, stolen.svid), patience),
        refusedAt(() => validates(service, stolen.token), patience),
      ]);
      report("kill -9 → end of the lease", leaseEnd - killed);
      report("end of the lease → saved X509-SVID refused", refusedTls - leaseEnd);
      report("end of the lease → saved JWT-SVID refused by ValidateJWTSVID", refusedJwt - leaseEnd);
      for (const moment of [refusedTls, refusedJwt]) {
        // A lease that ended before its time would pass the other bound.
        expect(moment - leaseEnd).toBeGreaterThan(-1000);
        expect(moment - leaseEnd).toBeLessThan(REACHED);
      }
    } finally {
      process.kill(command ?? 0, "SIGKILL");
    }
  });
});

interface TaskLife {
  readonly lease_expires_at: string;
}

/** A workload on our client for Node, which greets every caller of its trust domain by its ID. */
interface Service extends AsyncDisposable {
  readonly id: SpiffeId;
  readonly port: number;
  readonly jwt: JwtSource;
  /** Why callers were turned away. */
  readonly reasons: readonly string[];
}

async function startService(address: string): Promise<Service> {
  await using stack = new AsyncDisposableStack();
  const source: X509Source = stack.use(await openX509Source({ address }));
  const jwt = stack.use(await openJwtSource({ address }));
  const reasons: string[] = [];
  const server: Server = createTlsServer(
    source,
    {
      authorize: (id) => id.startsWith("spiffe://example.org/ci/"),
      onRefused: (reason) => reasons.push(reason.message),
    },
    (socket) => {
      socket.on("error", () => {});
      const id = peerOf(socket)?.spiffeId ?? "nobody";
      // go-spiffe's probe speaks first and wants another line; a thief says nothing.
      socket.write(`hello ${id}\n`);
    },
  );
  stack.defer(() => void server.close());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const kept = stack.move();
  return {
    id: source.x509Svid().spiffeId,
    port: (server.address() as AddressInfo).port,
    jwt,
    reasons,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** Starts a script as a task of the imitated GitHub. */
function startJob(folder: string, saved: string, script: readonly string[]): Program {
  const lines = ["trap 'date +%s%3N >\"$SAVED/exit\"' EXIT", ...script].join("\n");
  const run = ["task", "run", "--write-files", `--jwt-file=token=${AUDIENCE}`, "--", "bash", "-euc", lines];
  const self = [process.execPath, ...process.execArgv.filter((flag) => flag.startsWith("--disable"))];
  return startAssay("job", ["ci-mock", "github", `--dev=${folder}`, "--", ...self, MAIN, ...run], {
    env: { SAVED: saved },
  });
}

/** Lines of a script that leave behind what its job has, and who runs it. */
const SAVE = [
  'cp -L "$ASSAY_TASK_FILES"/svid.pem "$ASSAY_TASK_FILES"/key.pem "$ASSAY_TASK_FILES"/token "$SAVED/"',
  'echo "$PPID $$" >"$SAVED/pids"',
  'touch "$SAVED/ready"',
];

async function stolenFrom(folder: string): Promise<{ readonly svid: SavedSvid; readonly token: string }> {
  while (!existsSync(join(folder, "ready"))) await wait(20);
  return { svid: await readSavedSvid(folder), token: await readFile(join(folder, "token"), "utf8") };
}

async function greetOnce(service: Service, svid: SavedSvid): Promise<boolean> {
  const greeted = await greet(service.port, svid);
  greeted?.socket.destroy();
  return greeted !== undefined;
}

function validates(service: Service, token: string): Promise<boolean> {
  return service.jwt.validateRemotely(token, AUDIENCE).then(
    () => true,
    () => false,
  );
}

/** When something that went well first does not; milliseconds since 1970. */
async function refusedAt(attempt: () => Promise<boolean>, patience = 60_000): Promise<number> {
  const deadline = Date.now() + patience;
  while (await attempt()) {
    if (Date.now() > deadline) throw new Error(`it still goes well after ${patience} ms`);
    await wait(20);
  }
  return Date.now();
}

function report(what: string, milliseconds: number): void {
  process.stdout.write(`${what}: ${milliseconds} ms\n`);
}

const MAIN = join(import.meta.dirname, "..", "..", "src", "main.ts");
