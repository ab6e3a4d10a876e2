import { chmodSync, closeSync, mkdirSync, openSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { reasonOf, unavailable } from "./failures.ts";

/**
 * Makes the folder if it is not there, for its owner only. A folder that exists keeps its mode: it is the operator's.
 * @throws AssayError `STORE_UNAVAILABLE`.
 */
export function createPrivateFolder(folder: string): void {
  try {
    makeFolder(resolve(folder));
  } catch (error) {
    throw unavailable(folder, `the folder cannot be made (${reasonOf(error)})`, error);
  }
}

/**
 * Makes an empty file if it is not there, and sees to it that only its owner can read or write it.
 *
 * An existing file is never opened here: closing it would drop every POSIX lock that this process holds on it.
 * @throws AssayError `STORE_UNAVAILABLE`.
 */
export function createPrivateFile(path: string): void {
  try {
    closeSync(openSync(path, "wx", 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") {
      throw unavailable(path, `the file cannot be made (${reasonOf(error)})`, error);
    }
  }
  try {
    chmodSync(path, 0o600);
  } catch (error) {
    throw unavailable(path, `its mode cannot be set (${reasonOf(error)})`, error);
  }
}

// Step by step, because mkdir with `recursive` never returns where a file system answers ENOENT for every new name,
// as /proc does.
function makeFolder(folder: string): void {
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true) return;
  const parent = dirname(folder);
  if (parent !== folder) makeFolder(parent);
  try {
    mkdirSync(folder, { mode: 0o700 });
  } catch (error) {
    // Someone else was quicker.
    if ((error as NodeJS.ErrnoException).code !== "EEXIST" || !statSync(folder).isDirectory()) throw error;
  }
}
