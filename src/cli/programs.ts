import type { TaskRunDependencies, TaskRunOptions } from "../agent/task/run-task.ts";
import type { Clock } from "../clock.ts";
import type { AgentConfig } from "../config/agent-config.ts";
import type { ServerConfig } from "../config/server-config.ts";
import type { HostPort } from "../config/units.ts";
import { openAuditLog } from "../observe/audit-log.ts";
import { FIELD } from "../observe/fields.ts";
import type { RootLog } from "../observe/log.ts";
import { createMetrics } from "../observe/metrics.ts";

/** What a program is started with beside its configuration. */
export interface ProgramDeps {
  readonly clock: Clock;
  readonly log: RootLog;
  readonly version: string;
}

/** A server or agent at work. Disposing stops it within 5 s. */
export interface RunningProgram extends AsyncDisposable {
  /** Resolves when it does its work; rejects where it ends before. */
  readonly ready: Promise<void>;
  /** Resolves when it has ended: with the error that ended it, or nothing where it was told to. */
  readonly closed: Promise<Error | undefined>;
}

/** A server at work, and where it listens. */
export interface RunningServerProgram extends RunningProgram {
  readonly addresses: { readonly api: HostPort; readonly web: HostPort };
}

/** The programs, as the commands start them; tests put their own in place. */
export interface Programs {
  /** Loads what `startServer` takes, which goes on while somebody waits for something else. */
  prepare(): Promise<void>;
  startServer(config: ServerConfig, deps: ProgramDeps): Promise<RunningServerProgram>;
  startAgent(config: AgentConfig, deps: ProgramDeps): Promise<RunningProgram>;
  /** Runs a command as a task and gives its exit status. */
  runTask(options: TaskRunOptions, deps: TaskRunDependencies): Promise<number>;
}

/** The programs themselves. Each is loaded when it is started: a command that asks one question needs neither. */
export const programs: Programs = {
  async prepare() {
    await import("../server/server.ts");
  },

  async startServer(config, deps) {
    const { startServer } = await import("../server/server.ts");
    const server = await startServer(config, deps);
    return {
      ready: Promise.resolve(),
      // A server that was told to start ends by being told to end.
      closed: new Promise(() => {}),
      addresses: server.addresses,
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    };
  },

  async startAgent(config, { clock, log, version }) {
    const { startAgent } = await import("../agent/agent.ts");
    const { audit, trustBundle, joinTokenFile, nodeAttestor, workloadAttestors, broker, ...rest } = config;
    const attestor =
      joinTokenFile === undefined
        ? nodeAttestor && pluginEntry(nodeAttestor)
        : { name: "join_token", config: { token_file: joinTokenFile } };
    return startAgent(
      {
        ...rest,
        socketPath: config.socket,
        adminSocketPath: config.adminSocket,
        adminSocketMode: modeOf(config.adminSocketMode),
        ...(trustBundle === undefined ? {} : { trustBundle: { kind: "file", path: trustBundle } }),
        ...(attestor === undefined ? {} : { nodeAttestor: attestor }),
        workloadAttestors: workloadAttestors.map(pluginEntry),
        ...(broker === undefined ? {} : { broker: { ...broker, socketMode: modeOf(broker.socketMode) } }),
        keyType: config.workloadKeyType,
      },
      {
        clock,
        log,
        version,
        metrics: createMetrics(),
        openAudit: () =>
          openAuditLog({
            ...audit,
            clock,
            onError: (error) => log.error("the audit log was damaged", { [FIELD.error]: error }),
          }),
      },
    );
  },

  async runTask(options, deps) {
    const { runTask } = await import("../agent/task/run-task.ts");
    return runTask(options, deps);
  },
};

function modeOf(octal: string): number {
  return Number.parseInt(octal, 8);
}

function pluginEntry({
  type,
  module,
  config,
}: {
  readonly type: string;
  readonly module?: string | undefined;
  readonly config?: unknown;
}) {
  return {
    name: type,
    ...(module === undefined ? {} : { module }),
    ...(config === undefined ? {} : { config }),
  };
}
