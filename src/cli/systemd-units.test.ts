import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { runCommand } from "../../test/fakes/cli.ts";
import type { AgentConfig } from "../config/agent-config.ts";
import type { ServerConfig } from "../config/server-config.ts";
import {
  DEFAULT_ADMIN_SOCKET,
  DEFAULT_AGENT_ADMIN_SOCKET,
  DEFAULT_WORKLOAD_ENDPOINT,
} from "./default-sockets.ts";
import { AssayError } from "../errors/assay-error.ts";

const UNITS = join(import.meta.dirname, "..", "..", "deploy", "systemd");

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "units-"));
});
afterEach(() => rm(folder, { recursive: true }));

describe.each(["server", "agent"] as const)("the unit of the %s", (name) => {
  it("starts a command line that the program takes, with the configuration beside it", async () => {
    const unit = await settingsOf(name);
    const [program, command, ...flags] = (unit.get("ExecStart") ?? "").split(" ");
    expect([program, command]).toEqual(["/usr/bin/assay", name]);
    const args = await Promise.all(flags.map((flag) => withFilesHere(flag)));
    const configs: (ServerConfig | AgentConfig)[] = [];
    const refuse = (config: ServerConfig | AgentConfig): never => {
      configs.push(config);
      throw new AssayError("NOT_READY", "the configuration was taken");
    };
    const programs = {
      startServer: async (c: ServerConfig) => refuse(c),
      startAgent: async (c: AgentConfig) => refuse(c),
      runTask: async () => 0,
      prepare: async () => {},
    };
    const { stderr } = await runCommand([command ?? "", ...args], { programs });
    expect(stderr).toBe("assay: the configuration was taken\n");
    expect(configs[0]?.dataDir).toBe(`/var/lib/${unit.get("StateDirectory") ?? ""}`);
  });

  it("waits for the program's own word, and lets a wrong configuration be", async () => {
    const unit = await settingsOf(name);
    expect(Object.fromEntries(unit)).toMatchObject({
      Type: "notify",
      NotifyAccess: "main",
      RestartPreventExitStatus: "2",
      NoNewPrivileges: "yes",
      ProtectSystem: "strict",
      StateDirectoryMode: "0700",
    });
    // The program stops within 5 s; systemd must not be quicker.
    expect(Number(unit.get("TimeoutStopSec"))).toBeGreaterThan(5);
  });
});

describe("the folders of the units", () => {
  it("hold the sockets where commands look for them", async () => {
    const [server, agent] = [await settingsOf("server"), await settingsOf("agent")];
    expect(DEFAULT_ADMIN_SOCKET).toBe(`/var/lib/${server.get("StateDirectory") ?? ""}/admin.sock`);
    expect(DEFAULT_AGENT_ADMIN_SOCKET).toBe(`/var/lib/${agent.get("StateDirectory") ?? ""}/admin.sock`);
    expect(DEFAULT_WORKLOAD_ENDPOINT).toBe(`unix:///run/${agent.get("RuntimeDirectory") ?? ""}/agent.sock`);
    expect(agent.get("RuntimeDirectoryMode")).toBe("0755");
  });
});

async function settingsOf(name: string): Promise<ReadonlyMap<string, string>> {
  const text = await readFile(join(UNITS, `assay-${name}.service`), "utf8");
  return new Map(
    text.split("\n").flatMap((line) => {
      const [, key, value] = /^([A-Za-z]+)=(.*)$/.exec(line) ?? [];
      return key === undefined || value === undefined ? [] : [[key, value] as const];
    }),
  );
}

/** A flag whose file of /etc/assay is the example's copy here, with the files that it names. */
async function withFilesHere(flag: string): Promise<string> {
  const [, name] = /^\/etc\/assay\/(\w+\.yaml)$/.exec(flag) ?? [];
  if (name === undefined) return flag;
  const text = await readFile(join(UNITS, name), "utf8");
  await writeFile(join(folder, "bundle.pem"), "");
  await writeFile(join(folder, name), text.replaceAll("/etc/assay", folder));
  return join(folder, name);
}
