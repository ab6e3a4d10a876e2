import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, lstatSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { createConnection, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { listenOnSocket, prepareSocketPath, socketPathFault } from "./socket-path.ts";

let folder: string;
let servers: Server[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sock-"));
  servers = [];
});
afterEach(async () => {
  for (const server of servers) if (server.listening) await new Promise((resolve) => server.close(resolve));
  rmSync(folder, { recursive: true, force: true });
});

function server(): Server {
  const made = createServer((socket) => void socket.destroy());
  servers.push(made);
  return made;
}

it.each([0o600, 0o660, 0o777])("gives the socket exactly the mode asked for (%i)", async (mode) => {
  const path = join(folder, "s");
  await listenOnSocket(server(), path, { mode });
  expect(statSync(path).mode & 0o777).toBe(mode);
});

it("never leaves the socket wider than asked for, not even while listening begins", async () => {
  const path = join(folder, "s");
  const made = server();
  const modes: number[] = [];
  const listen = made.listen.bind(made);
  made.listen = ((options: object) => {
    listen(options);
    modes.push(statSync(path).mode & 0o777);
    return made;
  }) as typeof made.listen;
  const before = process.umask();
  await listenOnSocket(made, path, { mode: 0o600 });
  expect(modes).toEqual([0o600]);
  expect(process.umask()).toBe(before);
});

it("creates the folder of the socket", async () => {
  const path = join(folder, "deep", "er", "s");
  await listenOnSocket(server(), path, { mode: 0o777 });
  expect(lstatSync(path).isSocket()).toBe(true);
});

it("refuses a path on which another process answers and leaves it working", async () => {
  const path = join(folder, "s");
  const first = server();
  await listenOnSocket(first, path, { mode: 0o600 });
  await expect(listenOnSocket(server(), path, { mode: 0o600 })).rejects.toThrowCode(
    "LISTEN_FAILED",
    `socket ${path}: another process listens there; stop it or choose another path`,
  );
  const client = createConnection(path);
  await once(client, "connect");
  client.destroy();
});

it("removes the socket of a killed process", async () => {
  const path = join(folder, "s");
  const child = spawn(process.execPath, [
    "-e",
    "require('net').createServer().listen(process.argv[1], () => console.log('up'))",
    path,
  ]);
  await once(child.stdout, "data");
  child.kill("SIGKILL");
  await once(child, "exit");
  expect(existsSync(path)).toBe(true);
  await listenOnSocket(server(), path, { mode: 0o600 });
});

it("refuses what is no socket and leaves it alone", async () => {
  const path = join(folder, "s");
  writeFileSync(path, "precious");
  await expect(prepareSocketPath(path)).rejects.toThrowCode("LISTEN_FAILED", "is not a socket");
  expect(lstatSync(path).isFile()).toBe(true);
  symlinkSync("/nowhere", join(folder, "link"));
  await expect(prepareSocketPath(join(folder, "link"))).rejects.toThrowCode(
    "LISTEN_FAILED",
    "is not a socket",
  );
  await expect(prepareSocketPath(folder)).rejects.toThrowCode("LISTEN_FAILED", "is not a socket");
});

it("names the reason where the folder cannot be made", async () => {
  writeFileSync(join(folder, "file"), "");
  const path = join(folder, "file", "s");
  await expect(prepareSocketPath(path)).rejects.toThrowCode(
    "LISTEN_FAILED",
    /socket .*\/file\/s: .*\((ENOTDIR|EEXIST)\)/,
  );
});

it("allows 107 bytes of path and not one more", async () => {
  const fitting = join(folder, "x".repeat(107 - folder.length - 1));
  await listenOnSocket(server(), fitting, { mode: 0o600 });
  expect(socketPathFault(`${fitting}y`)).toMatch(/108 bytes long, the system allows 107/);
  await expect(listenOnSocket(server(), `${fitting}y`, { mode: 0o600 })).rejects.toThrowCode(
    "LISTEN_FAILED",
    "108 bytes",
  );
  expect(socketPathFault(`/${"é".repeat(54)}`)).toMatch(/109 bytes/);
  expect(socketPathFault("")).toBeDefined();
  expect(socketPathFault("/a\0b")).toBeDefined();
});
