import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { isAbsolute, join } from "node:path";
import { fileError } from "../../files/file-error.ts";
import { socketPathFault } from "../../files/socket-path.ts";

/** A folder that only this user can enter, and that is gone when it is disposed. */
export interface TaskFolder extends AsyncDisposable {
  readonly path: string;
  /** Path of the Workload Endpoint's socket. */
  readonly socket: string;
}

/**
 * Makes the private folder of a task (mode 0700) in the first of these places that is there and short enough for a
 * socket's path; the system's temporary folders come last, and after them the memory of the machine, which containers with a
 * read-only file system have.
 * @throws AssayError `FILE_UNAVAILABLE` naming the first place, and why it was not that.
 */
export async function makeTaskFolder(
  places: readonly (string | undefined)[],
  lastPlaces: readonly string[] = [tmpdir(), "/tmp", "/dev/shm"],
): Promise<TaskFolder> {
  const usable = places.filter((place) => place !== undefined).filter(isAbsolute);
  let fault: { readonly place: string; readonly cause: unknown } | undefined;
  for (const place of [...usable, ...lastPlaces]) {
    try {
      if (socketPathFault(join(place, `${PREFIX}XXXXXX`, SOCKET)) !== undefined) continue;
      if (!(await stat(place)).isDirectory()) continue;
      const path = await mkdtemp(join(place, PREFIX));
      return {
        path,
        socket: join(path, SOCKET),
        [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true, maxRetries: 3 }),
      };
    } catch (cause) {
      fault ??= { place, cause };
    }
  }
  throw fileError("make a private folder in", fault?.place ?? tmpdir(), fault?.cause);
}

const PREFIX = "assay-task-";
const SOCKET = "api.sock";
