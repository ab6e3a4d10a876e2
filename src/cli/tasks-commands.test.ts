import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { runCommand } from "../../test/fakes/cli.ts";
import { ExplainBench } from "../../test/fakes/explain-bench.ts";
import { makeCsr } from "../../test/fakes/issuance-csr.ts";
import { INSTANCE, STRANGER } from "../../test/fakes/task-bench.ts";
import { parseSpiffeId } from "../spiffe/id.ts";
import type { TaskRecord } from "../store/task-store.ts";
import type { JobExplanationView, TaskExplanationView, TaskView } from "./task-view.ts";
import { taskExplanationText } from "./task-text.ts";

let bench: ExplainBench;
let socket: string;
beforeEach(async () => {
  bench = await ExplainBench.open();
  socket = await bench.listen();
  await bench.tasks.entry({
    spiffeId: parseSpiffeId("spiffe://example.org/ci"),
    idTemplate: "/ci/{repository_id}/run/{run_id}/{run_attempt}",
    selectors: [{ type: "github", value: "event:push" }],
    hint: "run",
  });
});
afterEach(() => bench[Symbol.asyncDispose]());

const ID = "spiffe://example.org/ci/2000/run/15923841502/2";
const NOBODY = "5c7bcb0e-31d5-44f7-b1a1-3bb0a8a1a7f0";

describe("assay tasks list", () => {
  it("prints a table, the newest first", async () => {
    const one = await openJob("1");
    const two = await openJob("2");
    await bench.tasks.issuance.end(STRANGER, one.id, "operator");
    const { code, stdout } = await run("tasks", "list");
    const lines = stdout.split("\n");
    expect(code).toBe(0);
    expect(lines[0]).toMatch(/^TASK +STATE +ATTESTOR +OPENED +UNTIL +RUN$/);
    expect(lines[1]).toMatch(
      new RegExp(`^${two.id} +active +${INSTANCE} .* octo-org/octo-repo deploy run 15923841502 attempt 2`),
    );
    expect(lines[2]).toMatch(new RegExp(`^${one.id} +ending \\(an operator\\)`));
  });

  it("keeps to the filters, and prints JSON as the HTTP API has it", async () => {
    const one = await openJob("1");
    const two = await openJob("2", { run_id: "77" });
    await bench.tasks.issuance.end(STRANGER, one.id, "operator");
    const ids = async (...flags: readonly string[]) => {
      const { stdout } = await run("tasks", "list", "--output", "json", ...flags);
      return (JSON.parse(stdout) as readonly TaskView[]).map(({ id }) => id);
    };
    expect(await ids()).toEqual([two.id, one.id]);
    expect(await ids("--state", "active")).toEqual([two.id]);
    expect(await ids("--state", "ending")).toEqual([one.id]);
    expect(await ids("--attestor", "other")).toEqual([]);
    expect(await ids("--spiffe-id", ID.replace("15923841502", "77"))).toEqual([two.id]);
    expect(await ids("--limit", "1")).toEqual([two.id]);
  });

  it("follows pages up to its limit", async () => {
    for (let i = 0; i < 12; i++) await openJob(String(i));
    const { stdout } = await run("tasks", "list", "--limit", "11", "--output", "json");
    expect(JSON.parse(stdout)).toHaveLength(11);
    expect((await run("tasks", "list", "--state", "ended")).stdout).toBe("no tasks\n");
  });

  it.each([
    [["--state", "gone"], /--state: expected active, ending or ended/],
    [["--limit", "0"], /--limit: expected a number/],
    [["--limit", "1e3"], /--limit: expected a number/],
  ])("exits 2 with %j", async (flags, line) => {
    const { code, stderr } = await run("tasks", "list", ...flags);
    expect(code).toBe(2);
    expect(stderr).toMatch(line);
  });

  it("exits 1 with the server's words where a filter is no SPIFFE ID", async () => {
    const { code, stderr } = await run("tasks", "list", "--spiffe-id", "x");
    expect(code).toBe(1);
    expect(stderr).toMatch(/^assay: .*spiffe/i);
  });
});

describe("assay tasks show and end", () => {
  it("shows what was issued to a task, and ends it so that all of it is revoked", async () => {
    const task = await openJob("1");
    await bench.tasks.issuance.jwtSvid(bench.tasks.caller(task), { audience: ["db"], status: false });
    const shown = await run("tasks", "show", task.id);
    expect(shown.stdout).toContain("State:         active\n");
    expect(shown.stdout).toContain(`Identities:    ${ID}  (hint run)\n`);
    expect(shown.stdout).toMatch(new RegExp(`  JWT-SVID  ${ID}\n    token id [^\n]+, good until `));

    const ended = await run("tasks", "end", task.id.toUpperCase());
    expect(ended).toMatchObject({ code: 0, stderr: "" });
    expect(ended.stdout).toMatch(new RegExp(`^task ${task.id} is over, ended 20`));
    expect(bench.tasks.tasks.get(task.id)).toMatchObject({ state: "ending", endReason: "operator" });
    expect(bench.tasks.bench.audit.records.at(-1)).toMatchObject({
      event: "task.ended",
      reason: "operator",
      caller_uid: 1000,
    });
    expect((await run("tasks", "show", task.id)).stdout).toMatch(/ {4}revoked 20[^\n]* \(operator\)\n/);
    expect(await run("tasks", "end", task.id)).toMatchObject({ code: 0 });
  });

  it.each(["show", "end"])("%s exits 1 for a task that is not there, 2 for no id", async (verb) => {
    expect(await run("tasks", verb, NOBODY)).toEqual({
      code: 1,
      stdout: "",
      stderr: `assay: there is no task ${NOBODY}\n`,
    });
    const bad = await run("tasks", verb, "../entries");
    expect(bad.code).toBe(2);
    expect(bad.stderr).toBe('assay: <id>: expected the id of a task, a UUID, got "../entries"\n');
  });

  it("exits 1 where nobody answers", async () => {
    const nowhere = `${socket}.none`;
    for (const args of [["list"], ["end", NOBODY]]) {
      const { code, stderr } = await runCommand(["tasks", ...args, "--admin-socket", nowhere]);
      expect(code).toBe(1);
      expect(stderr).toMatch(/nothing answers on .* \(there is no such socket\); is the program running/);
    }
  });
});

describe("assay explain task", () => {
  it("prints one page from claims to revocation", async () => {
    const task = await openJob("1", { event_name: "push" });
    const near = await bench.tasks.entry({
      selectors: [
        { type: "github", value: "event:push" },
        { type: "github", value: "environment:test" },
      ],
    });
    await bench.tasks.issuance.x509Svid(bench.tasks.caller(task), { csr: makeCsr() });
    await bench.tasks.issuance.end(STRANGER, task.id, "job");
    const { code, stdout } = await run("explain", "task", task.id);
    expect(code).toBe(0);
    const at = (text: string | RegExp) => {
      const index = typeof text === "string" ? stdout.indexOf(text) : stdout.search(text);
      expect(index, String(text)).toBeGreaterThanOrEqual(0);
      return index;
    };
    const places = [
      at("Task:"),
      at("Claims that the platform vouches for\n"),
      at("  repository_id=2000\n"),
      at("Claims that the job's author can choose\n"),
      at("  actor=octocat\n"),
      at("Selectors\n"),
      at("  github:event:push\n"),
      at("What the entries give for it now\n"),
      at(`  ${ID}  (hint run)\n    entry `),
      at(`    entry ${near.id}  spiffe://example.org/ci/app\n      not seen: github:environment:test\n`),
      at("How long it lives\n"),
      at(/ {2}Cap: +20\S+ {2}\(tasks\.max_duration\)\n/),
      at("Issued\n"),
      at(`  X509-SVID  ${ID}\n    serial `),
      at("End\n"),
      at(/ {2}By: +the job\n/),
      at(/ {2}Revoked: +1 of 1 issued\n/),
      at("Audit log\n"),
      at(/ {2}\S+ {2}task\.opened {2}issued\n/),
      at(/ {2}\S+ {2}svid\.x509\.issued {2}issued\n/),
      at(/ {2}\S+ {2}task\.ended {2}done\n/),
    ];
    expect(places).toEqual(places.toSorted((a, b) => a - b));
    const json = await run("explain", "task", task.id, "--output", "json");
    expect(JSON.parse(json.stdout)).toMatchObject({ id: task.id, trail_cut_off: false });
  });

  it("shows no text of others that would steer a terminal", async () => {
    const task = await openJob("1");
    const { stdout } = await run("explain", "task", task.id, "--output", "json");
    const view = JSON.parse(stdout) as TaskExplanationView;
    if (view.task === null) throw new Error("the task is known");
    const text = taskExplanationText({
      ...view,
      task: { ...view.task, description: "a\u001b[2Jb", author_claims: { ref: "main\u202Eniam" } },
    });
    expect(text).toContain("a\uFFFD[2Jb");
    expect(text).toContain("ref=main\uFFFDniam");
  });

  it("tells of a task that the store has forgotten, and exits 1 for one that nobody knows", async () => {
    bench.tasks.bench.audit.append([
      { event: "task.ended", outcome: "done", task_id: NOBODY, reason: "lease" },
    ]);
    const { stdout } = await run("explain", "task", NOBODY);
    expect(stdout).toContain("forgotten by the store; what follows is from the audit log\n");
    expect(stdout).toMatch(/task\.ended {2}done\n {4}lease\n/);
    const other = NOBODY.replace("5c", "6c");
    expect(await run("explain", "task", other)).toMatchObject({
      code: 1,
      stderr: `assay: there is no task ${other}\n`,
    });
  });
});

describe("assay explain job", () => {
  it("says what saved claims would earn, and that nothing was verified", async () => {
    const { code, stdout } = await explainJob(JSON.stringify(bench.claims()));
    expect(code).toBe(0);
    expect(stdout).toContain(`Outcome:  would be ${ID}\n`);
    expect(stdout).toContain(`  ${ID}  (hint run)\n`);
    expect(stdout).toMatch(/\nSignature, age and use of the token were not looked at\.\n$/);
  });

  it("takes a whole token of a file, and does not send it on", async () => {
    const payload = Buffer.from(JSON.stringify(bench.claims())).toString("base64url");
    const file = join(socket, "..", "token");
    writeFileSync(file, `eyJhbGciOiJub25lIn0.${payload}.c2lnbmF0dXJl\n`);
    const bodies: unknown[] = [];
    bench.onBody = (body) => void bodies.push(body);
    const { stdout } = await run("explain", "job", "--attestor", INSTANCE, "--claims", file);
    expect(stdout).toContain(`would be ${ID}\n`);
    expect(bodies).toEqual([{ claims: bench.claims() }]);
  });

  it("names the guarded selector, and the entry that does not", async () => {
    await bench.tasks.entry({ selectors: [{ type: "github", value: "repository-id:2000" }] });
    const { stdout } = await explainJob(JSON.stringify(bench.claims({ event_name: "pull_request_target" })));
    expect(stdout).toContain("Outcome:  no identity\n");
    expect(stdout).toContain(
      "  github:event:pull_request_target  (guarded: an entry must name it to give anything)\n",
    );
    expect(stdout).toContain("      does not name, though guarded: github:event:pull_request_target\n");
  });

  it("says why claims are refused, with code 0: it was asked and answered", async () => {
    const { code, stdout } = await explainJob(JSON.stringify(bench.claims({ aud: "https://else" })));
    expect(code).toBe(0);
    expect(stdout).toMatch(/^Attestor: github-acme\nOutcome: {2}refused: .*aud.*\n/);
    const json = await explainJob("{}", "--output", "json");
    expect((JSON.parse(json.stdout) as JobExplanationView).refusal).toEqual(expect.any(String));
  });

  it.each(["", "[]", "null", "a.b", "e30.bm90IGpzb24.x", "{"])("exits 2 for %j", async (text) => {
    const { code, stderr } = await explainJob(text);
    expect(code).toBe(2);
    expect(stderr).toMatch(/^assay: --claims: expected /);
  });

  it("exits 1 for an attestor that is not there, 2 for no name", async () => {
    const input = JSON.stringify(bench.claims());
    const ask = (name: string) =>
      runCommand(["explain", "job", "--attestor", name, "--claims", "-", "--admin-socket", socket], {
        input,
      });
    expect(await ask("nobody")).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("attestor") as unknown,
    });
    expect(await ask("../x")).toMatchObject({ code: 2 });
  });
});

function run(...args: readonly string[]) {
  return runCommand([...args, "--admin-socket", socket]);
}

function explainJob(input: string, ...flags: readonly string[]) {
  const args = ["explain", "job", "--attestor", INSTANCE, "--claims", "-", "--admin-socket", socket];
  return runCommand([...args, ...flags], { input });
}

function openJob(checkRun: string, change: Readonly<Record<string, unknown>> = {}): Promise<TaskRecord> {
  return bench.tasks.open(bench.attested({ check_run_id: checkRun, ...change }));
}
