import { constants, readFileSync, statSync } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { AssayError } from "../../errors/assay-error.ts";
import { unavailable } from "./failures.ts";

/** How far a store had come when that was last written down beside it. */
export interface HighWater {
  /** How often it was written down; the store has the same number. */
  readonly mark: number;
  /** Sequence of the own bundle. */
  readonly bundleSequence: bigint;
  /** Position in the change log. */
  readonly changes: number;
  /** When the store was last restored, Unix seconds; 0 where it never was. */
  readonly restoredAt: number;
}

/** Where a store's high-water mark is kept. */
export function highWaterPath(storePath: string): string {
  return `${storePath}.mark`;
}

/**
 * The mark beside a store; `undefined` where there is none yet.
 * @throws AssayError `STORE_UNAVAILABLE` where it cannot be read, or is none.
 */
export function readHighWater(storePath: string): HighWater | undefined {
  const path = highWaterPath(storePath);
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw unavailable(path, "it cannot be read", error);
  }
  const [, mark, bundleSequence, changes, restoredAt = "0"] = FORM.exec(text) ?? [];
  if (mark === undefined || bundleSequence === undefined || changes === undefined) {
    throw unavailable(
      path,
      `it is damaged, so nobody can tell whether the store is the newest one: put a backup here with assay restore --replace after you have removed this file, or remove it alone where you know that the store is the newest`,
    );
  }
  return {
    mark: Number(mark),
    bundleSequence: BigInt(bundleSequence),
    changes: Number(changes),
    restoredAt: Number(restoredAt),
  };
}

/** When the mark beside a store was last written, Unix milliseconds; `undefined` where there is none. */
export function markedAt(storePath: string): number | undefined {
  return statSync(highWaterPath(storePath), { throwIfNoEntry: false })?.mtimeMs;
}

/** Puts a mark in the place of the one before; it survives a power cut. @throws AssayError `STORE_UNAVAILABLE`. */
export async function writeHighWater(storePath: string, highWater: HighWater): Promise<void> {
  const path = highWaterPath(storePath);
  const temporary = `${path}.new`;
  const { mark, bundleSequence, changes, restoredAt } = highWater;
  try {
    // What a killed process left behind is nobody's.
    await rm(temporary, { force: true });
    await using file = await open(temporary, "wx", 0o600);
    await file.writeFile(`mark ${mark} bundle ${bundleSequence} changes ${changes} restored ${restoredAt}\n`);
    await file.sync();
    await rename(temporary, path);
    await using folder = await open(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
    await folder.sync();
  } catch (error) {
    throw unavailable(path, "it cannot be written", error);
  }
}

/**
 * Refuses a store that is behind what was written down beside it: an old copy that somebody put back by hand, or an empty one.
 * Whatever was decided since would be undone and nobody would notice.
 * @throws AssayError `STORE_OUTDATED` naming both ways out.
 */
export function refuseOutdated(storePath: string, storeMark: number, highWater: HighWater | undefined): void {
  if (highWater === undefined || storeMark >= highWater.mark) return;
  throw new AssayError(
    "STORE_OUTDATED",
    `the store ${storePath} is older than the one that was here before (mark ${storeMark}, expected ${highWater.mark} or more): to go back to an earlier state, put its backup here with assay restore --replace; to begin anew with nothing, remove ${highWaterPath(storePath)} too`,
  );
}

// The last field is absent in marks of versions that did not keep it.
const FORM = /^mark (\d{1,15}) bundle (\d{1,20}) changes (\d{1,16})(?: restored (\d{1,12}))?\n$/;
