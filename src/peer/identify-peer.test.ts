import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, closeSync, mkdtempSync, openSync, readdirSync, rmSync } from "node:fs";
import { createConnection, createServer, type Server, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  identifyPeer,
  type PeerProcess,
  type PeerSources,
  requirePeerIdentification,
} from "./identify-peer.ts";
import { type Kernel, openKernel } from "./kernel.ts";
import { readProcessFacts } from "./process-facts.ts";

let folder: string;
let path: string;
let server: Server;
let children: ChildProcess[];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "peer-"));
  chmodSync(folder, 0o755);
  path = join(folder, "s");
  children = [];
  server = createServer({ allowHalfOpen: true });
  server.listen({ path, backlog: 4096 });
  await once(server, "listening");
  chmodSync(path, 0o777);
});

afterEach(async () => {
  for (const child of children) child.kill("SIGKILL");
  await new Promise((resolve) => server.close(resolve));
  rmSync(folder, { recursive: true, force: true });
});

/** The next connection, as the server sees it. */
async function accepted(): Promise<Socket> {
  const [socket] = (await once(server, "connection")) as [Socket];
  socket.on("error", () => undefined);
  return socket;
}

function run(command: string, args: readonly string[], uid?: number): ChildProcess {
  const child = spawn(command, args, {
    stdio: ["pipe", "pipe", "inherit"],
    cwd: "/",
    ...(uid === undefined ? {} : { uid, gid: uid }),
  });
  children.push(child);
  return child;
}

function runNode(script: string): ChildProcess {
  return run(process.execPath, ["-e", script, path]);
}

function runPython(script: string, uid?: number): ChildProcess {
  return run("python3", ["-c", script, path], uid);
}

/** Waits for the end of what a child process is; its pidfd says so in the same moment. */
async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
}

const isRoot = process.geteuid?.() === 0;
const hasPython = works("python3", ["-c", "import socket; socket.send_fds"]);
const nobodyHasPython = isRoot && hasPython && works("python3", ["-c", "import socket"], 65534);
const CONNECT_AND_WAIT = "require('net').connect(process.argv[1]).resume()";

describe("identifyPeer", () => {
  it("names the process that connected, its user and its group", async () => {
    const child = runNode(CONNECT_AND_WAIT);
    const socket = await accepted();
    using peer = identifyPeer(socket);
    expect(peer).toMatchObject({ pid: child.pid, uid: process.geteuid?.(), gid: process.getegid?.() });
    expect(peer.isAlive()).toBe(true);
    socket.destroy();
  });

  it.skipIf(!nobodyHasPython)("names another user (needs root and python3)", async () => {
    const child = runPython(
      "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\ns.recv(1)",
      65534,
    );
    const socket = await accepted();
    using peer = identifyPeer(socket);
    expect(peer).toMatchObject({ pid: child.pid, uid: 65534, gid: 65534 });
    socket.destroy();
  });

  it("says that a process has ended as soon as it has", async () => {
    const child = runNode(CONNECT_AND_WAIT);
    const socket = await accepted();
    using peer = identifyPeer(socket);
    child.kill("SIGKILL");
    await ended(child);
    expect(peer.isAlive()).toBe(false);
    socket.destroy();
  });

  it("gives nothing to a child that goes on using the socket of its dead parent", async () => {
    // The child answers over the very connection, so it is open; only the process that opened it is gone.
    const parent = runNode(`
      const socket = require("net").connect(process.argv[1], () => {
        require("child_process").spawn("sh", ["-c", "read go; echo child; read go"], { stdio: [socket, socket, "ignore"] });
        process.stdin.once("data", () => process.exit(0));
      });`);
    const socket = await accepted();
    using peer = identifyPeer(socket);
    expect(peer.isAlive()).toBe(true);
    parent.stdin?.write("die\n");
    await ended(parent);
    socket.write("go\n");
    const [answer] = (await once(socket, "data")) as [Buffer];
    expect(answer.toString()).toBe("child\n");
    expect(peer.isAlive()).toBe(false);
    expect(() => identifyPeer(socket)).toThrowCode("CALLER_NOT_IDENTIFIED", /has ended/);
    socket.destroy();
  });

  it.skipIf(!hasPython)(
    "gives nothing to a process that was sent the socket by one that is gone (needs python3)",
    async () => {
      const holder = runPython(`
import os, socket, sys
a, b = socket.socketpair(socket.AF_UNIX)
if os.fork() == 0:
    a.close()
    _, fds, _, _ = socket.recv_fds(b, 1, 1)
    got = socket.socket(fileno=fds[0])
    got.recv(1)
    got.sendall(b"receiver")
    got.recv(1)
else:
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    socket.send_fds(a, [b"x"], [s.fileno()])
    sys.stdin.read(1)
`);
      const socket = await accepted();
      using peer = identifyPeer(socket);
      expect(peer.pid).toBe(holder.pid);
      holder.stdin?.end("x");
      await ended(holder);
      socket.write("x");
      const [answer] = (await once(socket, "data")) as [Buffer];
      expect(answer.toString()).toBe("receiver");
      expect(peer.isAlive()).toBe(false);
      socket.destroy();
    },
  );

  it("refuses a process that ended before it was looked at", async () => {
    const child = runNode("require('net').connect(process.argv[1], () => process.exit(0))");
    const [socket] = await Promise.all([accepted(), once(child, "exit")]);
    expect(() => identifyPeer(socket)).toThrowCode("CALLER_NOT_IDENTIFIED", /has ended/);
    socket.destroy();
  });

  it("refuses a socket that is closed or is no Unix socket", async () => {
    const client = createConnection(path);
    const socket = await accepted();
    socket.destroy();
    await once(socket, "close");
    expect(() => identifyPeer(socket)).toThrowCode("CALLER_NOT_IDENTIFIED", "the socket is closed");
    client.destroy();

    const tcp = createServer();
    await once(tcp.listen(0, "127.0.0.1"), "listening");
    const over = createConnection((tcp.address() as { port: number }).port, "127.0.0.1");
    const [tcpSocket] = (await once(tcp, "connection")) as [Socket];
    expect(() => identifyPeer(tcpSocket)).toThrowCode("CALLER_NOT_IDENTIFIED");
    over.destroy();
    tcpSocket.destroy();
    await new Promise((resolve) => tcp.close(resolve));
  });

  it("is dead and harmless after disposal, however often", async () => {
    const client = createConnection(path);
    const socket = await accepted();
    const peer = identifyPeer(socket);
    peer[Symbol.dispose]();
    const reused = openSync("/dev/null", "r");
    peer[Symbol.dispose]();
    expect(peer.isAlive()).toBe(false);
    // The descriptor number may have been given away by now; a second close would have hit the new owner.
    closeSync(reused);
    client.destroy();
    socket.destroy();
  });

  it("leaves no file descriptor behind over 2,000 connections", async () => {
    const before = openDescriptors();
    for (let i = 0; i < 2000; i++) {
      const client = createConnection(path);
      const socket = await accepted();
      const peer: PeerProcess = identifyPeer(socket);
      expect(peer.pid).toBe(process.pid);
      if (i % 2 === 0)
        expect(() => identifyPeer(socket, sources({ pidfdEnded: () => 1 }))).toThrowCode(
          "CALLER_NOT_IDENTIFIED",
        );
      peer[Symbol.dispose]();
      const closed = once(client, "close");
      socket.destroy();
      client.destroy();
      await closed;
    }
    await new Promise((resolve) => setImmediate(resolve));
    expect(openDescriptors() - before).toBeLessThanOrEqual(4);
  });
});

describe("identifyPeer without SO_PEERPIDFD", () => {
  const old = { peerPidfd: () => -92 };

  it("opens the process by its number", async () => {
    const child = runNode(CONNECT_AND_WAIT);
    const socket = await accepted();
    using peer = identifyPeer(socket, sources(old));
    expect(peer.pid).toBe(child.pid);
    expect(peer.isAlive()).toBe(true);
    child.kill("SIGKILL");
    await ended(child);
    expect(peer.isAlive()).toBe(false);
    socket.destroy();
  });

  it("refuses a number that passed to another process in between", async () => {
    const client = createConnection(path);
    const socket = await accepted();
    let calls = 0;
    const facts = (pid: number) => {
      const real = readProcessFacts(pid);
      return real && { ...real, startTime: `${Number(real.startTime) + calls++}` };
    };
    const before = openDescriptors();
    expect(() => identifyPeer(socket, { ...sources(old), facts })).toThrowCode(
      "CALLER_NOT_IDENTIFIED",
      /another process/,
    );
    const otherUser = (pid: number) => ({
      startTime: readProcessFacts(pid)?.startTime ?? "",
      uid: 4711,
      gid: 0,
    });
    expect(() => identifyPeer(socket, { ...sources(old), facts: otherUser })).toThrowCode(
      "CALLER_NOT_IDENTIFIED",
    );
    expect(openDescriptors()).toBe(before);
    client.destroy();
    socket.destroy();
  });

  it("refuses where the process is gone, hidden or cannot be opened", async () => {
    const client = createConnection(path);
    const socket = await accepted();
    const hidden = { ...sources(old), facts: () => undefined };
    expect(() => identifyPeer(socket, hidden)).toThrowCode("CALLER_NOT_IDENTIFIED", /hidden/);
    const unopened = sources({ ...old, pidfdOpen: () => -3 });
    expect(() => identifyPeer(socket, unopened)).toThrowCode("CALLER_NOT_IDENTIFIED", /errno 3/);
    client.destroy();
    socket.destroy();
  });
});

describe("what the kernel does not vouch for", () => {
  it.each([
    ["a foreign pid namespace", { pid: 0, uid: 0, gid: 0 }],
    ["an unknown user", { pid: process.pid, uid: 0xffffffff, gid: 0 }],
    ["an unknown group", { pid: process.pid, uid: 0, gid: 0xffffffff }],
    ["a failing system call", -22],
  ])("refuses %s", async (_, credentials) => {
    const client = createConnection(path);
    const socket = await accepted();
    const before = openDescriptors();
    const from = sources({ peerCredentials: () => credentials });
    expect(() => identifyPeer(socket, from)).toThrowCode("CALLER_NOT_IDENTIFIED");
    expect(openDescriptors()).toBe(before);
    client.destroy();
    socket.destroy();
  });

  it("refuses an error of SO_PEERPIDFD that does not mean an old kernel", async () => {
    const client = createConnection(path);
    const socket = await accepted();
    const from = sources({ peerPidfd: () => -3, pidfdOpen: () => expect.unreachable() });
    expect(() => identifyPeer(socket, from)).toThrowCode("CALLER_NOT_IDENTIFIED", /errno 3/);
    client.destroy();
    socket.destroy();
  });

  it("counts a pid that another process has now as ended, by its pidfd", async () => {
    // What a reused number looks like: the pid names a living process, the pidfd stands for one that is gone.
    const gone = runNode(CONNECT_AND_WAIT);
    const first = await accepted();
    const pidfd = openKernel().peerPidfd((first as unknown as { _handle: { fd: number } })._handle.fd);
    gone.kill("SIGKILL");
    await ended(gone);
    const from = sources({
      peerPidfd: () => pidfd,
      peerCredentials: () => ({ pid: process.pid, uid: 0, gid: 0 }),
    });
    expect(() => identifyPeer(first, from)).toThrowCode("CALLER_NOT_IDENTIFIED", /has ended/);
    first.destroy();
  });
});

it("says before a listener opens that a system is not Linux", () => {
  expect(() => requirePeerIdentification("darwin")).toThrowCode(
    "LISTEN_FAILED",
    /only be identified on Linux.*darwin/,
  );
  requirePeerIdentification();
});

it("loads the native library only when a peer is looked at", () => {
  const script = `
    import { readFileSync } from "node:fs";
    import { requirePeerIdentification } from ${JSON.stringify(new URL("./identify-peer.ts", import.meta.url).href)};
    const loaded = () => readFileSync("/proc/self/maps", "utf8").includes("koffi");
    const before = loaded();
    requirePeerIdentification();
    console.log(before, loaded());`;
  const out = execFileSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" });
  expect(out.trim()).toBe("false true");
});

function sources(overrides: Partial<Kernel>): PeerSources {
  return { kernel: { ...openKernel(), ...overrides }, facts: readProcessFacts };
}

function openDescriptors(): number {
  return readdirSync("/proc/self/fd").length;
}

function works(command: string, args: readonly string[], uid?: number): boolean {
  try {
    execFileSync(command, args, {
      stdio: "ignore",
      cwd: "/",
      ...(uid === undefined ? {} : { uid, gid: uid }),
    });
    return true;
  } catch {
    return false;
  }
}
