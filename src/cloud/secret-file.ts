import { stat } from "node:fs/promises";
import { AssayError } from "../errors/assay-error.ts";
import { fileError } from "../files/file-error.ts";
import { readBounded } from "../files/read-bounded.ts";

/**
 * The content of a file with a credential, of at most `maxBytes` bytes. A link is followed and a group may read, as it is
 * with secrets that a platform mounts; everybody else may not.
 * @throws AssayError `CONFIG_INVALID` naming the setting and the remedy.
 */
export async function readSecretFile(setting: string, path: string, maxBytes: number): Promise<Buffer> {
  const { mode } = await stat(path).catch((cause: unknown) => {
    throw fileError("read", path, cause, { code: "CONFIG_INVALID" });
  });
  if ((mode & 0o007) !== 0) {
    const shown = (mode & 0o777).toString(8).padStart(4, "0");
    throw new AssayError(
      "CONFIG_INVALID",
      `${setting} ${path} has mode ${shown}, so others could have read it; replace the credential and chmod 600 the file`,
    );
  }
  return readBounded(path, maxBytes, { code: "CONFIG_INVALID" });
}
