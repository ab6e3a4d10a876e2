import { stat } from "node:fs/promises";
import { AssayError } from "../errors/assay-error.ts";
import type { ErrorCode } from "../errors/codes.ts";
import { fileError } from "../files/file-error.ts";
import { readBounded } from "../files/read-bounded.ts";

/**
 * The content of a file with a credential, of at most `maxBytes` bytes, that is closed to others ({@link requireClosed}).
 * @throws AssayError of the code, `CONFIG_INVALID` unless told, naming the setting and the remedy.
 */
export async function readSecretFile(
  setting: string,
  path: string,
  maxBytes: number,
  code: ErrorCode = "CONFIG_INVALID",
): Promise<Buffer> {
  await requireClosed(setting, path, code);
  return readBounded(path, maxBytes, { code });
}

/**
 * Checks that others cannot read or write a file with a credential. A link is followed and a group may read, as it is with
 * secrets that a platform mounts; everybody else may not.
 * @throws AssayError of the code naming the setting and the remedy.
 */
export async function requireClosed(setting: string, path: string, code: ErrorCode): Promise<void> {
  const { mode } = await stat(path).catch((cause: unknown) => {
    throw fileError("read", path, cause, { code });
  });
  if ((mode & 0o007) === 0) return;
  const shown = (mode & 0o777).toString(8).padStart(4, "0");
  throw new AssayError(
    code,
    `${setting} ${path} has mode ${shown}, so others could have read it; replace the credential and chmod 600 the file`,
  );
}
