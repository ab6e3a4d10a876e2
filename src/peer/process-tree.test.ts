import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { describe, expect, it } from "vitest";
import { statSync } from "node:fs";
import {
  becomeSubreaper,
  isDescendant,
  type Parentage,
  readParentage,
  refuseInspection,
} from "./process-tree.ts";

function world(parents: Readonly<Record<number, number>>): (pid: number) => Parentage | undefined {
  return (pid) => {
    const parent = parents[pid];
    return parent === undefined ? undefined : { parent, startTime: `${pid}` };
  };
}

describe("ancestry", () => {
  it("follows parents up to the ancestor", () => {
    const tree = world({ 40: 30, 30: 20, 20: 10, 10: 1 });
    expect(isDescendant(40, 20, tree)).toBe(true);
    expect(isDescendant(20, 20, tree)).toBe(false);
    expect(isDescendant(10, 20, tree)).toBe(false);
    expect(isDescendant(40, 99, tree)).toBe(false);
    expect(isDescendant(77, 20, tree)).toBe(false);
  });

  it("does not take process 1 or what is beyond the namespace for a descendant", () => {
    expect(isDescendant(1, 20, world({ 1: 0 }))).toBe(false);
    expect(isDescendant(5, 20, world({ 5: 0 }))).toBe(false);
  });

  it("is not deceived by a number that passed to a process of the tree while it was looked at", () => {
    // 40 is a stranger: its parent 30 ends, and the tree starts another process under that number.
    let looks = 0;
    const deceit = (pid: number): Parentage | undefined => {
      looks++;
      if (pid === 40) return looks === 1 ? { parent: 30, startTime: "4" } : { parent: 1, startTime: "4" };
      return pid === 30 ? { parent: 20, startTime: "9" } : undefined;
    };
    expect(isDescendant(40, 20, deceit)).toBe(false);
  });

  it("gives up on a tree that changes at every look", () => {
    let next = 100;
    expect(isDescendant(40, 20, () => ({ parent: next++, startTime: "1" }))).toBe(false);
  });

  it("ends in a circle that no kernel would show", () => {
    expect(isDescendant(40, 20, world({ 40: 30, 30: 40 }))).toBe(false);
  });

  it("knows this process's own children and parents", async () => {
    const child = spawn("sleep", ["60"]);
    await once(child, "spawn");
    try {
      const pid = child.pid ?? 0;
      expect(readParentage(pid)?.parent).toBe(process.pid);
      expect(isDescendant(pid, process.pid)).toBe(true);
      expect(isDescendant(process.ppid, process.pid)).toBe(false);
      expect(isDescendant(process.pid, pid)).toBe(false);
    } finally {
      child.kill("SIGKILL");
    }
  });
});

describe("a process that refuses inspection", () => {
  it.skipIf(process.geteuid?.() !== 0)(
    "is nobody's to look into but root's, and what it starts is as ever",
    async () => {
      const script = `
        import { refuseInspection } from ${JSON.stringify(new URL("./process-tree.ts", import.meta.url).href)};
        import { spawn } from "node:child_process";
        import { open, url } from "node:inspector";
        open(0, "127.0.0.1");
        refuseInspection();
        const child = spawn("sleep", ["60"]);
        child.on("spawn", () => console.log(child.pid, url()));
        process.stdin.resume().on("end", () => child.kill());
      `;
      // Loaded as root and then another user: nobody else may be able to read the checkout.
      const drop = "await 0; process.setgid(65534); process.setuid(65534);";
      const child = spawn(
        process.execPath,
        [
          "--input-type=module-typescript",
          "-e",
          script.replace("refuseInspection();", `${drop} refuseInspection();`),
        ],
        { stdio: ["pipe", "pipe", "ignore"] },
      );
      const [said] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
      const [line = "", debuggerUrl] = said.split(" ");
      expect(debuggerUrl).toBe("undefined");
      expect(statSync(`/proc/${child.pid ?? 0}/environ`).uid).toBe(0);
      expect(statSync(`/proc/${line}/environ`).uid).toBe(65534);
      const ended = once(child, "exit");
      child.stdin.end();
      await ended;
    },
  );

  it("is refused where the system is not Linux", () => {
    expect(() => refuseInspection("darwin")).toThrowCode("LISTEN_FAILED");
  });
});

describe("a subreaper", () => {
  it("keeps orphans of its tree and lets them go when they have ended", async () => {
    const script = `
      import { becomeSubreaper, isDescendant, reapOrphans } from ${JSON.stringify(new URL("./process-tree.ts", import.meta.url).href)};
      import { spawn } from "node:child_process";
      becomeSubreaper();
      const shell = spawn("sh", ["-c", "sleep 60 & echo $!"], { stdio: ["ignore", "pipe", "ignore"] });
      let text = "";
      shell.stdout.on("data", (chunk) => (text += chunk));
      // The pipe stays open as long as the orphan has it; the shell's own end is what counts.
      shell.on("exit", () => {
        const orphan = Number(text);
        const inTree = isDescendant(orphan, process.pid);
        const early = reapOrphans(new Set([shell.pid]));
        process.kill(orphan, "SIGKILL");
        const look = () => {
          const reaped = reapOrphans(new Set([shell.pid]));
          if (reaped === 0) return setTimeout(look, 5);
          console.log(JSON.stringify({ inTree, early, reaped }));
          shell.stdout.destroy();
        };
        look();
      });
    `;
    const child = spawn(process.execPath, ["--input-type=module-typescript", "-e", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
    expect(JSON.parse(line)).toEqual({ inTree: true, early: 0, reaped: 1 });
  });

  it("is refused where the system is not Linux", () => {
    expect(() => becomeSubreaper("darwin")).toThrowCode("LISTEN_FAILED", /only be told on Linux/);
  });
});
