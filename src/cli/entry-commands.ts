import type { Command } from "commander";
import { AssayError } from "../errors/assay-error.ts";
import { Entry as EntryService } from "../proto/gen/spire/api/server/entry/v1/entry_pb.ts";
import type { Entry } from "../proto/gen/spire/api/types/entry_pb.ts";
import { FederatesWithMatch_MatchBehavior } from "../proto/gen/spire/api/types/federateswith_pb.ts";
import { SelectorMatch_MatchBehavior } from "../proto/gen/spire/api/types/selector_pb.ts";
import { withAdminClient } from "./admin-client.ts";
import { applyEntries, withAttributesOf } from "./entry-apply.ts";
import { readEntryFile } from "./entry-file.ts";
import { type EntryFlags, entryFromFlags, maskOfFlags, withEntryFlags } from "./entry-flags.ts";
import { entryText } from "./entry-text.ts";
import { entryView } from "./entry-view.ts";
import { type CliIo, writeResult } from "./io.ts";
import { adminOptions, type AdminOptions, collect, oneOf } from "./options.ts";
import { table } from "./table.ts";
import { itemFault, typedTrustDomain, wireId, wireSelectors } from "./wire-text.ts";

/** Adds `assay entry …`: registration entries, on the server's admin socket. */
export function addEntryCommands(program: Command, io: CliIo): void {
  const entry = program
    .command("entry")
    .description("registration entries: which selectors earn which SPIFFE ID");

  withEntryFlags(adminOptions(entry.command("create").description("create an entry")))
    .option("--id <id>", "id of the entry (default: chosen by the server)")
    .action((flags: AdminOptions & EntryFlags & { id?: string }) =>
      withAdminClient(io, flags.adminSocket, async (client) => {
        requireAll(flags);
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
      withAdminClient(io, flags.adminSocket, async (client) => {
        const inputMask = maskOfFlags(flags);
        const message = { ...entryFromFlags(flags), id: flags.id };
        if (Object.keys(inputMask).length === 0)
          throw new AssayError("USAGE", "nothing to change was given, expected a flag such as --hint");
        const service = client.service(EntryService);
        const entry =
          inputMask.additionalAttributes === true || inputMask.assay === true
            ? withAttributesOf(await service.getEntry({ id: flags.id }), { message, flags })
            : message;
        const { results } = await service.batchUpdateEntry({ entries: [entry], inputMask });
        writeOne(io, flags, results[0], "update");
      }),
    );

  adminOptions(entry.command("delete").description("delete entries"))
    .requiredOption("--id <id>", "id of an entry; may be given again", collect)
    .action((flags: AdminOptions & { id: readonly string[] }) =>
      withAdminClient(io, flags.adminSocket, async (client) => {
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
      withAdminClient(io, flags.adminSocket, async (client) => {
        const found = await client.service(EntryService).getEntry({ id: flags.id });
        writeResult(io, flags.output, entryView(found), () => entryText(found));
      }),
    );

  withFilters(adminOptions(entry.command("list").description("list entries, oldest first")))
    .option("--long", "everything about each entry, not a table", false)
    .action((flags: AdminOptions & FilterFlags & { long: boolean }) =>
      withAdminClient(io, flags.adminSocket, async (client) => {
        const entries: Entry[] = [];
        let pageToken = "";
        do {
          const page = await client
            .service(EntryService)
            .listEntries({ filter: filterOf(flags), pageSize: PAGE_SIZE, pageToken });
          entries.push(...page.entries);
          pageToken = page.nextPageToken;
        } while (pageToken !== "");
        writeResult(io, flags.output, entries.map(entryView), () => {
          if (entries.length === 0) return "no entries";
          return flags.long ? entries.map(entryText).join("\n\n") : entryTable(entries);
        });
      }),
    );

  withFilters(adminOptions(entry.command("count").description("count entries"))).action(
    (flags: AdminOptions & FilterFlags) =>
      withAdminClient(io, flags.adminSocket, async (client) => {
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
      withAdminClient(io, flags.adminSocket, async (client) => {
        const applied = await applyEntries(client, await readEntryFile(io, file), flags.dryRun);
        writeResult(io, flags.output, applied, () =>
          table(
            [flags.dryRun ? "WOULD BE" : "OUTCOME", "SPIFFE ID", "ENTRY ID"],
            applied.map(({ outcome, spiffe_id, id }) => [outcome, spiffe_id, id]),
          ),
        );
      }),
    );
}

interface FilterFlags {
  readonly spiffeId?: string;
  readonly parentId?: string;
  readonly selector?: readonly string[];
  readonly matchSelectors: keyof typeof MATCHES;
  readonly federatesWith?: readonly string[];
  readonly hint?: string;
  readonly downstream?: boolean;
}

function withFilters(command: Command): Command {
  return command
    .option("--spiffe-id <id>", "only entries of this SPIFFE ID")
    .option("--parent-id <id>", "only entries below this parent")
    .option("--selector <type:value>", "only entries with these selectors; may be given again", collect)
    .option(
      "--match-selectors <how>",
      "exact, subset, superset or any",
      oneOf("--match-selectors", ["exact", "subset", "superset", "any"]),
      "superset",
    )
    .option(
      "--federates-with <trust-domain>",
      "only entries that federate with it; may be given again",
      collect,
    )
    .option("--hint <hint>", "only entries with this hint")
    .option("--downstream", "only downstream entries");
}

function filterOf(flags: FilterFlags) {
  const { spiffeId, parentId, selector, federatesWith } = flags;
  return {
    ...(spiffeId === undefined ? {} : { bySpiffeId: wireId(spiffeId, "--spiffe-id") }),
    ...(parentId === undefined ? {} : { byParentId: wireId(parentId, "--parent-id") }),
    ...(selector === undefined
      ? {}
      : {
          bySelectors: {
            selectors: wireSelectors(selector, "--selector"),
            match: MATCHES[flags.matchSelectors],
          },
        }),
    ...(federatesWith === undefined
      ? {}
      : {
          byFederatesWith: {
            trustDomains: federatesWith.map((text) => typedTrustDomain(text, "--federates-with")),
            match: FederatesWithMatch_MatchBehavior.MATCH_SUPERSET,
          },
        }),
    ...(flags.hint === undefined ? {} : { byHint: flags.hint }),
    ...(flags.downstream === undefined ? {} : { byDownstream: flags.downstream }),
  };
}

function requireAll({ spiffeId, idTemplate = "", parentId, node, selector }: EntryFlags): void {
  const missing = [
    ...(spiffeId === undefined && idTemplate === "" ? ["--spiffe-id"] : []),
    ...(parentId === undefined && node !== true ? ["--parent-id (or --node)"] : []),
    ...(selector === undefined ? ["--selector"] : []),
  ];
  if (missing.length > 0) throw new AssayError("USAGE", `an entry needs ${missing.join(" and ")}`);
}

function entryTable(entries: readonly Entry[]): string {
  return table(
    ["ENTRY ID", "SPIFFE ID", "PARENT ID", "SELECTORS"],
    entries.map(entryView).map((view) => [view.id, view.spiffe_id, view.parent_id, view.selectors.join(" ")]),
  );
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
  writeResult(io, flags.output, entryView(entry), () => entryText(entry));
}

const MATCHES = {
  exact: SelectorMatch_MatchBehavior.MATCH_EXACT,
  subset: SelectorMatch_MatchBehavior.MATCH_SUBSET,
  superset: SelectorMatch_MatchBehavior.MATCH_SUPERSET,
  any: SelectorMatch_MatchBehavior.MATCH_ANY,
} as const;
const PAGE_SIZE = 500;
