import { spawn } from "node:child_process";
import { once } from "node:events";
import { openSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { pinProcess, type ProcessSources } from "./pinned-process.ts";
import type { ProcessFacts } from "./process-facts.ts";

const facts = (startTime: string, uid = 1): ProcessFacts => ({ startTime, uid, gid: 1 });

function sources(looks: readonly (ProcessFacts | undefined)[], ended = 0): ProcessSources {
  const queue = [...looks];
  return {
    facts: () => queue.shift(),
    kernel: { pidfdOpen: () => openSync("/dev/null", "r"), pidfdEnded: () => ended },
  };
}

describe("a process that is held", () => {
  it("is alive with its user and group until it ends", async () => {
    const child = spawn("sleep", ["60"]);
    await once(child, "spawn");
    const exit = once(child, "exit");
    const pid = child.pid ?? 0;
    using held = pinProcess(pid);
    expect(held).toMatchObject({ pid, uid: process.geteuid?.(), gid: process.getegid?.() });
    expect(held.isAlive()).toBe(true);
    child.kill("SIGKILL");
    await exit;
    expect(held.isAlive()).toBe(false);
    expect(() => pinProcess(pid)).toThrowCode("NOT_FOUND", `there is no process ${pid}`);
  });

  it("is not alive once it is let go", () => {
    const held = pinProcess(process.pid);
    held[Symbol.dispose]();
    held[Symbol.dispose]();
    expect(held.isAlive()).toBe(false);
  });

  it.each<[string, ProcessSources]>([
    ["that is not there", sources([undefined])],
    ["whose number passed to another", sources([facts("1"), facts("2")])],
    ["that changed its user meanwhile", sources([facts("1"), facts("1", 2)])],
    ["that ended meanwhile", sources([facts("1"), undefined])],
    ["that ended just now", sources([facts("1"), facts("1")], 1)],
  ])("cannot be one %s", (_, from) => {
    expect(() => pinProcess(7, from)).toThrowCode("NOT_FOUND");
  });

  it("cannot be one that the kernel does not open", () => {
    const from = {
      ...sources([facts("1"), facts("1")]),
      kernel: { pidfdOpen: () => -3, pidfdEnded: () => 0 },
    };
    expect(() => pinProcess(7, from)).toThrowCode("NOT_FOUND");
  });

  it.each([1, 12, 23, 24])("is not said to be missing where the system does not look (errno %i)", (errno) => {
    const from: ProcessSources = {
      facts: () => undefined,
      kernel: { pidfdOpen: () => -errno, pidfdEnded: () => 0 },
    };
    expect(() => pinProcess(7, from)).toThrowCode("NOT_READY", `errno ${errno}`);
  });
});
