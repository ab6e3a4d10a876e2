import { stat } from "node:fs/promises";
import { AssayError } from "../../../../errors/assay-error.ts";
import { readBounded } from "../../../../files/read-bounded.ts";

/**
 * The secret that an operator shares with a platform: the file's text without white space around it.
 * @throws AssayError `CONFIG_INVALID` where the file cannot be read, others may read it or write to it, or what it holds is
 * shorter than 16 characters.
 */
export async function readWebhookSecret(file: string): Promise<string> {
  const text = (await readBounded(file, MAX_BYTES, { code: "CONFIG_INVALID" })).toString("utf8").trim();
  const { mode } = await stat(file);
  // The group may read: that is how a mounted secret comes to a program that is not root.
  if ((mode & 0o037) !== 0) {
    throw new AssayError(
      "CONFIG_INVALID",
      `webhook_secret_file: ${file} is open to others, expected mode 0600`,
    );
  }
  if (text.length < MIN_CHARACTERS) {
    throw new AssayError(
      "CONFIG_INVALID",
      `webhook_secret_file: expected ${MIN_CHARACTERS} characters or more`,
    );
  }
  return text;
}

const MAX_BYTES = 4096;
const MIN_CHARACTERS = 16;
