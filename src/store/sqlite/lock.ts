import { DatabaseSync } from "node:sqlite";
import { AssayError } from "../../errors/assay-error.ts";
import { isBusy, storeFailure } from "./failures.ts";
import { createPrivateFile } from "./private-file.ts";

/**
 * Takes the store at `path` for this process until disposed; the kernel lets go of it however the process ends.
 *
 * The lock is on a second, empty database beside the store, so that the store itself stays open to readers that
 * only inspect it.
 * @throws AssayError `STORE_IN_USE` where another process (or this one) has it, `STORE_UNAVAILABLE`.
 */
export function takeStoreLock(path: string): Disposable {
  const lockPath = `${path}.lock`;
  createPrivateFile(lockPath);
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(lockPath, { timeout: 0 });
    database.exec("begin exclusive");
  } catch (error) {
    database?.close();
    if (!isBusy(error)) throw storeFailure(error, lockPath);
    throw new AssayError(
      "STORE_IN_USE",
      `the store ${path} is used by another process: stop that one first, or name another data folder`,
      { cause: error },
    );
  }
  const held = database;
  return {
    [Symbol.dispose]() {
      if (held.isOpen) held.close();
    },
  };
}
