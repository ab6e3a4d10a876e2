import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile, stat } from "node:fs/promises";
import { createConnection } from "node:net";
import { dirname, join } from "node:path";
import { createPublicKey, X509Certificate } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { assay, assayJson } from "./harness.ts";
import { type Outcome, Program } from "./program.ts";
import { makeScratch, type Scratch } from "./scratch.ts";

const MAIN = join(import.meta.dirname, "..", "..", "src", "main.ts");
/** How a shell inside a task calls the program. */
const ASSAY = `'${process.execPath}' --disable-warning=ExperimentalWarning '${MAIN}'`;

let scratch: Scratch;
let dev: Program;
let folder: string;
/** A run whose runner was killed at the beginning: its lease ends it while everything else is tested. */
let killed: { task: string; command: number; since: number };

beforeAll(async () => {
  scratch = await makeScratch();
  folder = scratch.at("dev");
  dev = Program.start("dev", process.execPath, [MAIN, "dev", `--data-dir=${folder}`]);
  await dev.line((line) => line.startsWith("Ctrl-C ends it"), { patience: 90_000 });
  const run = startRun("echo $ASSAY_TASK_ID $$; exec sleep 300");
  const [, task = "", command = ""] =
    /^(\S{36}) (\d+)$/.exec(await run.line((line) => /^\S{36} \d+$/.test(line))) ?? [];
  const runner = await runnerOf(Number(command));
  process.kill(runner, "SIGKILL");
  killed = { task, command: Number(command), since: performance.now() };
});

afterAll(async () => {
  if (killed !== undefined) process.kill(killed.command, "SIGKILL");
  await dev?.[Symbol.asyncDispose]();
  await scratch?.[Symbol.asyncDispose]();
});

function argsOf(script: string, flags: readonly string[], mock: readonly string[]): string[] {
  const task = [process.execPath, "--disable-warning=ExperimentalWarning", MAIN, "task", "run", ...flags];
  return ["ci-mock", `--dev=${folder}`, ...mock, "github", "--", ...task, "--", "sh", "-c", script];
}

/** Runs a script as a task of an imitated GitHub job, to its end. */
function runTask(
  script: string,
  flags: readonly string[] = [],
  mock: readonly string[] = [],
): Promise<Outcome> {
  return assay(argsOf(script, flags, mock), { env: { XDG_RUNTIME_DIR: scratch.path } });
}

/** The same, left running. */
function startRun(script: string, flags: readonly string[] = []): Program {
  const args = ["--disable-warning=ExperimentalWarning", MAIN, ...argsOf(script, flags, [])];
  return Program.start("task", process.execPath, args, { env: { XDG_RUNTIME_DIR: scratch.path } });
}

async function runnerOf(command: number): Promise<number> {
  const text = await readFile(`/proc/${command}/stat`, "latin1");
  return Number(text.slice(text.lastIndexOf(")") + 2).split(" ")[1]);
}

function stateOf(task: string): Promise<{ task: { state: string; end_reason: string | null } }> {
  return assayJson(["tasks", "show", task, `--admin-socket=${join(folder, "server-admin.sock")}`]);
}

async function taskFolders(): Promise<string[]> {
  return (await readdir(scratch.path)).filter((name) => name.startsWith("assay-task-"));
}

describe("a command that runs as a task", () => {
  it("has a Workload API that names this run, over gRPC and JSON, and leaves nothing behind", async () => {
    const before = await taskFolders();
    const { code, stdout, stderr } = await runTask(
      `${ASSAY} fetch x509 --output json
       curl -sS --unix-socket "\${SPIFFE_ENDPOINT_SOCKET#unix://}" -H 'workload.spiffe.io: true' \
         -H 'content-type: application/json' -d '{"audience":["db"]}' http://localhost/v1/jwt-svids
       stat -c ' %a' "$(dirname "\${SPIFFE_ENDPOINT_SOCKET#unix://}")"
       echo "task $ASSAY_TASK_ID"`,
      ["--log-level=debug"],
    );
    expect({ code, stderr }).toMatchObject({ code: 0 });
    const ids = [...stdout.matchAll(/"spiffe_id": ?"([^"]+)"/g)].map(([, id]) => id);
    expect(ids).toHaveLength(2);
    expect(new Set(ids).size).toBe(1);
    expect(ids[0]).toMatch(/^spiffe:\/\/example\.org\/ci\/github\/2000\/run\/\d+\/1$/);
    expect(stdout).toContain(" 700\n");
    expect(await taskFolders()).toEqual(before);
    const { task } = await stateOf(/^task (\S+)$/m.exec(stdout)?.[1] ?? "");
    expect(task).toMatchObject({ state: "ended", end_reason: "job" });
    // What the runner says goes into a job's log.
    expect(stderr).not.toMatch(/eyJ|PRIVATE KEY/);
  });

  it.each([
    ["exit 7", 7],
    ["kill -TERM $$", 143],
    ["kill -KILL $$", 137],
  ])("gives its exit status: %s", async (script, code) => {
    expect((await runTask(script)).code).toBe(code);
  });

  it("ends as in a shell where there is no such command, or it cannot be run", async () => {
    const args = argsOf("", [], []).slice(0, -3);
    for (const [command, status, reason] of [
      ["no-such-command", 127, "cannot start no-such-command"],
      ["", 127, "the name of the command is empty"],
      [`${MAIN}/x`, 126, `cannot start ${MAIN}/x`],
    ] as const) {
      const { code, stderr } = await assay([...args, command]);
      expect(code).toBe(status);
      expect(stderr).toContain(reason);
      expect(stderr).toContain("task ended");
    }
  });

  it.each(["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH"] as const)(
    "hears %s when the runner does",
    async (signal) => {
      const run = startRun(
        `trap 'echo heard; exit 9' ${signal.slice(3)}; echo ready; while :; do sleep 0.05; done`,
      );
      await run.line((line) => line === "ready");
      run.signal(signal);
      await run.line((line) => line === "heard");
      expect(await run.ended).toEqual({ code: 9, signal: null });
    },
  );

  it.each(["SIGTERM", "SIGINT"] as const)(
    "loses its identity five seconds after the runner was told %s, where it goes on",
    async (signal) => {
      const run = startRun(
        `trap 'echo told' ${signal.slice(3)}; echo "pid $$"; while ${ASSAY} fetch jwt --audience db > /dev/null; do sleep 0.2; done; echo refused; while :; do sleep 0.1; done`,
      );
      const command = Number((await run.line((line) => line.startsWith("pid "))).slice(4));
      run.signal(signal);
      await run.line((line) => line === "told");
      await run.line((line) => line.includes("task ended"));
      await run.line((line) => line === "refused");
      process.kill(command, "SIGKILL");
      expect((await run.ended).code).toBe(137);
    },
  );

  it("shares the Workload API with all its descendants, orphans among them", async () => {
    const orphan = `${ASSAY} fetch x509 --output json`;
    const { stdout } = await runTask(
      `(setsid sh -c 'sleep 1; ${orphan.replaceAll("'", `'"'"'`)} > "${scratch.at("orphan")}.part"; mv "${scratch.at("orphan")}.part" "${scratch.at("orphan")}"' &)
       while [ ! -e "${scratch.at("orphan")}" ]; do sleep 0.1; done; cat "${scratch.at("orphan")}"`,
    );
    expect(stdout).toMatch(/"spiffe_id": "spiffe:\/\/example\.org\/ci\/github\/2000\/run\//);
  });

  it("shares it with no other process, though it is of the same user", async () => {
    const run = startRun(`echo "at \${SPIFFE_ENDPOINT_SOCKET#unix://}"; exec sleep 60`);
    const socket = (await run.line((line) => line.startsWith("at "))).slice(3);
    const { code, stderr } = await assay(["fetch", "x509", `--socket=${socket}`]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/no identity issued/);
    await run.line((line) => /a process was refused pid=\d+/.test(line));
    expect((await stat(dirname(socket))).mode & 0o777).toBe(0o700);
    const { code: status } = await run.stop();
    expect(status).toBe(143);
    await expect(connects(socket)).resolves.toBe(false);
  });

  it("goes on where nobody reads any more what the runner says", async () => {
    const args = ["--disable-warning=ExperimentalWarning", MAIN, ...argsOf("sleep 1; exit 4", [], [])];
    const run = spawn(process.execPath, args, {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, XDG_RUNTIME_DIR: scratch.path },
    });
    run.stderr.destroy();
    expect(await once(run, "exit")).toEqual([4, null]);
  });

  it("is not started where the entries give the run nothing, and is told by which decision", async () => {
    const { code, stdout, stderr } = await runTask("echo started", [], ["--claim=repository_owner_id=5"]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toMatch(/no identity issued \(decision [0-9a-f-]{36}\)/);
  });

  it("waits for a server that cannot be reached, and says so", async () => {
    const args = ["task", "run", "--token-env=ASSAY_ID_TOKEN", "--server=https://127.0.0.1:1", "--", "true"];
    const started = [process.execPath, "--disable-warning=ExperimentalWarning", MAIN, ...args] as const;
    const [command, ...rest] = started;
    await using run = Program.start("task", command, rest, { env: { ASSAY_ID_TOKEN: "e30.e30.e30" } });
    let from = 0;
    for (let attempts = 0; attempts < 4; attempts++) {
      const line = await run.line((text) => text.includes("trying again"), { from });
      expect(line).toContain("127.0.0.1:1: connect ECONNREFUSED");
      from = run.lines.indexOf(line, from) + 1;
    }
    expect((await run.stop()).code).toBe(143);
  });

  it("is not started where the run has had a task with another key", async () => {
    const claims = ["--claim=run_id=77", "--claim=check_run_id=78"];
    expect((await runTask("exit 0", [], claims)).code).toBe(0);
    const { code, stdout } = await runTask("echo started", [], claims);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  });
});

describe("a task that an operator ends", () => {
  it("takes the identity from a command that goes on", async () => {
    const run = startRun(
      `trap 'exit 3' TERM; echo "task $ASSAY_TASK_ID"; while ${ASSAY} fetch jwt --audience "$(date +%s%N)" > /dev/null; do :; done; echo refused; while :; do sleep 0.1; done`,
    );
    const task = (await run.line((line) => line.startsWith("task "))).slice(5);
    await assayJson(["tasks", "end", task, `--admin-socket=${join(folder, "server-admin.sock")}`]);
    const ended = performance.now();
    await run.line((line) => line === "refused");
    expect(performance.now() - ended).toBeLessThan(10_000);
    await run.line((line) => line.includes("the task is over, and the command goes on without an identity"));
    run.signal("SIGTERM");
    expect((await run.ended).code).toBe(3);
    expect((await stateOf(task)).task).toMatchObject({ state: "ended", end_reason: "operator" });
  });
});

describe("what a command gets besides", () => {
  it("is files that belong together, for it alone, and JWT-SVIDs where it wants them", async () => {
    const { stdout } = await runTask(
      `cd "$ASSAY_TASK_FILES"; stat -Lc '%n %a' *; cat svid.pem key.pem; echo "env $DB_TOKEN"; echo "file $(cat vault.jwt)"; ls bundle.pem`,
      ["--write-files", "--jwt-file=vault.jwt=vault", "--jwt-env=DB_TOKEN=db"],
    );
    expect(stdout).toContain("bundle.pem 600\nkey.pem 600\nsvid.pem 600\nvault.jwt 600\n");
    const [certificate = ""] = /-----BEGIN CERTIFICATE-----[^]+?-----END CERTIFICATE-----/.exec(stdout) ?? [];
    const [key = ""] = /-----BEGIN PRIVATE KEY-----[^]+?-----END PRIVATE KEY-----/.exec(stdout) ?? [];
    const leaf = new X509Certificate(certificate);
    expect(leaf.publicKey.equals(createPublicKey(key))).toBe(true);
    expect(leaf.subjectAltName).toMatch(/^URI:spiffe:\/\/example\.org\/ci\/github\//);
    expect(audienceOf(/^env (\S+)$/m.exec(stdout)?.[1])).toEqual(["db"]);
    expect(audienceOf(/^file (\S+)$/m.exec(stdout)?.[1])).toEqual(["vault"]);
  });

  it("is the platform's own variables, or none of its tokens where that is asked for", async () => {
    const script = `echo "token \${ACTIONS_ID_TOKEN_REQUEST_TOKEN:-none} run \${GITHUB_RUN_ID:-none}"`;
    expect((await runTask(script)).stdout).toMatch(/^token [\w-]{32} run \d+$/m);
    expect((await runTask(script, ["--hide-platform-token"])).stdout).toMatch(/^token none run \d+$/m);
  });

  it("is nothing secret on any command line", async () => {
    const run = startRun('echo "pid $$"; exec sleep 60', ["--jwt-file=a=db"]);
    const command = Number((await run.line((line) => line.startsWith("pid "))).slice(4));
    const runner = await runnerOf(command);
    for (const pid of [command, runner, await runnerOf(runner)]) {
      expect(await readFile(`/proc/${pid}/cmdline`, "latin1")).not.toMatch(/eyJ|Bearer|DPoP/);
      expect(await readFile(`/proc/${pid}/environ`, "latin1")).not.toMatch(/eyJ|PRIVATE/);
    }
    await run.stop();
  });
});

describe("a run whose runner was killed", () => {
  it("is over when its lease is", async () => {
    const deadline = killed.since + 90_000;
    let last = await stateOf(killed.task);
    // It was told to nobody: nothing but asking tells when.
    while (last.task.state !== "ended" && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 500));
      last = await stateOf(killed.task);
    }
    expect(last.task).toMatchObject({ state: "ended", end_reason: "lease" });
    expect(performance.now() - killed.since).toBeGreaterThan(10_000);
  });
});

function connects(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ path });
    socket.once("connect", () => resolve(true));
    socket.once("error", () => resolve(false));
  });
}

function audienceOf(token = ""): unknown {
  const payload = Buffer.from(token.split(".")[1] ?? "", "base64url").toString();
  return (JSON.parse(payload) as { aud: unknown }).aud;
}
