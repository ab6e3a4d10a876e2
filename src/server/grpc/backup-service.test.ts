import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import type { ServerCall } from "../call.ts";
import { backupService } from "./backup-service.ts";

let dataDir: string;

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "assay-backup-service-"));
});
afterEach(() => rm(dataDir, { recursive: true }));

describe("a backup that nobody takes", () => {
  it("is given up after a minute without a part taken, and makes room for another", async () => {
    const clock = new FakeClock();
    const facts = {
      trustDomain: parseTrustDomain("example.org"),
      schemaVersion: 4,
      bundleSequence: 1n,
      changes: 1,
    };
    const copyTo = async (path: string) => {
      await writeFile(path, Buffer.alloc(1_000_000));
      return facts;
    };
    const service = backupService({
      source: { copyTo, dataDir, clock, version: "test" },
      audit: { append: () => undefined },
    });
    const context = { caller: { who: {} }, method: "/x/y" } as unknown as ServerCall;
    const begin = () => (service.createBackup ?? failed)({} as never, context)[Symbol.asyncIterator]();
    const stalled = begin();
    await stalled.next();
    // Slow is not stalled: each part that is taken gives another minute.
    for (let n = 0; n < 2; n++) {
      await clock.advance(59_000);
      expect((await stalled.next()).done).toBe(false);
    }
    await expect(begin().next()).rejects.toThrowCode("PRECONDITION_FAILED", /under way/);
    await clock.advance(60_000);
    const other = begin();
    expect((await other.next()).value).toMatchObject({ part: { case: "manifest" } });
    await expect(stalled.next()).rejects.toThrowCode("PRECONDITION_FAILED", /given up/);
    // The end of the first is not the end of the second.
    await expect(begin().next()).rejects.toThrowCode("PRECONDITION_FAILED", /under way/);
    await other.return?.();
    expect(clock.pending).toBe(0);
    expect((await readdir(dataDir)).filter((name) => name.startsWith(".backup"))).toEqual([]);
  });
});

function failed(): never {
  throw new Error("the service makes no backups");
}
