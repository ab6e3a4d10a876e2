import type { Command } from "commander";
import { loadAgentConfig } from "../config/agent-config.ts";
import { describeConfig, type Program, printConfig } from "../config/describe.ts";
import { loadServerConfig } from "../config/server-config.ts";
import { readYamlTable } from "../config/yaml-file.ts";
import { type CliIo, type OutputForm, writeResult } from "./io.ts";
import { oneOf, outputOption } from "./options.ts";

interface ConfigFlags {
  readonly config: string;
  readonly output: OutputForm;
}

/** Adds `assay config …`: checks, shows and documents the configuration files. */
export function addConfigCommands(program: Command, io: CliIo): void {
  const config = program.command("config").description("configuration files: check, show and document them");

  fileOptions(
    config.command("validate").description("check a file; exits 0 where it may be used, 2 where not"),
  )
    .option("--quiet", "print nothing where the file may be used", false)
    .action((which: Program | undefined, flags: ConfigFlags & { quiet: boolean }) => {
      const { program: name, warnings } = load(flags.config, which);
      if (flags.quiet) return;
      writeResult(io, flags.output, { valid: true, program: name, warnings }, () =>
        [`${flags.config} may be used for the ${name}`, ...warnings.map((text) => `warning: ${text}`)].join(
          "\n",
        ),
      );
    });

  fileOptions(config.command("print").description("show a file with every default written out")).action(
    (which: Program | undefined, flags: ConfigFlags) => {
      const { document } = load(flags.config, which);
      writeResult(io, flags.output, document, () => printConfig(document));
    },
  );

  config
    .command("docs")
    .description("print the reference of both files as Markdown")
    .action(() => io.stdout(describeConfig()));
}

function fileOptions(command: Command): Command {
  return outputOption(
    command
      .requiredOption("--config <file>", "the YAML file")
      .argument(
        "[program]",
        "server or agent (default: agent where the file has the key server)",
        oneOf<Program>("[program]", ["server", "agent"]),
      ),
  );
}

function load(file: string, which: Program | undefined) {
  const program = which ?? ("server" in readYamlTable(file) ? "agent" : "server");
  const { warnings, document } =
    program === "server" ? loadServerConfig({ file }) : loadAgentConfig({ file });
  return { program, warnings, document };
}
