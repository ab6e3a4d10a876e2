/**
 * cli/ — the commands: what a person or a script types, as calls of the programs and of their public doors.
 *
 * Must never know how anything is decided or stored: a command asks over the same sockets as everybody else.
 * Called by main.ts, and by tests with an input and output of their own.
 */
import { CommanderError } from "commander";
import { configProblemLines } from "../config/problems.ts";
import { type AssayError, toAssayError } from "../errors/assay-error.ts";
import { isWrongUsage, wantsStacks } from "./failure.ts";
import type { CliIo } from "./io.ts";
import { buildProgram } from "./program.ts";
import { type Programs, programs as realPrograms } from "./programs.ts";

/** How a command ended, as the shell sees it: done, refused or failed, wrong usage or configuration. */
export type ExitCode = 0 | 1 | 2;

/** Runs one command line, without the names of Node and the program. Never throws: errors become lines on stderr. */
export async function runCli(
  args: readonly string[],
  io: CliIo,
  programs: Programs = realPrograms,
): Promise<ExitCode> {
  try {
    await buildProgram(io, programs).parseAsync([...args], { from: "user" });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return reportUsage(error, io);
    return reportFailure(toAssayError(error), args, io);
  }
}

/** Prints an error as `assay: …`, one line each for what is wrong, and gives the exit code. */
export function reportFailure(error: AssayError, args: readonly string[], io: CliIo): ExitCode {
  if (io.signal.aborted && error.code !== "INTERNAL") {
    io.stderr("assay: interrupted\n");
    return 1;
  }
  for (const line of linesOf(error)) io.stderr(`assay: ${oneLine(line)}\n`);
  if (error.code === "INTERNAL" && wantsStacks(args)) {
    const { cause } = error;
    io.stderr(`${(cause instanceof Error ? cause.stack : error.stack) ?? ""}\n`);
  }
  return isWrongUsage(error) ? 2 : 1;
}

function linesOf(error: AssayError): readonly string[] {
  if (error.detail === "") return [error.code];
  // A plugin's settings are refused in one sentence, which names the plugin; its violations alone would not.
  const isWhole = error.detail.startsWith(error.violations[0]?.detail ?? " ");
  return error.code === "CONFIG_INVALID" && isWhole ? configProblemLines(error) : [error.detail];
}

function reportUsage(error: CommanderError, io: CliIo): ExitCode {
  // Help and version that were asked for have been printed already.
  if (error.exitCode === 0) return 0;
  if (error.code !== "commander.help") {
    const [text = "", suggestion = ""] = error.message.replace(/^error: /, "").split("\n");
    const hint = /^\((D)(id you mean .*)\)$/.exec(suggestion);
    io.stderr(`assay: ${oneLine(text)}${hint === null ? "" : ` (d${hint[2] ?? ""})`}\n`);
  }
  return 2;
}

// Whatever a file, a flag or another program put into a message, it stays one line and moves no cursor.
function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, " ").replaceAll(/\p{Cc}/gu, "?");
}
