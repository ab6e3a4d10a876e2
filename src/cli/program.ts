import { Command } from "commander";
import { addAgentsCommands } from "./agents-commands.ts";
import { addAuthorityCommands } from "./authority-commands.ts";
import { addBackupCommand } from "./backup-command.ts";
import { addBundleCommands } from "./bundle-commands.ts";
import { addCiMockCommand } from "./ci-mock-commands.ts";
import { addConfigCommands } from "./config-commands.ts";
import { addDevCommand } from "./dev-command.ts";
import { addEntryCommands } from "./entry-commands.ts";
import { addExplainCommands } from "./explain-commands.ts";
import { addFederationCommands } from "./federation-commands.ts";
import { addFetchCommands } from "./fetch-commands.ts";
import { addHealthCommand } from "./health-command.ts";
import type { CliIo } from "./io.ts";
import { addAgentCommand, addServerCommand } from "./program-commands.ts";
import type { Programs } from "./programs.ts";
import { addRestoreCommand } from "./restore-command.ts";
import { addRevokeCommands } from "./revoke-command.ts";
import { addTaskCommands } from "./task-commands.ts";
import { addTasksCommands } from "./tasks-commands.ts";
import { addTokenCommands } from "./token-commands.ts";

/** Every command of `assay`, ready to parse a command line. */
export function buildProgram(io: CliIo, programs: Programs): Command {
  const program = new Command("assay")
    .description("Assay, a SPIFFE workload identity issuer")
    .version(io.version, "--version", "print the version")
    .helpOption("-h, --help", "print help")
    // Both are handed down to every command below, so they come first.
    .exitOverride()
    .configureOutput({ writeOut: io.stdout, writeErr: io.stderr, outputError: () => {} })
    .showSuggestionAfterError()
    .addHelpText("after", `\nExit codes: 0 done, 1 refused or failed, 2 wrong usage or configuration.`);

  program.commandsGroup("Programs:");
  addServerCommand(program, io, programs);
  addAgentCommand(program, io, programs);
  addDevCommand(program, io, programs);
  program.commandsGroup("On the server's admin socket:");
  addEntryCommands(program, io);
  addTokenCommands(program, io);
  addAgentsCommands(program, io);
  addTasksCommands(program, io);
  addRevokeCommands(program, io);
  addBundleCommands(program, io);
  addFederationCommands(program, io);
  addAuthorityCommands(program, io);
  program.commandsGroup("As a workload:");
  addFetchCommands(program, io);
  program.commandsGroup("As a CI job:");
  addTaskCommands(program, io, programs);
  addCiMockCommand(program, io);
  program.commandsGroup("Looking after it:");
  addBackupCommand(program, io);
  addRestoreCommand(program, io);
  addExplainCommands(program, io);
  addHealthCommand(program, io);
  addConfigCommands(program, io);
  program.commandsGroup("Help:").helpCommand("help [command]", "print help for a command");
  return program;
}
