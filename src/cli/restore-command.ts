import { join, resolve } from "node:path";
import type { Command } from "commander";
import { reasonOf } from "../files/file-error.ts";
import type { StoredAuditRecord } from "../observe/audit-record.ts";
import { type CliIo, writeResult } from "./io.ts";
import { outputOption, type AdminOptions } from "./options.ts";

/** Adds `assay restore`: the store of a backup in the place of a server's, while no server runs. */
export function addRestoreCommand(program: Command, io: CliIo): void {
  outputOption(
    program
      .command("restore")
      .description("put a backup in the place of a server's store, while the server is stopped"),
  )
    .requiredOption("--from <file>", "the backup", (path) => resolve(path))
    .requiredOption("--data-dir <path>", "the server's data folder", (path) => resolve(path))
    .option(
      "--replace",
      "use a folder that is not empty; a store in it is set aside, everything else stays",
      false,
    )
    .option("--trust-domain <name>", "refuse a backup of another trust domain")
    .option(
      "--keep-authorities",
      "go on with the authorities of the backup, whose keys must still be there",
      false,
    )
    .option("--keep-agents", "let agents go on that have not renewed since, without attesting again", false)
    .option(
      "--audit-log <path>",
      "the server's audit log, to list what is lost; audit.jsonl in the data folder unless given",
      (path) => resolve(path),
    )
    .option("--list-lost", "restore nothing: only list what a restore of this backup undoes", false)
    .action(async (flags: Flags) => {
      const { auditLog = join(flags.dataDir, "audit.jsonl"), listLost, ...options } = flags;
      if (listLost) {
        const { openBackup } = await import("../server/backup/backup-file.ts");
        await using backup = await openBackup(flags.from);
        const lost = await lostOf(auditLog, backup.manifest.created_at, "restored");
        writeResult(io, flags.output, lost, () => lostText(lost).join("\n"));
        return;
      }
      const { restoreBackup } = await import("../server/backup/restore-backup.ts");
      const { manifest, setAside, daysSince } = await restoreBackup({ ...options, clock: io.clock });
      const { trust_domain: trustDomain, created_at: createdAt } = manifest;
      const lost = await lostOf(auditLog, createdAt, "now");
      const result = { trust_domain: trustDomain, created_at: createdAt, set_aside: setAside ?? "", ...lost };
      writeResult(io, flags.output, result, () =>
        [
          `restored the store of ${trustDomain} as it was at ${createdAt}`,
          ...(setAside === undefined ? [] : [`the store of before is in ${setAside}`]),
          ...(daysSince < MANY_DAYS
            ? []
            : [
                `This machine's clock says ${new Date(io.clock.now()).toISOString()}, ${daysSince} days after the last that is known of the store: if it is ahead, set it right and restore again before the server starts.`,
              ]),
          ...(flags.keepAuthorities ? [] : ["The server replaces its authorities when it starts."]),
          ...(flags.keepAgents ? [] : ["Every agent has to attest again; unused join tokens are void."]),
          ...lostText(lost),
        ].join("\n"),
      );
    });
}

/** What a restore undoes, for people and for programs. */
interface LostResult {
  readonly lost: readonly StoredAuditRecord[];
  readonly audit_log: string;
  /** Why the list may not be all; empty where it is. */
  readonly lost_incomplete: string;
}

// The store is restored by then: a log that cannot be read must not look like a restore that failed.
async function lostOf(auditLog: string, createdAt: string, until: "restored" | "now"): Promise<LostResult> {
  const { lostSince } = await import("../server/backup/lost-since.ts");
  try {
    const { records, isWhole } = await lostSince(auditLog, createdAt, until);
    const why = isWhole ? "" : "it does not go back to the backup";
    return { lost: records, audit_log: auditLog, lost_incomplete: why };
  } catch (error) {
    return { lost: [], audit_log: auditLog, lost_incomplete: `it cannot be read: ${reasonOf(error)}` };
  }
}

function lostText({ lost, audit_log: path, lost_incomplete: why }: LostResult): readonly string[] {
  return [
    `Lost: whatever was changed since. ${path} names ${lost.length} bans, deletions, revocations and changes; do again those that are to stand.`,
    ...(why === "" ? [] : [`There may be more: ${why}.`]),
    ...lost.map((record) => {
      const what = SUBJECTS.flatMap((field) => record[field] ?? []);
      return `  ${record.time} ${record.event} ${what.join(" ")}`.trimEnd();
    }),
  ];
}

/** After so many it is as likely that the clock is wrong. */
const MANY_DAYS = 30;
const SUBJECTS = [
  "entry_id",
  "spiffe_id",
  "agent_id",
  "task_id",
  "authority_id",
  "trust_domain",
  "serial",
  "jti",
] as const satisfies readonly (keyof StoredAuditRecord)[];

interface Flags extends Pick<AdminOptions, "output"> {
  readonly from: string;
  readonly dataDir: string;
  readonly replace: boolean;
  readonly trustDomain?: string;
  readonly keepAuthorities: boolean;
  readonly keepAgents: boolean;
  readonly auditLog?: string;
  readonly listLost: boolean;
}
