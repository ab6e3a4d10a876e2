import { once } from "node:events";
import { lstatSync } from "node:fs";
import { chmod, lstat, mkdir, unlink } from "node:fs/promises";
import { createConnection, type Server } from "node:net";
import { dirname } from "node:path";
import { isMainThread } from "node:worker_threads";
import { AssayError } from "../errors/assay-error.ts";
import { isErrno, reasonOf } from "./file-error.ts";

/** How a Unix socket is opened. */
export interface SocketOptions {
  /** Who may connect, as permission bits of the socket: 0600 for one user, 0777 for everybody on the machine. */
  readonly mode: number;
  /** Connections that may wait to be accepted, 4096 unless told: fewer refuse a storm of starting workloads. */
  readonly backlog?: number;
}

/**
 * Opens a server on a Unix socket: prepares the path, listens, and sets the socket's mode without a moment in which
 * it is wider. Node removes the socket when the server closes.
 * @throws AssayError `LISTEN_FAILED` naming the path and the remedy.
 */
export async function listenOnSocket(server: Server, path: string, options: SocketOptions): Promise<void> {
  await prepareSocketPath(path);
  const listening = once(server, "listening");
  const restore = narrowUmask(options.mode);
  try {
    // Node binds a path inside the call, so the umask holds for the bind and for nothing else.
    server.listen({ path, backlog: options.backlog ?? DEFAULT_BACKLOG });
  } finally {
    restore();
  }
  try {
    await listening;
    await chmod(path, options.mode);
  } catch (cause) {
    server.close();
    throw new AssayError("LISTEN_FAILED", `socket ${path}: ${reasonOf(cause)}`, { cause });
  }
}

/**
 * Makes a path ready for a listener: creates its folder (0755) if there is none and removes a socket that nobody
 * listens on. Anything else at the path is left alone and refused.
 * @throws AssayError `LISTEN_FAILED` naming the path and the remedy: the path is too long, a live process listens
 * there, or it is not a socket.
 */
export async function prepareSocketPath(path: string): Promise<void> {
  const fault = socketPathFault(path);
  if (fault !== undefined) throw new AssayError("LISTEN_FAILED", fault);
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    const facts = await lstat(path);
    if (!facts.isSocket()) {
      throw refused(path, "the path exists and is not a socket; remove it or choose another path");
    }
    if (await answers(path)) {
      throw refused(path, "another process listens there; stop it or choose another path");
    }
    // Between the attempt to connect and here another process may have put its own socket in place.
    const now = lstatSync(path);
    if (now.ino !== facts.ino || now.dev !== facts.dev)
      throw refused(path, "another process is taking the path");
    await unlink(path);
  } catch (cause) {
    if (isErrno(cause, "ENOENT")) return;
    if (cause instanceof AssayError) throw cause;
    throw new AssayError("LISTEN_FAILED", `socket ${path}: ${reasonOf(cause)}`, { cause });
  }
}

/** What is wrong with a path for a Unix socket, or `undefined`: 1 to 107 bytes (unix(7)) and no NUL. */
export function socketPathFault(path: string): string | undefined {
  if (path === "") return "socket path is empty";
  if (path.includes("\0")) return "socket path contains a NUL character";
  const length = Buffer.byteLength(path);
  if (length <= MAX_PATH_BYTES) return undefined;
  return `socket path ${path} is ${length} bytes long, the system allows ${MAX_PATH_BYTES}; choose a shorter one`;
}

/** Whether somebody listens: a full queue of waiting connections means yes, a refusal or a vanished file no. */
function answers(path: string): Promise<boolean> {
  const { promise, resolve, reject } = Promise.withResolvers<boolean>();
  const socket = createConnection({ path });
  socket.once("connect", () => resolve(true));
  socket.once("error", (error) => {
    if (isErrno(error, "ECONNREFUSED", "ENOENT")) resolve(false);
    else if (isErrno(error, "EAGAIN", "EACCES", "EPROTOTYPE")) resolve(true);
    else reject(error);
  });
  return promise.finally(() => socket.destroy());
}

/** Sets the umask so that a new socket gets at most this mode. Worker threads cannot; there chmod follows alone. */
function narrowUmask(mode: number): () => void {
  if (!isMainThread) return () => undefined;
  const before = process.umask(0o777 & ~mode);
  return () => void process.umask(before);
}

function refused(path: string, detail: string): AssayError {
  return new AssayError("LISTEN_FAILED", `socket ${path}: ${detail}`);
}

const DEFAULT_BACKLOG = 4096;
// sun_path holds 108 bytes, the last of which is the terminator.
const MAX_PATH_BYTES = 107;
