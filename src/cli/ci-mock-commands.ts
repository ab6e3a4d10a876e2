import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Command } from "commander";
import { FORWARDED_SIGNALS, startCommand } from "../agent/task/child.ts";
import { TASK_ID_VARIABLE } from "../agent/task/task-state.ts";
import { platformVariables } from "../attestation/task/platforms/find-platform.ts";
import { openMockEndpoint } from "./ci-mock-endpoint.ts";
import { findMockPlace, type MockPlace } from "./ci-mock-place.ts";
import { MOCK_PLATFORMS, mockPlatform, type MockPlatform, type Variables } from "./ci-mock-platforms.ts";
import { beginMockRun, type MockRun } from "./ci-mock-tokens.ts";
import type { CliIo } from "./io.ts";
import { collect } from "./options.ts";
import { TASK_VARIABLES } from "./task-commands.ts";

interface MockFlags {
  readonly dev?: string;
  readonly claim?: readonly string[];
}

/** Adds `assay ci-mock`: a command as a job of an imitated CI platform, believed by `assay dev` and nobody else. */
export function addCiMockCommand(program: Command, io: CliIo): void {
  program
    .command("ci-mock")
    .usage("[options] <platform> -- <command> [argument...]")
    .description("run a command as a job of an imitated CI platform, for assay dev")
    .argument("<platform>", MOCK_PLATFORMS.map(({ name }) => name).join(", "))
    .argument("<command...>", "the command and its arguments, such as assay task run -- env")
    .option("--dev <folder>", "the folder of assay dev (default: that of the only one that runs)")
    .option(
      "--claim <name=value>",
      "a claim that is different, or a name alone to leave it out; may be given again",
      collect,
    )
    .action((platform: string, command: string[], flags: MockFlags) =>
      runMock(io, mockPlatform(platform), command, flags),
    );
}

async function runMock(
  io: CliIo,
  platform: MockPlatform,
  command: readonly string[],
  { dev, claim = [] }: MockFlags,
): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const place = await findMockPlace(dev);
  const run = beginMockRun(platform, place, claim, io.clock);
  const folder = await mkdtemp(join(tmpdir(), "assay-ci-mock-"));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  const access = await tokenAccess(
    platform,
    place,
    run,
    folder,
    io.environment.variables["PATH"] ?? "",
    stack,
  );
  const started = await startCommand(command, {
    ...withoutPlatforms(io.environment.variables),
    ...platform.variables(run.claims),
    ...access,
    [TASK_VARIABLES.server]: place.server,
    [TASK_VARIABLES.trustBundle]: place.trustBundle,
    // A run of its own, wherever it was started.
    [TASK_ID_VARIABLE]: undefined,
  });
  if ("failure" in started) {
    io.stderr(`assay: ${started.failure.detail}\n`);
    io.leaveWith(started.status);
    return;
  }
  const ofTerminal = new Set<NodeJS.Signals>(io.hasTerminal ? ["SIGINT", "SIGQUIT", "SIGWINCH"] : []);
  stack.use(
    io.takeSignals(FORWARDED_SIGNALS, (signal) => {
      // A terminal has sent it to the command as well.
      if (!ofTerminal.has(signal)) started.forward(signal);
    }),
  );
  io.leaveWith(await started.status);
}

/** What a job of the platform gets its token by. */
async function tokenAccess(
  { token: way }: MockPlatform,
  { server }: MockPlace,
  run: MockRun,
  folder: string,
  path: string,
  stack: AsyncDisposableStack,
): Promise<Variables> {
  switch (way.by) {
    case "variable":
      return { [way.name]: run.token(server) };
    case "file": {
      const file = join(folder, "token");
      await writeFile(file, run.token(server), { mode: 0o600 });
      return { [way.name]: file };
    }
    case "endpoint": {
      const { url, secret } = stack.use(await openMockEndpoint(run.token));
      return way.variables(url, secret);
    }
    case "command": {
      const { url, secret } = stack.use(await openMockEndpoint(run.token));
      const program = join(folder, way.command);
      await writeFile(join(folder, "ask.mjs"), ASK);
      await writeFile(
        program,
        `#!/bin/sh\nexec ${quoted(process.execPath)} ${quoted(join(folder, "ask.mjs"))} "$@"\n`,
      );
      await chmod(program, 0o700);
      const variables = { CI_MOCK_URL: url, CI_MOCK_SECRET: secret, PATH: `${folder}:${path}` };
      return { ...way.variables(secret), ...variables };
    }
  }
}

/** The environment without the signs of the platform that we may run on ourselves. */
function withoutPlatforms(variables: Variables): Variables {
  const signs = platformVariables();
  return Object.fromEntries(Object.entries(variables).filter(([name]) => !signs.has(name)));
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

/** What imitates a platform's command: the audience is the value of `--audience`, or `aud` of `--claims`. */
const ASK = `const { env } = process;
const args = process.argv.slice(2);
const of = (flag) => args[args.indexOf(flag) + 1] ?? "";
const audience = args.includes("--claims") ? JSON.parse(of("--claims")).aud : of("--audience");
const url = env.CI_MOCK_URL + "/token?audience=" + encodeURIComponent(audience);
const answer = await fetch(url, { headers: { authorization: "Bearer " + env.CI_MOCK_SECRET } });
if (!answer.ok) throw new Error("status " + answer.status);
console.log(await answer.text());
`;
