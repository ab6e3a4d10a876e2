import { resolve } from "node:path";
import type { Command } from "commander";
import { FORWARDED_SIGNALS } from "../agent/task/child.ts";
import { TASK_ID_VARIABLE } from "../agent/task/task-state.ts";
import type { ServerTrust } from "../agent/task/server-trust.ts";
import { findPlatform } from "../attestation/task/platforms/find-platform.ts";
import { tokenAt } from "../attestation/task/platforms/held-token-platforms.ts";
import type { JobPlatform } from "../attestation/task/platforms/job-platform.ts";
import { AssayError } from "../errors/assay-error.ts";
import { createLog, LOG_LEVELS, type LogLevel } from "../observe/log.ts";
import { type Audience, parseAudiences } from "../spiffe/audience.ts";
import { parseSpiffeId } from "../spiffe/id.ts";
import type { CliIo } from "./io.ts";
import { collect, oneOf } from "./options.ts";
import type { Programs } from "./programs.ts";

interface TaskRunFlags {
  readonly server?: string;
  readonly trustBundle?: string;
  readonly caFile?: string;
  readonly platform: string;
  readonly audience?: string;
  readonly tokenEnv?: string;
  readonly tokenFile?: string;
  readonly hidePlatformToken: boolean;
  readonly writeFiles: boolean;
  readonly jwtFile?: readonly string[];
  readonly jwtEnv?: readonly string[];
  readonly spiffeId?: string;
  readonly logLevel: LogLevel;
}

/** Variables that stand for flags of `assay task run`, which win over them. */
export const TASK_VARIABLES = {
  server: "ASSAY_SERVER",
  trustBundle: "ASSAY_TRUST_BUNDLE",
  caFile: "ASSAY_CA_FILE",
} as const;

/** Adds `assay task run`: a command of a CI job with an identity that names this run and ends with it. */
export function addTaskCommands(program: Command, io: CliIo, programs: Programs): Command {
  const task = program.command("task").description("CI jobs and other runs whose identity ends with them");
  task
    .command("run")
    .usage("[options] -- <command> [argument...]")
    .description("run a command as a task: with a Workload API of its own, until it ends")
    .argument("<command...>", "the command and its arguments")
    .option("--server <url>", `the server's issuer URL (or ${TASK_VARIABLES.server})`)
    .option(
      "--trust-bundle <file>",
      `the trust domain's bundle, by which the server's X509-SVID is believed (or ${TASK_VARIABLES.trustBundle})`,
    )
    .option(
      "--ca-file <file>",
      `PEM of the authorities that the server's web certificate is believed by (or ${TASK_VARIABLES.caFile}; without both, those of the system)`,
    )
    .option("--platform <name>", "the CI platform, or auto to find it by the environment", "auto")
    .option(
      "--audience <audience>",
      "of the platform's token, where jobs can choose (default: the server's URL)",
    )
    .option("--token-env <name>", "the variable that holds the platform's token")
    .option("--token-file <file>", "the file that holds the platform's token")
    .option("--hide-platform-token", "keep the platform's tokens out of the command's environment", false)
    .option("--write-files", "keep svid.pem, key.pem and bundle.pem in $ASSAY_TASK_FILES", false)
    .option(
      "--jwt-file <name=audience>",
      "keep a JWT-SVID for the audience in $ASSAY_TASK_FILES/name; may be given again",
      collect,
    )
    .option(
      "--jwt-env <name=audience>",
      "put a JWT-SVID for the audience into a variable, once; may be given again",
      collect,
    )
    .option(
      "--spiffe-id <id>",
      "which of the task's identities files and variables are for (default: its first)",
    )
    .option("--log-level <level>", LOG_LEVELS.join(", "), oneOf("--log-level", LOG_LEVELS), "info")
    .action((command: string[], flags: TaskRunFlags) => taskRun(io, programs, command, flags));
  return task;
}

async function taskRun(io: CliIo, programs: Programs, command: string[], flags: TaskRunFlags): Promise<void> {
  const { clock, version, signal } = io;
  const { variables } = io.environment;
  const outer = variables[TASK_ID_VARIABLE] || undefined;
  if (outer !== undefined) {
    // The server would refuse it and call its operator.
    throw new AssayError(
      "USAGE",
      `this runs in task ${outer} already, and a run has one task: what needs its identity finds it at SPIFFE_ENDPOINT_SOCKET (unset ${TASK_ID_VARIABLE} for a task of another server)`,
    );
  }
  const server = serverOf(flags.server ?? (variables[TASK_VARIABLES.server] || undefined));
  const options = {
    server,
    trust: trustOf(io, flags),
    platform: platformOf(io, flags),
    audience: flags.audience ?? server,
    command,
    variables,
    hidePlatformToken: flags.hidePlatformToken,
    folders: [variables["XDG_RUNTIME_DIR"], variables["RUNNER_TEMP"]],
    ...(flags.spiffeId === undefined ? {} : { spiffeId: parseSpiffeId(flags.spiffeId) }),
    writeFiles: flags.writeFiles,
    jwtFiles: audiences("--jwt-file", FILE_NAME, flags.jwtFile),
    jwtVariables: audiences("--jwt-env", VARIABLE_NAME, flags.jwtEnv),
  };
  // Standard output is the command's alone.
  const log = createLog({
    level: flags.logLevel,
    clock,
    format: "pretty",
    destination: { write: io.stderr },
  });
  const status = await programs.runTask(options, {
    clock,
    log,
    version,
    signal,
    hasTerminal: io.hasTerminal,
    takeSignals: (listener) => io.takeSignals(FORWARDED_SIGNALS, listener),
  });
  io.leaveWith(status);
}

function serverOf(text: string | undefined): string {
  if (text === undefined) {
    throw new AssayError(
      "USAGE",
      `--server (or ${TASK_VARIABLES.server}) is missing: the server's issuer URL`,
    );
  }
  const isUrl = URL.canParse(text) && new URL(text).protocol === "https:";
  if (!isUrl) throw new AssayError("USAGE", `--server: expected an https URL, got ${JSON.stringify(text)}`);
  return text;
}

function trustOf({ environment: { variables } }: CliIo, { trustBundle, caFile }: TaskRunFlags): ServerTrust {
  if (trustBundle !== undefined && caFile !== undefined) {
    throw new AssayError(
      "USAGE",
      "--trust-bundle and --ca-file: at most one says how the server is believed",
    );
  }
  if (trustBundle !== undefined) return { kind: "bundle", path: resolve(trustBundle) };
  if (caFile !== undefined) return { kind: "caFile", path: resolve(caFile) };
  const bundleOfJob = variables[TASK_VARIABLES.trustBundle] || undefined;
  const authoritiesOfJob = variables[TASK_VARIABLES.caFile] || undefined;
  if (bundleOfJob !== undefined) return { kind: "bundle", path: resolve(bundleOfJob) };
  if (authoritiesOfJob !== undefined) return { kind: "caFile", path: resolve(authoritiesOfJob) };
  return { kind: "system" };
}

function platformOf({ environment: { variables } }: CliIo, flags: TaskRunFlags): JobPlatform {
  const { tokenEnv, tokenFile, platform } = flags;
  if (tokenEnv !== undefined && tokenFile !== undefined) {
    throw new AssayError("USAGE", "--token-env and --token-file: at most one says where the token is");
  }
  if (tokenEnv !== undefined) return tokenAt({ kind: "variable", name: tokenEnv });
  if (tokenFile !== undefined) return tokenAt({ kind: "file", path: resolve(tokenFile) });
  return findPlatform(platform, variables);
}

/** Reads flags of the form `name=audience`. @throws AssayError `USAGE`. */
function audiences(flag: string, form: RegExp, given: readonly string[] = []): ReadonlyMap<string, Audience> {
  return new Map(
    given.map((text) => {
      const at = text.indexOf("=");
      const name = text.slice(0, Math.max(at, 0));
      if (!form.test(name) || RESERVED.has(name)) {
        throw new AssayError("USAGE", `${flag}: expected name=audience, got ${JSON.stringify(text)}`);
      }
      const [audience] = parseAudiences([text.slice(at + 1)]);
      if (audience === undefined) throw new AssayError("USAGE", `${flag}: ${name} has no audience`);
      return [name, audience];
    }),
  );
}

const FILE_NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/;
const VARIABLE_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,63}$/;
const RESERVED: ReadonlySet<string> = new Set([
  "svid.pem",
  "key.pem",
  "bundle.pem",
  "SPIFFE_ENDPOINT_SOCKET",
  TASK_ID_VARIABLE,
  "ASSAY_TASK_FILES",
]);
