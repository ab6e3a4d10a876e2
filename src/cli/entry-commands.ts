import type { Command } from "commander";
import { AssayError } from "../errors/assay-error.ts";
import { Entry as EntryService } from "../proto/gen/spire/api/server/entry/v1/entry_pb.ts";
import type { Entry } from "../proto/gen/spire/api/types/entry_pb.ts";
import { FederatesWithMatch_MatchBehavior } from "../proto/gen/spire/api/types/federateswith_pb.ts";
import { SelectorMatch_MatchBehavior } from "../proto/gen/spire/api/types/selector_pb.ts";
import { withAdminClient } from "./admin-client.ts";
import { applyEntries } from "./entry-apply.ts";
import { type EntryFlags, entryFromFlags, maskOfFlags, withEntryFlags } from "./entry-flags.ts";
import { entryText } from "./entry-text.ts";
import { type CliIo, writeResult } from "./io.ts";
import { adminOptions, type AdminOptions, collect, matchBehavior } from "./options.ts";
import { itemFault, wireId, wireSelectors } from "./wire-text.ts";

/** Adds `assay entry …`: registration entries, on the server's admin socket. */
export function addEntryCommands(program: Command, io: CliIo): void {
  const entry = program
    .command("entry")
    .description("registration entries: which selectors earn which SPIFFE ID");

  withEntryFlags(adminOptions(entry.command("create").description("create an entry")))
    .option("--id <id>", "id of the entry (default: chosen by the server)")
    .action((flags: AdminOptions & EntryFlags & { id?: string }) =>
      withAdminClient(flags.adminSocket, async (client) => {
        const wanted = { ...entryFromFlags(flags), ...(flags.id === undefined ? {} : { id: flags.id }) };
        const { results } = await client.service(EntryService).batchCreateEntry({ entries: [wanted] });
        writeOne(io, flags, results[0], "create");
      }),
    );

  withEntryFlags(
    adminOptions(entry.command("update").description("change an entry; flags left out stay as they are")),
  )
    .requiredOption("--id <id>", "id of the entry")
    .action((flags: AdminOptions & EntryFlags & { id: string }) =>
      withAdminClient(flags.adminSocket, async (client) => {
        const inputMask = maskOfFlags(flags);
        if (Object.keys(inputMask).length === 0) throw new AssayError("USAGE", "nothing to change was given");
        const { results } = await client
          .service(EntryService)
          .batchUpdateEntry({ entries: [{ ...entryFromFlags(flags), id: flags.id }], inputMask });
        writeOne(io, flags, results[0], "update");
      }),
    );

  adminOptions(entry.command("delete").description("delete entries"))
    .requiredOption("--id <id>", "id of an entry; may be given again", collect, [])
    .action((flags: AdminOptions & { id: readonly string[] }) =>
      withAdminClient(flags.adminSocket, async (client) => {
        const { results } = await client.service(EntryService).batchDeleteEntry({ ids: [...flags.id] });
        const faults = results.flatMap(({ status, id }) => {
          const fault = itemFault(status);
          return fault === undefined ? [] : [`${id}: ${fault}`];
        });
        const deleted = results.filter(({ status }) => itemFault(status) === undefined).map(({ id }) => id);
        writeResult(io, flags.output, { deleted, faults }, () =>
          deleted.map((id) => `deleted ${id}`).join("\n"),
        );
        if (faults.length > 0) throw new AssayError("NOT_FOUND", faults.join("; "));
      }),
    );

  adminOptions(entry.command("show").description("show one entry"))
    .requiredOption("--id <id>", "id of the entry")
    .action((flags: AdminOptions & { id: string }) =>
      withAdminClient(flags.adminSocket, async (client) => {
        const found = await client.service(EntryService).getEntry({ id: flags.id });
        writeResult(io, flags.output, found, () => entryText(found));
      }),
    );

  withFilters(adminOptions(entry.command("list").description("list entries, oldest first"))).action(
    (flags: AdminOptions & FilterFlags) =>
      withAdminClient(flags.adminSocket, async (client) => {
        const entries: Entry[] = [];
        let pageToken = "";
        do {
          const page = await client
            .service(EntryService)
            .listEntries({ filter: filterOf(flags), pageSize: PAGE_SIZE, pageToken });
          entries.push(...page.entries);
          pageToken = page.nextPageToken;
        } while (pageToken !== "");
        writeResult(io, flags.output, entries, () =>
          entries.length === 0 ? "no entries" : entries.map(entryText).join("\n\n"),
        );
      }),
  );

  withFilters(adminOptions(entry.command("count").description("count entries"))).action(
    (flags: AdminOptions & FilterFlags) =>
      withAdminClient(flags.adminSocket, async (client) => {
        const { count } = await client.service(EntryService).countEntries({ filter: filterOf(flags) });
        writeResult(io, flags.output, { count }, () => String(count));
      }),
  );

  adminOptions(
    entry
      .command("apply")
      .description(
        "create or change entries so that those of a YAML or JSON file are there; - reads standard input",
      )
      .argument("<file>"),
  )
    .option("--dry-run", "say what would change and change nothing", false)
    .action((file: string, flags: AdminOptions & { dryRun: boolean }) =>
      withAdminClient(flags.adminSocket, (client) => applyEntries(client, io, file, flags)),
    );
}

interface FilterFlags {
  readonly spiffeId?: string;
  readonly parentId?: string;
  readonly selector: readonly string[];
  readonly matchSelectors: string;
  readonly federatesWith: readonly string[];
  readonly hint?: string;
  readonly downstream?: boolean;
}

function withFilters(command: Command): Command {
  return command
    .option("--spiffe-id <id>", "only entries of this SPIFFE ID")
    .option("--parent-id <id>", "only entries below this parent")
    .option("--selector <type:value>", "only entries with these selectors; may be given again", collect, [])
    .option("--match-selectors <how>", "exact, subset, superset or any", "superset")
    .option(
      "--federates-with <trust-domain>",
      "only entries that federate with it; may be given again",
      collect,
      [],
    )
    .option("--hint <hint>", "only entries with this hint")
    .option("--downstream", "only downstream entries");
}

function filterOf(flags: FilterFlags) {
  return {
    ...(flags.spiffeId === undefined ? {} : { bySpiffeId: wireId(flags.spiffeId) }),
    ...(flags.parentId === undefined ? {} : { byParentId: wireId(flags.parentId) }),
    ...(flags.selector.length === 0
      ? {}
      : {
          bySelectors: {
            selectors: wireSelectors(flags.selector),
            match: matchBehavior(SelectorMatch_MatchBehavior, flags.matchSelectors),
          },
        }),
    ...(flags.federatesWith.length === 0
      ? {}
      : {
          byFederatesWith: {
            trustDomains: [...flags.federatesWith],
            match: FederatesWithMatch_MatchBehavior.MATCH_SUPERSET,
          },
        }),
    ...(flags.hint === undefined ? {} : { byHint: flags.hint }),
    ...(flags.downstream === undefined ? {} : { byDownstream: flags.downstream }),
  };
}

function writeOne(
  io: CliIo,
  flags: AdminOptions,
  result:
    | { readonly status?: { code: number; message: string } | undefined; readonly entry?: Entry | undefined }
    | undefined,
  verb: string,
): void {
  const fault = itemFault(result?.status);
  if (fault !== undefined || result?.entry === undefined) {
    const existing = result?.entry === undefined ? "" : ` (id ${result.entry.id})`;
    throw new AssayError(
      "INVALID_ENTRY",
      `cannot ${verb} the entry: ${fault ?? "the answer holds none"}${existing}`,
    );
  }
  const { entry } = result;
  writeResult(io, flags.output, entry, () => entryText(entry));
}

const PAGE_SIZE = 500;
