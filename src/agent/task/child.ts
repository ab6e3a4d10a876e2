import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { constants } from "node:os";
import { AssayError } from "../../errors/assay-error.ts";
import { isErrno, reasonOf } from "../../files/file-error.ts";

/** Signals that are passed on to a command. */
export const FORWARDED_SIGNALS = [
  "SIGINT",
  "SIGTERM",
  "SIGHUP",
  "SIGQUIT",
  "SIGUSR1",
  "SIGUSR2",
  "SIGWINCH",
] as const satisfies readonly NodeJS.Signals[];

/** A command that runs with the streams of this process. */
export interface RunningCommand {
  readonly pid: number;
  /** Its exit status as a shell tells it: 128 and the number of the signal that ended it. */
  readonly status: Promise<number>;
  /** Passes a signal on; none where it has ended. */
  forward(signal: NodeJS.Signals): void;
}

/** A command that could not be started, with the status that a shell has for that: 126, or 127 where there is none. */
export interface FailedStart {
  readonly failure: AssayError;
  readonly status: number;
}

/** Starts a command with these variables as its whole environment. */
export async function startCommand(
  [command = "", ...args]: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Promise<RunningCommand | FailedStart> {
  const child = spawn(command, args, { stdio: "inherit", env });
  const status = statusOf(child);
  try {
    await once(child, "spawn");
  } catch (cause) {
    const failure = new AssayError("USAGE", `cannot start ${command}: ${reasonOf(cause)}`, { cause });
    return { failure, status: isErrno(cause, "ENOENT") ? NOT_FOUND : NOT_EXECUTABLE };
  }
  return {
    pid: child.pid ?? 0,
    status,
    forward(signal) {
      if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    },
  };
}

function statusOf(child: ChildProcess): Promise<number> {
  return new Promise((resolve) => {
    child.once("exit", (code, signal) => {
      resolve(code ?? (signal === null ? NOT_EXECUTABLE : statusOfSignal(signal)));
    });
  });
}

/** The status of a process that a signal ended, as a shell tells it. */
export function statusOfSignal(signal: NodeJS.Signals): number {
  return SIGNALLED + constants.signals[signal];
}

const NOT_EXECUTABLE = 126;
const NOT_FOUND = 127;
const SIGNALLED = 128;
