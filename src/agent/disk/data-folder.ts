import { type FileHandle, open } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { AssayError } from "../../errors/assay-error.ts";
import { ensurePrivateFolder } from "../../files/private-folder.ts";
import { listenOnSocket, socketPathFault } from "../../files/socket-path.ts";

/**
 * Takes a data folder for this process alone, creating it if need be. The sign is a socket in the folder: it can be
 * connected to exactly while its owner lives, so that what a killed agent left behind holds nobody up.
 * @throws AssayError `STORE_IN_USE` where another agent has it, `FILE_UNAVAILABLE` where it cannot be used.
 */
export async function takeDataFolder(dataDir: string): Promise<AsyncDisposable> {
  await ensurePrivateFolder(dataDir);
  await using stack = new AsyncDisposableStack();
  const server = createServer((socket) => void socket.destroy());
  stack.defer(() => new Promise<void>((resolve) => void server.close(() => resolve())));
  try {
    await listenOnSocket(server, await lockPath(dataDir, stack), { mode: 0o600 });
  } catch (cause) {
    throw new AssayError(
      "STORE_IN_USE",
      `data folder ${dataDir} is used by another agent; stop it or choose another folder`,
      { cause },
    );
  }
  const kept = stack.move();
  return { [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/** A socket's path is short by law; a folder with a long name is reached through a descriptor of it. */
async function lockPath(dataDir: string, stack: AsyncDisposableStack): Promise<string> {
  const path = join(dataDir, LOCK);
  if (socketPathFault(path) === undefined) return path;
  const folder: FileHandle = await open(dataDir);
  stack.use(folder);
  return `/proc/self/fd/${folder.fd}/${LOCK}`;
}

const LOCK = "agent.lock";
