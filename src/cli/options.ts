import type { Command } from "commander";
import { DEFAULT_ADMIN_SOCKET } from "../config/defaults.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { OutputForm } from "./io.ts";

/** What every command that talks to an admin socket takes. */
export interface AdminOptions {
  readonly adminSocket: string;
  readonly output: OutputForm;
}

/** Adds the flags of a command that talks to the server's admin socket. */
export function adminOptions(command: Command): Command {
  return outputOption(
    command.option("--admin-socket <path>", "the server's admin socket", DEFAULT_ADMIN_SOCKET),
  );
}

/** Adds `--output`. */
export function outputOption(command: Command): Command {
  return command.option(
    "--output <form>",
    "pretty for people, json for programs",
    (text): OutputForm => {
      if (text !== "pretty" && text !== "json")
        throw new AssayError("USAGE", "--output: expected pretty or json");
      return text;
    },
    "pretty",
  );
}

/** Collects a flag that may be given several times. */
export function collect(value: string, before: readonly string[]): readonly string[] {
  return [...before, value];
}

/** The value of one of the four ways to match lists. @throws AssayError `USAGE`. */
export function matchBehavior<Value>(behaviors: Readonly<Record<string, Value>>, name: string): Value {
  const value = behaviors[`MATCH_${name.toUpperCase()}`];
  if (value === undefined) throw new AssayError("USAGE", "expected exact, subset, superset or any");
  return value;
}
