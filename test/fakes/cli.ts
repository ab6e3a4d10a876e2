import { mkdtemp, rm } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CliIo } from "../../src/cli/io.ts";
import type { Programs } from "../../src/cli/programs.ts";
import { type ExitCode, runCli } from "../../src/cli/run.ts";
import { systemClock } from "../../src/clock.ts";
import type { CallContext } from "../../src/rpc/call-context.ts";
import type { ServiceHandlers } from "../../src/rpc/handlers.ts";
import { RpcServer } from "../../src/rpc/server.ts";
import type { TypedService } from "../../src/rpc/service-definition.ts";
import { FakeClock } from "./clock.ts";

/** What a command left behind. */
export interface CommandResult {
  readonly code: ExitCode;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command line in this process. */
export async function runCommand(
  args: readonly string[],
  changes: Partial<CliIo> & { readonly input?: string; readonly programs?: Programs } = {},
): Promise<CommandResult> {
  const { input = "", programs, ...rest } = changes;
  const out: string[] = [];
  const err: string[] = [];
  const io: CliIo = {
    stdout: (text) => void out.push(text),
    stderr: (text) => void err.push(text),
    stdin: async () => input,
    clock: new FakeClock(),
    elapsed: () => 1234,
    signal: new AbortController().signal,
    takeSignals: () => ({ [Symbol.dispose]() {} }),
    leaveWith: () => {},
    hasTerminal: false,
    environment: { spiffeEndpointSocket: undefined, notifySocket: undefined, variables: {} },
    user: { uid: 1000, name: "ann" },
    command: "assay",
    version: "1.2.3",
    notify: () => {},
    tellLauncher: () => {},
    ...rest,
  };
  const code = await runCli(args, io, programs);
  return { code, stdout: out.join(""), stderr: err.join("") };
}

/** A gRPC server on a Unix socket of its own folder, with whatever services a test registers. */
export class FakeSocketServer implements AsyncDisposable {
  readonly path: string;
  readonly #folder: string;
  readonly #listener: net.Server;
  readonly #rpc = new RpcServer<undefined>({ clock: systemClock, before: () => undefined });

  private constructor(folder: string) {
    this.#folder = folder;
    this.path = join(folder, "fake.sock");
    this.#listener = net.createServer((socket) => {
      socket.on("error", () => {});
      this.#rpc.injectConnection(socket, undefined);
    });
  }

  static async start(): Promise<FakeSocketServer> {
    const server = new FakeSocketServer(await mkdtemp(join(tmpdir(), "cli-")));
    await new Promise<void>((resolve, reject) => {
      server.#listener.once("error", reject);
      server.#listener.listen(server.path, resolve);
    });
    return server;
  }

  /** Registers a service; methods without a handler answer Unimplemented. */
  serve<Service extends TypedService>(
    service: Service,
    handlers: ServiceHandlers<Service, CallContext<undefined, undefined>>,
  ): this {
    this.#rpc.register(service, handlers);
    return this;
  }

  /** Runs a command against this socket. */
  run(args: readonly string[], changes: Parameters<typeof runCommand>[1] = {}): Promise<CommandResult> {
    return runCommand([...args, "--admin-socket", this.path], changes);
  }

  /** A file in the server's folder. */
  at(name: string): string {
    return join(this.#folder, name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    await this.#rpc.shutdown(0);
    await rm(this.#folder, { recursive: true, force: true });
  }
}
