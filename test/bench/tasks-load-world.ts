import { join } from "node:path";
import { findMockPlace, type MockPlace } from "../../src/cli/ci-mock-place.ts";
import { mockPlatform } from "../../src/cli/ci-mock-platforms.ts";
import { output } from "../e2e/program.ts";
import type { Scratch } from "../e2e/scratch.ts";
import { ASSAY, GITHUB_OWNER, GITHUB_TASKS, startDev, startTaskWorld } from "../interop/task-world.ts";

/** What a thousand jobs are let loose on: one that believes an imitated GitHub, with leases of a minute. */
export interface LoadWorld extends AsyncDisposable {
  readonly place: MockPlace;
  /** Address of the Workload API. */
  readonly endpoint: string;
  /** Its processes by name. */
  readonly processes: Readonly<Record<string, number>>;
  /** Runs a command of the operator and reads its JSON. */
  ask<T>(...args: readonly string[]): Promise<T>;
}

/** `assay dev` as it is: server and agent in one process. */
export async function startDevWorld(scratch: Scratch): Promise<LoadWorld> {
  const folder = scratch.at("dev");
  const program = await startDev(folder);
  const place = await findMockPlace(folder);
  return {
    place,
    endpoint: `unix://${join(folder, "agent.sock")}`,
    processes: { "assay dev": program.pid },
    async ask<T>(...args: readonly string[]) {
      const socket = `--admin-socket=${place.adminSocket}`;
      return JSON.parse(await output(process.execPath, [...ASSAY, ...args, socket, "--output=json"])) as T;
    },
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}

/** A server and an agent, each a process of its own, with their default limits. */
export async function startApartWorld(scratch: Scratch): Promise<LoadWorld> {
  const world = await startTaskWorld(scratch, { tasks: { lease: "60s" } });
  const { server, agent } = world;
  await server.createEntry({
    parentId: GITHUB_TASKS,
    spiffeId: "spiffe://example.org/ci/github",
    selectors: [GITHUB_OWNER],
    flags: [`--id-template=${mockPlatform("github").template}`],
  });
  return {
    place: await findMockPlace(world.folder),
    endpoint: agent.endpoint,
    processes: { server: server.program.pid, agent: agent.program.pid },
    ask: (...args) => server.ask(...args),
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
}
