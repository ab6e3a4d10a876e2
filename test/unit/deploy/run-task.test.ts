import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { at, DEPLOY, deployYaml } from "./deploy-files.ts";

/** Text that would leave a file behind wherever a shell read it as its own. */
const HOSTILE = "$(touch hacked) `touch hacked` '; touch hacked; \" && touch hacked #\n*";
const PEM = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----";
const SERVER = "https://assay.example.org";
const JOB_ID = "0184990a-4700-4a1e-9a0c-2b6b5ff8d001";

let folder: string;
let temporary: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "deploy-"));
  temporary = join(folder, "temporary");
  await mkdir(join(folder, "bin"));
  await mkdir(temporary);
  // Writes down how it was called, and is what `assay task run` is to a script.
  await place("assay", FAKE_ASSAY);
});
afterEach(() => rm(folder, { recursive: true }));

interface Wrapper {
  readonly name: string;
  /** The variables that the platform makes of settings. */
  variables(settings: Readonly<Record<string, string>>): Readonly<Record<string, string>>;
  /** What the platform starts. */
  readonly command: readonly [string, ...string[]];
}

const WRAPPERS: readonly Wrapper[] = [
  {
    name: "the GitHub Action",
    variables: (settings) => ({
      ...resolved(at(deployYaml("github-action", "action.yml")[0], "inputs"), settings, "env"),
      ASSAY_INPUT_FOLDER: temporary,
      GITHUB_ACTION_PATH: join(DEPLOY, "github-action"),
    }),
    command: [
      "bash",
      "-eo",
      "pipefail",
      "-c",
      at(deployYaml("github-action", "action.yml")[0], "runs", "steps", 0, "run") as string,
    ],
  },
  {
    name: "the GitLab component",
    variables: (settings) => ({
      ...resolved(
        at(deployYaml("gitlab-component", "templates", "task.yml")[0], "spec", "inputs"),
        settings,
        "env",
      ),
      ASSAY_INPUT_PROGRAM: at(gitlabJob(), "variables", "ASSAY_INPUT_PROGRAM", "value") as string,
      TMPDIR: temporary,
    }),
    command: ["sh", "-e", "-c", at(gitlabJob(), "script", 0) as string],
  },
  {
    name: "the Buildkite plugin",
    variables: ({ run = "", "jwt-files": jwtFiles, ...settings }) => ({
      ...resolved({}, settings, "plugin"),
      ...Object.fromEntries(
        (jwtFiles ?? "")
          .split("\n")
          .flatMap((line, number) =>
            line === "" ? [] : [[`BUILDKITE_PLUGIN_ASSAY_TASK_JWT_FILES_${number}`, line]],
          ),
      ),
      BUILDKITE_COMMAND: run,
      BUILDKITE_JOB_ID: JOB_ID,
      TMPDIR: temporary,
    }),
    command: [join(DEPLOY, "buildkite-plugin", "hooks", "command")],
  },
];

describe.each(WRAPPERS)("$name", (wrapper) => {
  it("runs the script as a task, whose exit status is its own", async () => {
    const { status, calls } = await start({ run: "echo one\nexit 7", server: SERVER, version: "installed" });
    expect(status).toBe(7);
    const [args = []] = calls;
    expect(args.slice(0, 4)).toEqual(["task", "run", "--server", SERVER]);
    const end = args.indexOf("--");
    expect(args.slice(end + 1, -1)).toEqual(["bash", "-eo", "pipefail"]);
    expect(await readFile(join(folder, "ran"), "utf8")).toBe("echo one\nexit 7\n");
  });

  it("ends at the first command that fails, and at one that fails within a pipe", async () => {
    const run = "false | true\ntouch reached";
    expect((await start({ run, server: SERVER, version: "installed" })).status).toBe(1);
    expect(existsSync(join(folder, "reached"))).toBe(false);
  });

  it("hands every setting on as it is, whatever a shell would make of it", async () => {
    const { calls, stderr } = await start({
      run: "true",
      server: `${SERVER}/${HOSTILE}`,
      "trust-bundle": `${PEM}\n${HOSTILE}`,
      "jwt-files": `database=a b $(touch hacked)\n  aws=sts.amazonaws.com  `,
      "write-files": "true",
      "hide-platform-token": "true",
      version: "installed",
    });
    expect(stderr).toBe("");
    const [args = []] = calls;
    expect(valuesOf(args, "--server")).toEqual([`${SERVER}/${HOSTILE}`]);
    const [bundle = ""] = valuesOf(args, "--trust-bundle");
    expect(await readFile(join(folder, "trust-bundle"), "utf8"), bundle).toBe(`${PEM}\n${HOSTILE}\n`);
    expect(valuesOf(args, "--jwt-file")).toEqual(["database=a b $(touch hacked)", "aws=sts.amazonaws.com"]);
    expect(args).toContain("--write-files");
    expect(args).toContain("--hide-platform-token");
    expect(existsSync(join(folder, "hacked"))).toBe(false);
  });

  it("takes a bundle by the path of its file", async () => {
    const path = join(folder, "a bundle.pem");
    await writeFile(path, PEM);
    const { calls } = await start({
      run: "true",
      server: SERVER,
      "trust-bundle": path,
      version: "installed",
    });
    expect(valuesOf(calls[0] ?? [], "--trust-bundle")).toEqual([path]);
  });

  it("leaves none of its own variables to the script, and keeps its files from others", async () => {
    const run = "env | grep -c ^ASSAY_INPUT_ || true";
    const { stdout } = await start({ run, server: SERVER, "trust-bundle": PEM, version: "installed" });
    expect(stdout.trim()).toBe("0");
    expect(await readFile(join(folder, "modes"), "utf8")).toBe("600\n700\n");
  });

  it.each([
    [{ server: "" }, "server is empty"],
    [{ run: "" }, "run is empty"],
    [{ version: "latest" }, "version is not an exact one"],
    [{ version: "^1.0.0" }, "version is not an exact one"],
    [{ version: "" }, wrapper.name === "the Buildkite plugin" ? undefined : "version is not an exact one"],
    [{ "write-files": "yes" }, "write-files is neither true nor false"],
    [{ "hide-platform-token": "TRUE" }, "hide-platform-token is neither true nor false"],
    [{ "trust-bundle": "/nowhere/bundle.pem" }, "trust-bundle is neither a bundle nor a file"],
  ])("refuses %j and starts nothing", async (wrong, reason) => {
    if (reason === undefined) return;
    await place("npm", "#!/bin/sh\ntouch npm-was-called\n");
    const { status, stderr, calls } = await start({
      run: "true",
      server: SERVER,
      version: "1.2.3",
      ...wrong,
    });
    expect(stderr).toContain(reason);
    expect(status).toBe(2);
    expect(calls).toEqual([]);
    expect(existsSync(join(folder, "npm-was-called"))).toBe(false);
  });

  it("installs exactly the version named, with nothing of it run, and starts that", async () => {
    await place("npm", FAKE_NPM);
    const { status, calls, stderr } = await start({
      run: "true",
      server: SERVER,
      version: "1.2.3-rc.1",
      package: "@assay/assay",
    });
    expect(stderr).toBe("");
    expect(status).toBe(0);
    const npm = (await readFile(join(folder, "npm-arguments"), "utf8")).split("\n");
    expect(npm).toContain("--ignore-scripts");
    expect(npm.slice(npm.indexOf("--"), -1)).toEqual(["--", "@assay/assay@1.2.3-rc.1"]);
    expect(calls).toHaveLength(1);
    expect(await readFile(join(folder, "program"), "utf8")).toMatch(/package\/node_modules\/\.bin\/assay\n$/);
  });

  it("installs a tarball where it is given one", async () => {
    await place("npm", FAKE_NPM);
    await writeFile(join(folder, "assay-1.2.3.tgz"), "");
    await start({ run: "true", server: SERVER, package: "assay-1.2.3.tgz", version: "1.2.3" });
    const npm = (await readFile(join(folder, "npm-arguments"), "utf8")).split("\n");
    expect(npm.slice(npm.indexOf("--"), -1)).toEqual(["--", join(folder, "assay-1.2.3.tgz")]);
  });

  function start(settings: Readonly<Record<string, string>>): Promise<Outcome> {
    const [command, ...args] = wrapper.command;
    const env = { PATH: path(), HOME: folder, FAKE_FOLDER: folder, ...wrapper.variables(settings) };
    return new Promise((resolve) => {
      execFile(command, args, { cwd: folder, env }, (error, stdout, stderr) => {
        const status = error === null ? 0 : (error.code as unknown as number);
        void callsOf().then((calls) => resolve({ status, stdout, stderr, calls }));
      });
    });
  }
});

describe("the Buildkite plugin's folder", () => {
  const [, , plugin] = WRAPPERS;

  it("is gone after the hook that runs in the end", async () => {
    const env: Readonly<Record<string, string>> = {
      PATH: path(),
      FAKE_FOLDER: folder,
      ...plugin?.variables({ run: "true", server: SERVER, version: "installed" }),
    };
    await hook("command", env);
    expect(await readdir(temporary)).toHaveLength(1);
    await hook("pre-exit", env);
    expect(await readdir(temporary)).toEqual([]);
    await hook("pre-exit", env);
  });

  it("is not one that somebody else made", async () => {
    const env: Readonly<Record<string, string>> = {
      PATH: path(),
      FAKE_FOLDER: folder,
      ...plugin?.variables({ run: "true", server: SERVER, version: "installed" }),
    };
    await mkdir(join(temporary, `assay-buildkite-${JOB_ID}`));
    await expect(hook("command", env)).rejects.toThrow(/File exists/);
    expect(await callsOf()).toEqual([]);
  });

  it("outlives a signal to the whole job until the task has ended, as its status tells", async () => {
    const variables = plugin?.variables({
      run: "trap 'sleep 0.3; exit 7' TERM; echo ready; while :; do sleep 0.05; done",
      server: SERVER,
      version: "installed",
    });
    const child = spawn(join(DEPLOY, "buildkite-plugin", "hooks", "command"), {
      cwd: folder,
      env: { PATH: path(), FAKE_FOLDER: folder, ...variables },
      stdio: ["ignore", "pipe", "ignore"],
      detached: true,
    });
    await once(child.stdout, "data");
    const ended = once(child, "exit");
    process.kill(-(child.pid ?? 0), "SIGTERM");
    expect(await ended).toEqual([7, null]);
  });

  it("is nowhere else, whatever the job's id is said to be", async () => {
    const env = { PATH: path(), TMPDIR: temporary, BUILDKITE_JOB_ID: "../../home" };
    await expect(hook("pre-exit", env)).rejects.toThrow(/no UUID/);
  });

  function hook(name: string, env: Readonly<Record<string, string>>): Promise<string> {
    return new Promise((resolve, reject) => {
      execFile(
        join(DEPLOY, "buildkite-plugin", "hooks", name),
        { cwd: folder, env },
        (error, stdout, stderr) =>
          error === null ? resolve(stdout) : reject(new Error(stderr, { cause: error })),
      );
    });
  }
});

interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
  /** The arguments of each call of `assay`. */
  readonly calls: readonly (readonly string[])[];
}

async function place(name: string, text: string): Promise<void> {
  const program = join(folder, "bin", name);
  await writeFile(program, text);
  await chmod(program, 0o755);
  expect((await stat(program)).mode & 0o111).toBe(0o111);
}

function path(): string {
  return [join(folder, "bin"), "/usr/bin", "/bin"].join(delimiter);
}

async function callsOf(): Promise<string[][]> {
  if (!existsSync(join(folder, "calls"))) return [];
  const text = await readFile(join(folder, "calls"), "utf8");
  return text
    .split("\u0001")
    .slice(0, -1)
    .map((call) => call.split("\0").slice(0, -1));
}

function valuesOf(args: readonly string[], flag: string): string[] {
  const end = args.indexOf("--");
  return args.flatMap((arg, place) => (place > 0 && place < end && args[place - 1] === flag ? [arg] : []));
}

function gitlabJob(): unknown {
  return at(deployYaml("gitlab-component", "templates", "task.yml")[1], "$[[ inputs.job ]]");
}

/** Settings with the defaults of what declares them, as the variables that a platform makes of them. */
function resolved(
  declared: unknown,
  settings: Readonly<Record<string, string>>,
  kind: "env" | "plugin",
): Record<string, string> {
  const defaults = Object.fromEntries(
    Object.entries(declared as object).map(([name, input]) => [
      name,
      String((input as { readonly default?: unknown }).default ?? ""),
    ]),
  );
  const prefix = kind === "env" ? "ASSAY_INPUT_" : "BUILDKITE_PLUGIN_ASSAY_TASK_";
  return Object.fromEntries(
    Object.entries({ ...defaults, ...settings }).map(([name, value]) => [
      `${prefix}${name.toUpperCase().replaceAll("-", "_")}`,
      value,
    ]),
  );
}

const FAKE_ASSAY = `#!/usr/bin/env bash
set -euo pipefail
for argument in "$@"; do printf '%s\\0' "$argument"; done >>"$FAKE_FOLDER/calls"
printf '\\1' >>"$FAKE_FOLDER/calls"
printf '%s\\n' "$0" >"$FAKE_FOLDER/program"
while [ "$1" != -- ]; do
  if [ "$1" = --trust-bundle ]; then cp "$2" "$FAKE_FOLDER/trust-bundle"; fi
  shift
done
shift
cp "\${!#}" "$FAKE_FOLDER/ran"
stat -c %a "\${!#}" "$(dirname "\${!#}")" >"$FAKE_FOLDER/modes"
exec "$@"
`;

const FAKE_NPM = `#!/usr/bin/env bash
set -euo pipefail
printf '%s\\n' "$@" >"$FAKE_FOLDER/npm-arguments"
while [ "$1" != --prefix ]; do shift; done
mkdir -p "$2/node_modules/.bin"
cp "$FAKE_FOLDER/bin/assay" "$2/node_modules/.bin/assay"
`;
