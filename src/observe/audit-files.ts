import { existsSync, renameSync, rmSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";

/**
 * Puts the file `next` in the place of `path`: `path` becomes `path.1`, `path.1` becomes `path.2` and so on; what
 * would become number `keep` + 1 is removed. `keep` is at least 1.
 * @throws Error of node:fs.
 */
export function rotateFiles(path: string, next: string, keep: number): void {
  rmSync(rotatedName(path, keep), { force: true });
  for (let number = keep - 1; number >= 0; number--) {
    const name = rotatedName(path, number);
    if (existsSync(name)) renameSync(name, rotatedName(path, number + 1));
  }
  renameSync(next, path);
}

/** The files of a log that exist, newest first. */
export function existingFiles(path: string): readonly string[] {
  const names: string[] = [];
  for (let number = 0; existsSync(rotatedName(path, number)); number++) names.push(rotatedName(path, number));
  return names;
}

/** Name of a log's file by its age: the current one is number 0. */
export function rotatedName(path: string, number: number): string {
  return number === 0 ? path : `${path}.${number}`;
}

/** The line, without newline, that begins at an offset; at most 1 MiB. `undefined` where there is no whole line. */
export async function readLineAt(path: string, offset: number): Promise<string | undefined> {
  await using file = await open(path, "r");
  for (let length = FIRST_READ; length <= MAX_LINE; length *= 4) {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, offset);
    const end = buffer.subarray(0, bytesRead).indexOf(NEWLINE);
    if (end >= 0) return buffer.toString("utf8", 0, end);
    if (bytesRead < length) return undefined;
  }
  return undefined;
}

/**
 * The whole lines of a file that hold these bytes, last one first, read backwards in blocks of 256 KiB.
 * @param isEnough Asked after each block, with its earliest whole line: whether what is before it need not be read.
 */
export async function* linesHoldingBackwards(
  path: string,
  needle: string,
  isEnough: (earliest: string) => boolean = () => false,
): AsyncGenerator<string> {
  await using file = await open(path, "r");
  let end = (await file.stat()).size;
  let rest: Buffer = Buffer.alloc(0);
  while (end > 0) {
    const start = Math.max(0, end - BLOCK);
    const bytes = Buffer.concat([await readBlock(file, start, end - start), rest]);
    // The first line of a block may begin in the block before; it waits for that one.
    const firstWhole = start === 0 ? 0 : bytes.indexOf(NEWLINE) + 1;
    let stop = bytes.length;
    for (;;) {
      const hit = stop <= firstWhole ? -1 : bytes.lastIndexOf(needle, stop - 1);
      if (hit < firstWhole) break;
      const lineStart = bytes.lastIndexOf(NEWLINE, hit) + 1;
      const lineEnd = bytes.indexOf(NEWLINE, hit);
      if (lineEnd >= 0 && lineEnd < stop) yield bytes.toString("utf8", lineStart, lineEnd);
      stop = lineStart;
    }
    const secondLine = bytes.indexOf(NEWLINE, firstWhole);
    if (secondLine >= 0 && isEnough(bytes.toString("utf8", firstWhole, secondLine))) return;
    rest = bytes.subarray(0, Math.min(firstWhole, MAX_LINE));
    end = start;
  }
}

async function readBlock(file: FileHandle, offset: number, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, offset);
  return buffer.subarray(0, bytesRead);
}

const NEWLINE = 0x0a;
const FIRST_READ = 4096;
const BLOCK = 256 * 1024;
const MAX_LINE = 1024 * 1024;
