import { chmod, mkdir, readdir, stat } from "node:fs/promises";
import { AssayError } from "../errors/assay-error.ts";
import { type FileErrorOptions, fileError } from "./file-error.ts";

/**
 * Makes sure that the path is a folder that only this process's user can enter (mode 0700), creating it and its
 * parents if need be. A wider mode is narrowed only on an empty folder; one that holds something is refused instead,
 * so that a mistyped path never takes a shared folder away from its users.
 * @throws AssayError `FILE_UNAVAILABLE` (or the code given) naming the path and the remedy.
 */
export async function ensurePrivateFolder(path: string, options: FileErrorOptions = {}): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: PRIVATE });
    const facts = await stat(path);
    const user = process.geteuid?.() ?? facts.uid;
    if (facts.uid !== user) throw refused(path, `is owned by uid ${facts.uid}, expected ${user}`, options);
    if ((facts.mode & OTHERS) === 0) return;
    if ((await readdir(path)).length > 0) {
      const mode = (facts.mode & 0o7777).toString(8).padStart(4, "0");
      throw refused(path, `has mode ${mode}, expected 0700: narrow it with chmod 700`, options);
    }
    await chmod(path, PRIVATE);
  } catch (cause) {
    throw fileError("use folder", path, cause, options);
  }
}

function refused(path: string, why: string, options: FileErrorOptions): AssayError {
  return new AssayError(options.code ?? "FILE_UNAVAILABLE", `folder ${path} ${why}`);
}

const PRIVATE = 0o700;
const OTHERS = 0o077;
