import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { reasonOf } from "../../files/file-error.ts";
import { TokenError } from "./cryptoki-error.ts";

/**
 * The PIN in a file that its owner alone may read: 1 to 255 octets of UTF-8, one newline at the end apart.
 * @throws TokenError `config` naming the file and the remedy, never its content.
 */
export async function readPinFile(path: string): Promise<string> {
  try {
    return await read(path);
  } catch (error) {
    if (error instanceof TokenError) throw error;
    throw refused(path, `cannot be read: ${reasonOf(error)}`);
  }
}

async function read(path: string): Promise<string> {
  // Without O_NONBLOCK, opening a pipe that nobody writes to would hang.
  await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const facts = await file.stat();
  if (!facts.isFile()) throw refused(path, "is not a regular file");
  const user = process.geteuid?.() ?? facts.uid;
  if (facts.uid !== user && facts.uid !== 0) {
    throw refused(path, `is owned by uid ${facts.uid}; give it to uid ${user} with chown`);
  }
  if ((facts.mode & 0o077) !== 0) {
    const mode = (facts.mode & 0o777).toString(8).padStart(4, "0");
    throw refused(
      path,
      `has mode ${mode}, so others could have read the PIN; chmod 600 it, and change the PIN`,
    );
  }
  const bytes = Buffer.alloc(MAX_FILE + 1);
  try {
    const { bytesRead } = await file.read(bytes, 0, bytes.length, 0);
    if (bytesRead > MAX_FILE) throw refused(path, `is larger than ${MAX_FILE} octets`);
    const pin = bytes.toString("utf8", 0, bytesRead).replace(/\r?\n$/, "");
    if (pin === "" || /[\0\r\n]/.test(pin)) throw refused(path, "must hold one line, the PIN");
    return pin;
  } finally {
    bytes.fill(0);
  }
}

function refused(path: string, why: string): TokenError {
  return new TokenError("config", `pin_file ${path} ${why}`);
}

const MAX_FILE = 256;
