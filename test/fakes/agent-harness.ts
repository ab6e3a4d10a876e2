import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startAgent } from "../../src/agent/agent.ts";
import type { AgentDependencies, AgentOptions, RunningAgent } from "../../src/agent/agent-options.ts";
import { systemClock } from "../../src/clock.ts";
import { openAuditLog } from "../../src/observe/audit-log.ts";
import { silentLog } from "../../src/observe/log.ts";
import { createMetrics } from "../../src/observe/metrics.ts";
import { SpiffeWorkloadAPI } from "../../src/proto/gen/spiffe/workload/workload_pb.ts";
import { RpcClient } from "../../src/rpc/client.ts";
import { parseTrustDomain } from "../../src/spiffe/trust-domain.ts";
import { FakeAuthority } from "./agent-authority.ts";
import { FakeAgentServer } from "./agent-server.ts";

/** The trust domain of the harness. */
export const trustDomain = parseTrustDomain("example.org");

/** What every call of the Workload API carries. */
export const HEADERS = { headers: { "workload.spiffe.io": "true" } };

/** The user that the tests run as. */
export const uid = process.geteuid?.() ?? 0;

/** What an HTTP request was answered. */
export interface JsonAnswer {
  readonly status: number;
  readonly text: string;
  readonly body: unknown;
}

/** Real agents in one temporary folder, with a server on loopback that knows the join token `t`. */
export class AgentHarness implements AsyncDisposable {
  readonly folder: string;
  readonly authority: FakeAuthority;
  readonly server: FakeAgentServer;
  readonly #cleanup = new AsyncDisposableStack();

  private constructor(authority: FakeAuthority) {
    this.authority = authority;
    this.folder = mkdtempSync(join(tmpdir(), "agent-"));
    this.#cleanup.defer(() => rmSync(this.folder, { recursive: true, force: true }));
    this.server = this.#cleanup.use(new FakeAgentServer(authority, systemClock));
    this.server.tokens.add("t");
  }

  static async create(): Promise<AgentHarness> {
    const harness = new AgentHarness(await FakeAuthority.create(trustDomain, systemClock));
    await harness.server.start();
    return harness;
  }

  options(changes: Partial<AgentOptions> = {}): AgentOptions {
    return {
      trustDomain,
      server: { host: "127.0.0.1", port: this.server.port },
      dataDir: this.path("data"),
      socketPath: this.path("w.sock"),
      adminSocketPath: this.path("a.sock"),
      trustBundle: { kind: "bundle", bundle: this.authority.bundle() },
      nodeAttestor: { name: "join_token", config: { token: "t" } },
      workloadAttestors: [{ name: "unix" }],
      rateLimit: "off",
      ...changes,
    };
  }

  deps(changes: Partial<AgentDependencies> = {}): AgentDependencies {
    return {
      clock: systemClock,
      log: silentLog,
      metrics: createMetrics({ process: false }),
      version: "test",
      openAudit: () => openAuditLog({ path: this.path("audit.jsonl"), clock: systemClock, fsync: "never" }),
      ...changes,
    };
  }

  /** Starts an agent and does not wait for it to serve. */
  async start(
    changes: Partial<AgentOptions> = {},
    deps: Partial<AgentDependencies> = {},
  ): Promise<RunningAgent> {
    return this.#cleanup.use(await startAgent(this.options(changes), this.deps(deps)));
  }

  /** Starts an agent that serves. */
  async startReady(
    changes: Partial<AgentOptions> = {},
    deps: Partial<AgentDependencies> = {},
  ): Promise<RunningAgent> {
    const agent = await this.start(changes, deps);
    await agent.ready;
    return agent;
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** A client of a socket in the folder. */
  client(socket: string): RpcClient {
    const client = new RpcClient({ target: { kind: "unix", path: this.path(socket) } });
    this.#cleanup.defer(() => client[Symbol.dispose]());
    return client;
  }

  workloadApi() {
    return this.client("w.sock").service(SpiffeWorkloadAPI);
  }

  /** The records of the audit log. */
  audit(): Record<string, unknown>[] {
    return readFileSync(this.path("audit.jsonl"), "utf8")
      .trim()
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  /** One request as `curl --unix-socket` makes it. */
  json(
    method: string,
    path: string,
    headers: Readonly<Record<string, string>> = {},
    body?: unknown,
    socket = "w.sock",
  ): Promise<JsonAnswer> {
    return new Promise((resolve, reject) => {
      const type = body === undefined ? {} : { "content-type": "application/json" };
      const call = request(
        {
          socketPath: this.path(socket),
          method,
          path,
          headers: { host: "localhost", ...type, ...headers },
          agent: false,
        },
        (response) => {
          let text = "";
          response.setEncoding("utf8");
          response.on("data", (chunk: string) => (text += chunk));
          response.on("end", () => {
            const isJson = /json/.test(response.headers["content-type"] ?? "");
            resolve({
              status: response.statusCode ?? 0,
              text,
              body: isJson ? (JSON.parse(text) as unknown) : undefined,
            });
          });
        },
      );
      call.on("error", reject);
      call.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#cleanup.disposeAsync();
  }
}

/** The first message of a stream, which is then left. */
export async function first<Item>(stream: AsyncGenerator<Item, void, undefined>): Promise<Item> {
  for await (const item of stream) return item;
  throw new Error("the stream ended without a message");
}

/** Waits until something is so. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
}
