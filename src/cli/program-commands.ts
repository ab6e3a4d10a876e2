import { type Command, Option } from "commander";
import { type AgentConfig, loadAgentConfig } from "../config/agent-config.ts";
import { configFlags, type Program } from "../config/describe.ts";
import type { ConfigSource, LoadedConfig } from "../config/load.ts";
import { loadServerConfig, type ServerConfig } from "../config/server-config.ts";
import { FIELD } from "../observe/fields.ts";
import { createLog, type RootLog } from "../observe/log.ts";
import type { CliIo } from "./io.ts";
import { collect } from "./options.ts";
import type { Programs } from "./programs.ts";
import { runProgram } from "./run-program.ts";

/** Adds `assay server`: the authority of one trust domain, until it is told to end. */
export function addServerCommand(program: Command, io: CliIo, programs: Programs): void {
  const command = withConfigFlags(
    program.command("server").description("run the server: the authority of one trust domain"),
    "server",
  );
  command.action(async () => {
    const loaded = loadServerConfig(sourceOf(command, "server"));
    const { config } = loaded;
    const log = logOf(io, loaded, "server");
    await runProgram(
      io,
      log,
      () => programs.startServer(config, { clock: io.clock, log, version: io.version }),
      ({ addresses: { api, web } }) => ({
        [FIELD.trustDomain]: config.trustDomain,
        [FIELD.version]: io.version,
        [FIELD.address]: `${api.host}:${api.port}`,
        web_address: `${web.host}:${web.port}`,
        admin_socket: config.adminSocket,
      }),
    );
  });
}

/** Adds `assay agent`: serves the workloads of one node, until it is told to end. */
export function addAgentCommand(program: Command, io: CliIo, programs: Programs): void {
  const command = withConfigFlags(
    program.command("agent").description("run the agent: serves the workloads of this node"),
    "agent",
  );
  command.action(async () => {
    const loaded = loadAgentConfig(sourceOf(command, "agent"));
    const { config } = loaded;
    const log = logOf(io, loaded, "agent");
    await runProgram(
      io,
      log,
      () => programs.startAgent(config, { clock: io.clock, log, version: io.version }),
      () => ({
        [FIELD.trustDomain]: config.trustDomain,
        [FIELD.version]: io.version,
        socket: config.socket,
        admin_socket: config.adminSocket,
      }),
    );
  });
}

function withConfigFlags(command: Command, program: Program): Command {
  command.option("--config <file>", "the YAML file of all settings; flags win over it");
  for (const { name, value, description, repeatable } of configFlags(program)) {
    const usage = `--${name} <${value.toLowerCase().replaceAll(" ", "-")}>`;
    const option = new Option(usage, repeatable ? `${description}; may be given again` : description);
    command.addOption(repeatable ? option.argParser(collect) : option);
  }
  return command;
}

/** Where the configuration comes from, by the flags that were given. */
function sourceOf(command: Command, program: Program): ConfigSource {
  const values: Readonly<Record<string, unknown>> = command.opts();
  const flags: Record<string, string | readonly string[]> = {};
  for (const { name } of configFlags(program)) {
    const value = values[new Option(`--${name} <value>`).attributeName()];
    if (typeof value === "string" || isTexts(value)) flags[name] = value;
  }
  const file = values["config"];
  return { flags, ...(typeof file === "string" ? { file } : {}) };
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}

function logOf(io: CliIo, loaded: LoadedConfig<ServerConfig | AgentConfig>, program: Program): RootLog {
  const { log: settings } = loaded.config;
  const log = createLog({
    ...settings,
    clock: io.clock,
    destination: { write: io.stdout },
    fields: { [FIELD.subsystem]: program },
  });
  for (const warning of loaded.warnings)
    log.warn("the configuration has an oddity", { [FIELD.detail]: warning });
  return log;
}
