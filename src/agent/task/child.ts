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
  // To the kernel no such file, to Node a mistake in the program.
  if (command === "") return failedStart('""', "the name of the command is empty", NOT_FOUND);
  let child: ChildProcess;
  let status: Promise<number>;
  try {
    child = spawn(command, args, { stdio: "inherit", env });
    status = statusOf(child);
    await once(child, "spawn");
  } catch (cause) {
    const isAbsent = isErrno(cause, "ENOENT");
    return failedStart(command, reasonOf(cause), isAbsent ? NOT_FOUND : NOT_EXECUTABLE, cause);
  }
  // A signal that may not be sent, as to a program of another user, is no reason for the runner to fall.
  child.on("error", () => {});
  return {
    pid: child.pid ?? 0,
    status,
    forward(signal) {
      if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    },
  };
}

function failedStart(command: string, reason: string, status: number, cause?: unknown): FailedStart {
  return { failure: new AssayError("USAGE", `cannot start ${command}: ${reason}`, { cause }), status };
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
