import { createHash } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../../clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { atomicWrite } from "../../files/atomic-write.ts";
import { fileError } from "../../files/file-error.ts";
import { ensurePrivateFolder } from "../../files/private-folder.ts";
import type { StoreFacts } from "../../store/records.ts";
import { restoreSqliteStore } from "../../store/sqlite/backup-restore.ts";
import { markedAt } from "../../store/sqlite/high-water.ts";
import { STORE_FILE } from "../../store/sqlite/open.ts";
import { writeServerId } from "../own-server-id.ts";
import { type BackupManifest, invalid, type OpenBackup, openBackup } from "./backup-file.ts";

/** What an operator says about a restore. */
export interface RestoreOptions {
  /** The backup. */
  readonly from: string;
  readonly dataDir: string;
  /** Whether a folder that holds something may be used; a store in it is set aside. */
  readonly replace: boolean;
  readonly keepAuthorities: boolean;
  readonly keepAgents: boolean;
  /** Refuses a backup of another trust domain. */
  readonly trustDomain?: string | undefined;
  readonly clock: Clock;
}

/** What a restore did. */
export interface Restored {
  readonly manifest: BackupManifest;
  /** The folder that the store of before is in. */
  readonly setAside: string | undefined;
  /** Whole days between the last that is known of the store and now: many of them where a clock is ahead. */
  readonly daysSince: number;
}

/**
 * Puts the store of a backup into a data folder. What else is in the folder stays: keys, audit log, certificates.
 * @throws AssayError `BACKUP_INVALID`, `FILE_UNAVAILABLE` for the file, `PRECONDITION_FAILED` for a folder that is not empty
 * or a clock behind the backup's, `STORE_IN_USE`, `STORE_TOO_NEW`, `STORE_UNAVAILABLE`; the folder is then as it was.
 */
export async function restoreBackup(options: RestoreOptions): Promise<Restored> {
  const { from, dataDir, replace, trustDomain, clock, keepAuthorities, keepAgents } = options;
  await using backup = await openBackup(from);
  const { manifest } = backup;
  if (trustDomain !== undefined && trustDomain !== manifest.trust_domain) {
    throw invalid(`${from} is of the trust domain ${manifest.trust_domain}, expected ${trustDomain}`);
  }
  const now = clock.now();
  const backupAt = Math.floor(Date.parse(manifest.created_at) / 1000);
  // Every number that jumps does so by the time: a clock that is behind would let them go backwards.
  if (now < backupAt * 1000) {
    throw new AssayError(
      "PRECONDITION_FAILED",
      `this machine's clock says ${new Date(now).toISOString()}, and the backup was made at ${manifest.created_at}: set the clock first`,
    );
  }
  await ensurePrivateFolder(dataDir, { code: "STORE_UNAVAILABLE" });
  const requireFree = async () => {
    if (!replace && (await holdsSomething(dataDir))) {
      throw new AssayError(
        "PRECONDITION_FAILED",
        `${dataDir} is not empty: give --replace to set the store in it aside and put the backup in its place`,
      );
    }
  };
  // Before a stranger's folder gets a lock, and when nobody else can be restoring to it.
  await requireFree();
  const fill = async (copy: string) => {
    await requireFree();
    await atomicWrite(copy, verified(backup, from), { code: "STORE_UNAVAILABLE" });
  };
  const lastKnown = Math.max(backupAt * 1000, markedAt(join(dataDir, STORE_FILE)) ?? 0);
  const plan = { now, backupAt, keepAuthorities, keepAgents };
  const check = (facts: StoreFacts, present: StoreFacts | undefined) => {
    requireSame(facts, manifest);
    if (trustDomain === undefined && present !== undefined && present.trustDomain !== facts.trustDomain) {
      throw invalid(
        `${from} is of the trust domain ${facts.trustDomain}, and the store in ${dataDir} of ${present.trustDomain}: give --trust-domain ${facts.trustDomain} if that is meant`,
      );
    }
  };
  // Before the store is there: under a name that does not fit it, its authorities would be another server's, and be replaced by nobody.
  const ready = () => writeServerId(dataDir, manifest.server_id);
  const setAside = await restoreSqliteStore(join(dataDir, STORE_FILE), fill, plan, check, ready);
  return { manifest, setAside, daysSince: Math.max(0, Math.floor((now - lastKnown) / DAY_MS)) };
}

/** Whether there is more in a folder than the lock of a restore. */
async function holdsSomething(folder: string): Promise<boolean> {
  try {
    return (await readdir(folder)).some((name) => !name.startsWith(`${STORE_FILE}.lock`));
  } catch (cause) {
    throw fileError("read", folder, cause, { code: "STORE_UNAVAILABLE" });
  }
}

async function* verified(backup: OpenBackup, from: string): AsyncGenerator<Uint8Array, void, undefined> {
  const hash = createHash("sha256");
  for await (const piece of backup.data()) {
    hash.update(piece);
    yield piece;
  }
  if (hash.digest("hex") !== backup.manifest.database_sha256) {
    throw invalid(`${from} is damaged: its database is not the one of its manifest`);
  }
}

function requireSame(facts: StoreFacts, manifest: BackupManifest): void {
  const same =
    facts.trustDomain === manifest.trust_domain &&
    facts.schemaVersion === manifest.schema_version &&
    facts.bundleSequence.toString() === manifest.bundle_sequence &&
    facts.changes === manifest.changes;
  if (!same) throw invalid("its database is not what its manifest says");
}

const DAY_MS = 86_400_000;
