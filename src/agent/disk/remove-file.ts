import { unlink } from "node:fs/promises";
import { fileError, isErrno } from "../../files/file-error.ts";

/** Removes a file if it is there. @throws AssayError `FILE_UNAVAILABLE` naming the path. */
export async function removeFile(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (cause) {
    if (!isErrno(cause, "ENOENT")) throw fileError("remove", path, cause);
  }
}
