import { chmod, mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { Program, run, type RunOptions } from "./program.ts";
import { freePorts, makeScratch, type Scratch } from "./scratch.ts";

const TOP = join(import.meta.dirname, "..", "..");
const PAGE = join(TOP, "docs", "guides", "ci-job-to-mtls-service.md");
const PORTS = ["8081", "8443", "9443"] as const;

/**
 * A fenced block. What stands behind `sh` says what becomes of its commands: nothing for those that succeed, `fails` for
 * those that do not, `stays NAME` for a program that is left running, `every-terminal` for what comes before each block.
 * Those of `install` are what package.test.ts does, and those of `github` need GitHub.
 */
interface Block {
  readonly language: string;
  readonly words: readonly string[];
  readonly text: string;
}

/** A block of commands and the blocks that say what is seen then: `text` of themselves, `text NAME` of what runs. */
interface Step extends Block {
  readonly seen: readonly Block[];
}

let scratch: Scratch;
const page = blocksOf(await readFile(PAGE, "utf8"));
const steps = stepsOf(page);
const running = new Map<string, Program>();
const heard = new Map<string, number>();
/** What the page says and what it is here: ports that are free, and nobody listens to the network. */
const elsewhere = new Map<string, string>([["0.0.0.0", "127.0.0.1"]]);

beforeAll(async () => {
  scratch = await makeScratch();
  const ports = await freePorts(PORTS.length);
  for (const [at, port] of PORTS.entries()) elsewhere.set(`:${port}`, `:${ports[at] ?? 0}`);
  elsewhere.set("listen(9443", `listen(${ports[2] ?? 0}`);
  await placePackage(scratch.at("assay-guide"));
});

afterAll(async () => {
  for (const program of [...running.values()].toReversed()) await program[Symbol.asyncDispose]();
  await scratch?.[Symbol.asyncDispose]();
});

describe("docs/guides/ci-job-to-mtls-service.md", () => {
  it("says of each command what is seen", () => {
    const commands = steps.filter(({ words: [kind] }) => kind === undefined || kind !== "every-terminal");
    expect(commands.length).toBeGreaterThan(15);
    for (const { words, text, seen } of commands) {
      if (words[0] !== "install" && words[0] !== "github") expect(seen, text).not.toEqual([]);
    }
  });

  // The steps build on each other, so they are one test.
  it("shows commands that do what it says, one after the other", { timeout: 300_000 }, async () => {
    const [prelude] = steps.filter(({ words }) => words[0] === "every-terminal");
    for (const step of steps) {
      const [kind, name = ""] = step.words;
      const script = here(`set -euo pipefail\n${prelude?.text ?? ""}\n${step.text}`);
      if (kind === "stays") await startStep(name, script, step.seen);
      else if (kind === undefined || kind === "fails") await runStep(script, kind === "fails", step);
    }
  });

  it("shows a workflow that asks for a token and gives the Action what it takes", async () => {
    const workflows = page.filter(({ language }) => language === "yaml").map(({ text }) => text);
    expect(workflows).toHaveLength(1);
    const workflow = parse(workflows[0] ?? "") as Workflow;
    expect(Object.keys(workflow).toSorted()).toEqual(["jobs", "name", "on"]);
    const action = parse(await readFile(join(TOP, "deploy", "github-action", "action.yml"), "utf8")) as {
      readonly inputs: Readonly<Record<string, { readonly required?: boolean }>>;
    };
    for (const {
      permissions,
      steps: [step],
    } of Object.values(workflow.jobs)) {
      expect(permissions["id-token"]).toBe("write");
      expect(step?.uses).toMatch(/\/deploy\/github-action@v\d+\.\d+\.\d+$/);
      const given = step?.with ?? {};
      expect(Object.keys(action.inputs)).toEqual(expect.arrayContaining(Object.keys(given)));
      const required = Object.entries(action.inputs).filter(([, { required: must }]) => must === true);
      expect(Object.keys(given)).toEqual(expect.arrayContaining(required.map(([name]) => name)));
      // What GitHub hands over is text.
      for (const value of Object.values(given)) expect(typeof value).toBe("string");
      const checked = await run("bash", ["-n"], { input: given["run"] ?? "" });
      expect(checked).toMatchObject({ code: 0, stderr: "" });
      expect(given["server"]).toBe(/^jwt_issuer: (.*)$/m.exec(steps.map(({ text }) => text).join("\n"))?.[1]);
    }
  });
});

interface Workflow {
  readonly jobs: Readonly<
    Record<
      string,
      {
        readonly permissions: Readonly<Record<string, string>>;
        readonly steps: readonly { readonly uses: string; readonly with: Readonly<Record<string, string>> }[];
      }
    >
  >;
}

async function runStep(script: string, fails: boolean, { seen }: Step): Promise<void> {
  const { code, stdout } = await run("bash", ["-c", `exec 2>&1\n${script}`], inFolder());
  expect(code === 0, `${script}\nended with ${code ?? "a signal"}:\n${stdout}`).toBe(!fails);
  for (const { words, text } of seen) {
    const [name] = words;
    if (name === undefined) expectSeen(stdout.split("\n"), text, script);
    else await expectSaid(name, text);
  }
}

async function startStep(name: string, script: string, seen: readonly Block[]): Promise<void> {
  // The program in the place of the shell, so that it is what is stopped.
  const last = script.trimEnd().lastIndexOf("\n") + 1;
  const text = `${script.slice(0, last)}${script.slice(last).replace(/^((?:\w+=\S+ )*)/, "exec env $1")}`;
  running.set(name, Program.start(name, "bash", ["-c", text], inFolder()));
  for (const { text: lines } of seen) await expectSaid(name, lines);
}

/** Waits until a program that runs has said these lines, in this order, after those that were waited for before. */
async function expectSaid(name: string, text: string): Promise<void> {
  const program = running.get(name);
  if (program === undefined) throw new Error(`nothing called ${name} runs`);
  for (const form of formsOf(text)) {
    const from = heard.get(name) ?? 0;
    const line = await program.line((said) => form.test(said), { from, patience: 90_000 });
    heard.set(name, program.lines.indexOf(line, from) + 1);
  }
}

/** Each line that the page shows must be there, in this order; others may stand between. */
function expectSeen(lines: readonly string[], text: string, script: string): void {
  let from = 0;
  for (const form of formsOf(text)) {
    const at = lines.findIndex((line, number) => number >= from && form.test(line));
    expect(
      at,
      `${form} is not seen after line ${from} of what this printed:\n${script}\n${lines.join("\n")}`,
    ).toBeGreaterThan(-1);
    from = at + 1;
  }
}

/** What lines must look like: … is any text, and spaces are as wide as they like. */
function formsOf(text: string): readonly RegExp[] {
  return here(text)
    .split("\n")
    .map((line) => line.trimEnd())
    .filter((line) => line !== "" && line !== "…")
    .map((line) => {
      const words = line.split(/\s+/).map((word) =>
        word
          .split("…")
          .map((part) => part.replaceAll(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`))
          .join(".*"),
      );
      return new RegExp(`^${words.join("\\s*")}`);
    });
}

function here(text: string): string {
  return [...elsewhere].reduce((changed, [theirs, ours]) => changed.replaceAll(theirs, ours), text);
}

/** The home folder of whoever reads the page; the Node of the tests is theirs. */
function inFolder(): RunOptions {
  const { PATH = "" } = process.env;
  return {
    cwd: scratch.path,
    env: {
      HOME: scratch.path,
      XDG_RUNTIME_DIR: "",
      PATH: `${dirname(process.execPath)}:${PATH}`,
      NODE_OPTIONS: `--disable-warning=ExperimentalWarning --import=${import.meta.resolve("./source-package.ts")}`,
    },
    patience: 120_000,
  };
}

/** What the page's installation leaves: the command and the package, here the checkout's source. */
async function placePackage(folder: string): Promise<void> {
  const modules = join(folder, "node_modules");
  await mkdir(join(modules, "@assay"), { recursive: true });
  await mkdir(join(modules, ".bin"));
  await writeFile(join(folder, "package.json"), "{}");
  await symlink(TOP, join(modules, "@assay", "assay"));
  const command = join(modules, ".bin", "assay");
  await writeFile(command, `#!/bin/sh\nexec '${process.execPath}' '${join(TOP, "src", "main.ts")}' "$@"\n`);
  await chmod(command, 0o755);
}

function blocksOf(text: string): readonly Block[] {
  return [...text.matchAll(/^```(\w+)(.*)\n([^]*?)^```$/gm)].map(
    ([, language = "", info = "", content = ""]) => ({
      language,
      words: info.split(" ").filter((word) => word !== ""),
      text: content,
    }),
  );
}

function stepsOf(blocks: readonly Block[]): readonly Step[] {
  const found: (Block & { readonly seen: Block[] })[] = [];
  for (const block of blocks) {
    if (block.language === "sh") found.push({ ...block, seen: [] });
    else if (block.language === "text") found.at(-1)?.seen.push(block);
  }
  return found;
}
