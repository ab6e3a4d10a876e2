import { open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { output, run } from "../program.ts";
import type { Scratch } from "../scratch.ts";

/** A clock of some programs that can be set while they run. */
export interface ShiftedClock {
  /** What such a program needs in its environment. */
  readonly environment: Readonly<Record<string, string>>;
  /** Sets the clock so many seconds ahead of the machine's, or behind. */
  set(seconds: number): Promise<void>;
}

/** Whether this machine can make one. */
export async function canShiftClocks(): Promise<boolean> {
  return process.platform === "linux" && (await run("cc", ["--version"]).catch(() => undefined))?.code === 0;
}

/** Makes a clock that is right at first. */
export async function makeShiftedClock(scratch: Scratch): Promise<ShiftedClock> {
  const library = scratch.at("shift.so");
  const source = join(import.meta.dirname, "shift.c");
  await output("cc", ["-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"]);
  const file = scratch.at("shift");
  await writeFile(file, Buffer.alloc(8));
  return {
    environment: { LD_PRELOAD: library, CLOCK_SHIFT_FILE: file },
    async set(seconds) {
      const bytes = Buffer.alloc(8);
      bytes.writeBigInt64LE(BigInt(seconds));
      // In place, as a program has the file in its memory.
      await using handle = await open(file, "r+");
      await handle.write(bytes, 0, 8, 0);
    },
  };
}
