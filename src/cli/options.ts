import { resolve } from "node:path";
import type { Command } from "commander";
import { AssayError } from "../errors/assay-error.ts";
import { DEFAULT_ADMIN_SOCKET, DEFAULT_AGENT_ADMIN_SOCKET } from "./default-sockets.ts";
import type { OutputForm } from "./io.ts";

/** What every command that talks to an admin socket takes. */
export interface AdminOptions {
  readonly adminSocket: string;
  readonly output: OutputForm;
}

/** Adds the flags of a command that talks to the server's admin socket. */
export function adminOptions(command: Command): Command {
  return outputOption(
    command.option(
      "--admin-socket <path>",
      "the server's admin socket",
      (path) => resolve(path),
      DEFAULT_ADMIN_SOCKET,
    ),
  );
}

/** Adds the flags of a command that talks to the agent's admin socket. */
export function agentAdminOptions(command: Command): Command {
  return outputOption(
    command.option(
      "--admin-socket <path>",
      "the agent's admin socket",
      (path) => resolve(path),
      DEFAULT_AGENT_ADMIN_SOCKET,
    ),
  );
}

/** Adds `--output`. */
export function outputOption(command: Command): Command {
  return command.option(
    "--output <form>",
    "pretty for people, json for programs",
    oneOf<OutputForm>("--output", ["pretty", "json"]),
    "pretty",
  );
}

/** Reads a flag that is one of a few words. @throws AssayError `USAGE`. */
export function oneOf<Word extends string>(flag: string, words: readonly Word[]): (text: string) => Word {
  return (text) => {
    const word = words.find((candidate) => candidate === text);
    if (word !== undefined) return word;
    const list = `${words.slice(0, -1).join(", ")} or ${words.at(-1) ?? ""}`;
    throw new AssayError("USAGE", `${flag}: expected ${list}, got ${JSON.stringify(text)}`);
  };
}

/** Collects a flag that may be given several times. */
export function collect(value: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), value];
}
