import { resolve } from "node:path";
import type { Command } from "commander";
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
    .action(async (flags: Flags) => {
      const { restoreBackup } = await import("../server/backup/restore-backup.ts");
      const { manifest, setAside } = await restoreBackup({ ...flags, clock: io.clock });
      const { trust_domain: trustDomain, created_at: createdAt } = manifest;
      writeResult(
        io,
        flags.output,
        { trust_domain: trustDomain, created_at: createdAt, set_aside: setAside ?? "" },
        () =>
          [
            `restored the store of ${trustDomain} as it was at ${createdAt}`,
            ...(setAside === undefined ? [] : [`the store of before is in ${setAside}`]),
            "Lost: whatever was changed since. Do again what the audit log says: bans, revocations, entries deleted.",
            ...(flags.keepAuthorities ? [] : ["The server replaces its authorities when it starts."]),
            ...(flags.keepAgents ? [] : ["Every agent has to attest again; unused join tokens are void."]),
          ].join("\n"),
      );
    });
}

interface Flags extends Pick<AdminOptions, "output"> {
  readonly from: string;
  readonly dataDir: string;
  readonly replace: boolean;
  readonly trustDomain?: string;
  readonly keepAuthorities: boolean;
  readonly keepAgents: boolean;
}
