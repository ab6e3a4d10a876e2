import { readFile } from "node:fs/promises";
import { AssayError } from "../errors/assay-error.ts";
import type { CliIo } from "./io.ts";

/**
 * What the file of a flag holds, `--file` unless told; `-` is standard input, as text.
 * @throws AssayError `USAGE` naming the flag where it cannot be read.
 */
export async function readInput(
  io: Pick<CliIo, "stdin">,
  path: string,
  flag = "--file",
): Promise<Uint8Array> {
  if (path === "-") return Buffer.from(await io.stdin());
  try {
    return await readFile(path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "unknown error";
    throw new AssayError("USAGE", `${flag}: ${path} cannot be read (${code})`, { cause: error });
  }
}
