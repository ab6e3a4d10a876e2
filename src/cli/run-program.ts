import { AssayError, toAssayError } from "../errors/assay-error.ts";
import { FIELD, type LogFields } from "../observe/fields.ts";
import type { Log } from "../observe/log.ts";
import type { CliIo } from "./io.ts";
import type { RunningProgram } from "./programs.ts";

/**
 * Runs a server or agent until it is told to end, and ends it: one line `ready`, and the service manager knows when the
 * program works and when it stops.
 * @throws AssayError where it cannot start, or ends by itself.
 */
export async function runProgram<Program extends RunningProgram>(
  io: CliIo,
  log: Log,
  start: () => Promise<Program>,
  factsOf: (program: Program) => LogFields,
): Promise<void> {
  await using program = await start();
  await untilReady(program, io.signal);
  if (!io.signal.aborted) {
    log.info("ready", factsOf(program));
    tell(io, log, "READY=1");
    await untilOver(program, io.signal);
  }
  tell(io, log, "STOPPING=1");
  log.info("stopping");
}

/** Resolves when the program works, or shall end. @throws AssayError where it ended before. */
export async function untilReady(program: RunningProgram, signal: AbortSignal): Promise<void> {
  try {
    await Promise.race([program.ready, aborted(signal)]);
  } catch (error) {
    if (!signal.aborted) throw toAssayError(error);
  }
}

/** Resolves when the program shall end. @throws AssayError where it ended by itself. */
export async function untilOver(program: RunningProgram, signal: AbortSignal): Promise<void> {
  const ending = await Promise.race([program.closed.then((error) => ({ error })), aborted(signal)]);
  if (ending === undefined || signal.aborted) return;
  throw ending.error === undefined
    ? new AssayError("INTERNAL", "the program ended without being told to")
    : toAssayError(ending.error);
}

function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(undefined);
    else signal.addEventListener("abort", () => resolve(undefined), { once: true });
  });
}

function tell(io: CliIo, log: Log, state: string): void {
  try {
    io.notify(state);
  } catch (error) {
    log.warn("the service manager was not told", {
      [FIELD.status]: state,
      [FIELD.error]: toAssayError(error),
    });
  }
}
