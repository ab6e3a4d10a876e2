import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const MAIN = ["--disable-warning=ExperimentalWarning", join(import.meta.dirname, "..", "main.ts")];
const PYTHON = spawnSync("python3", ["--version"]).status === 0;

let folder: string;
const children: ChildProcess[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "main-"));
});
afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill("SIGKILL");
    await once(child, "exit");
  }
  rmSync(folder, { recursive: true });
});

function run(args: readonly string[], input = "") {
  const { status, stdout, stderr } = spawnSync(process.execPath, [...MAIN, ...args], {
    input,
    encoding: "utf8",
  });
  return { status, stdout, stderr };
}

function start(command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...env } });
  children.push(child);
  return { child, lines: createInterface({ input: child.stdout })[Symbol.asyncIterator]() };
}

function startServer(env: Readonly<Record<string, string>> = {}) {
  const flags = ["--trust-domain=example.org", "--listen=127.0.0.1:0", "--web-listen=127.0.0.1:0"];
  return start(process.execPath, [...MAIN, "server", ...flags, `--data-dir=${join(folder, "server")}`], env);
}

async function untilReady(lines: AsyncIterator<string, undefined>): Promise<void> {
  for (;;) {
    const line: IteratorResult<string, undefined> = await lines.next();
    if (line.value === undefined) throw new Error("it ended before it was ready");
    if ((JSON.parse(line.value) as { msg: string }).msg === "ready") return;
  }
}

describe("the process", () => {
  it("exits 0 with the package's version", () => {
    const { status, stdout, stderr } = run(["--version"]);
    expect(stdout).toMatch(/^\d+\.\d+\.\d+\S*\n$/);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  });

  it("exits 2 for a wrong command line and 1 for a refusal, with one line and no stack", () => {
    expect(run(["entry", "lst"])).toEqual({
      status: 2,
      stdout: "",
      stderr: "assay: unknown command 'lst' (did you mean list?)\n",
    });
    const { status, stderr } = run(["entry", "list", "--admin-socket", join(folder, "none.sock")]);
    expect(stderr.trimEnd().split("\n")).toHaveLength(1);
    expect(status).toBe(1);
  });

  it("reads standard input, and refuses more of it than it should hold", () => {
    const { status, stderr } = run(["entry", "apply", "-"], "x".repeat(1024 * 1024 + 1));
    expect(stderr).toBe("assay: standard input is larger than 1 MiB\n");
    expect(status).toBe(2);
  });

  it.each(["SIGTERM", "SIGINT"] as const)(
    "of a server ends with 0 soon after %s, and its folder is free again",
    async (signal) => {
      for (const _ of [1, 2]) {
        const { child, lines } = startServer();
        await untilReady(lines);
        const exited = once(child, "exit");
        const at = performance.now();
        child.kill(signal);
        expect(await exited).toEqual([0, null]);
        expect(performance.now() - at).toBeLessThan(5000);
      }
    },
  );

  it("of a second server on one folder exits 1 and says why", async () => {
    const { lines } = startServer();
    await untilReady(lines);
    const second = startServer();
    let stderr = "";
    second.child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString("utf8")));
    expect(await once(second.child, "close")).toEqual([1, null]);
    expect(stderr).toMatch(/^assay: .*another process.*\n$/);
  });

  it.skipIf(!PYTHON)("tells systemd when it is ready and when it stops (needs python3)", async () => {
    const socket = join(folder, "notify.sock");
    const receiver = start("python3", [
      "-c",
      "import socket,sys\ns=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM)\ns.bind(sys.argv[1])\nprint('bound',flush=True)\nwhile True: print(s.recv(4096).decode(),flush=True)",
      socket,
    ]);
    expect((await receiver.lines.next()).value).toBe("bound");
    const { child } = startServer({ NOTIFY_SOCKET: socket });
    expect((await receiver.lines.next()).value).toBe("READY=1");
    child.kill("SIGTERM");
    expect((await receiver.lines.next()).value).toBe("STOPPING=1");
  });
});
