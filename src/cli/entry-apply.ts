import { readFile } from "node:fs/promises";
import { parse } from "yaml";
import { z } from "zod";
import { AssayError } from "../errors/assay-error.ts";
import { Entry as EntryService } from "../proto/gen/spire/api/server/entry/v1/entry_pb.ts";
import type { Entry } from "../proto/gen/spire/api/types/entry_pb.ts";
import type { RpcClient, ServiceClient } from "../rpc/client.ts";
import { entryFromFlags, maskOfFlags } from "./entry-flags.ts";
import { type CliIo, type OutputForm, writeResult } from "./io.ts";
import { itemFault } from "./wire-text.ts";

/** What became of one entry of an applied file. */
export interface AppliedEntry {
  readonly spiffeId: string;
  /** Empty for an entry that a dry run would create. */
  readonly id: string;
  readonly outcome: "created" | "updated" | "unchanged";
}

/**
 * Makes the entries of a file be there: creates those that are missing, changes those that differ in anything the file
 * says, leaves the rest alone. An entry is recognised by its id or by SPIFFE ID, parent and selectors.
 * @throws AssayError `INVALID_ENTRY` naming the entry and its fault; entries before it have been applied.
 */
export async function applyEntries(
  client: RpcClient,
  io: CliIo,
  file: string,
  options: { readonly output: OutputForm; readonly dryRun: boolean },
): Promise<void> {
  const entries = readEntries(file, file === "-" ? await io.stdin() : await readText(file));
  const service = client.service(EntryService);
  const applied: AppliedEntry[] = [];
  for (const [index, entry] of entries.entries()) {
    try {
      applied.push(await applyOne(service, entry, options.dryRun));
    } catch (error) {
      const detail = error instanceof AssayError ? error.detail : String(error);
      throw new AssayError("INVALID_ENTRY", `${file}: entries[${index}] (${entry.spiffeId}): ${detail}`, {
        cause: error,
      });
    }
  }
  writeResult(io, options.output, applied, () =>
    applied
      .map(({ outcome, spiffeId, id }) => `${outcome.padEnd(9)}  ${spiffeId}  ${id}`.trimEnd())
      .join("\n"),
  );
}

type EntryClient = ServiceClient<typeof EntryService>;
type EntryOfFile = z.infer<typeof entrySchema>;

async function applyOne(service: EntryClient, entry: EntryOfFile, dryRun: boolean): Promise<AppliedEntry> {
  const { id, spiffeId } = entry;
  const wanted = { ...entryFromFlags(entry), ...(id === undefined ? {} : { id }) };
  const existing = await existingEntry(service, wanted);
  if (existing === undefined) {
    if (dryRun) return { spiffeId, id: id ?? "", outcome: "created" };
    const { results } = await service.batchCreateEntry({ entries: [wanted] });
    return { spiffeId, id: checked(results[0]).id, outcome: "created" };
  }
  const inputMask = maskOfFlags(entry);
  if (sameFields(existing, wanted, Object.keys(inputMask)))
    return { spiffeId, id: existing.id, outcome: "unchanged" };
  if (!dryRun) {
    const { results } = await service.batchUpdateEntry({
      entries: [{ ...wanted, id: existing.id }],
      inputMask,
    });
    checked(results[0]);
  }
  return { spiffeId, id: existing.id, outcome: "updated" };
}

async function existingEntry(service: EntryClient, wanted: ReturnType<typeof entryFromFlags>) {
  if (wanted.id !== undefined) {
    try {
      return await service.getEntry({ id: wanted.id });
    } catch (error) {
      if (error instanceof AssayError && error.code === "NOT_FOUND") return undefined;
      throw error;
    }
  }
  const { entries } = await service.listEntries({
    filter: {
      ...(wanted.spiffeId === undefined ? {} : { bySpiffeId: wanted.spiffeId }),
      ...(wanted.parentId === undefined ? {} : { byParentId: wanted.parentId }),
      bySelectors: { selectors: [...(wanted.selectors ?? [])], match: 0 },
    },
  });
  return entries[0];
}

interface ItemResult {
  readonly status?: { readonly code: number; readonly message: string } | undefined;
  readonly entry?: Entry | undefined;
}

function checked(result: ItemResult | undefined): Entry {
  const fault = itemFault(result?.status);
  if (fault !== undefined || result?.entry === undefined) throw new AssayError("INVALID_ENTRY", fault ?? "no answer");
  return result.entry;
}

function sameFields(existing: object, wanted: object, fields: readonly string[]): boolean {
  const pick = (entry: object) =>
    JSON.stringify(
      fields.map((field) => comparable((entry as Readonly<Record<string, unknown>>)[field])),
      (key, value: unknown) =>
        key.startsWith("$") ? undefined : typeof value === "bigint" ? value.toString() : value,
    );
  return pick(existing) === pick(wanted);
}

// Selectors and trust domains are sets: the server keeps them sorted, the file in any order.
function comparable(value: unknown): unknown {
  if (!Array.isArray(value)) return value ?? null;
  return value.map((item: unknown) => (isSelector(item) ? `${item.type}:${item.value}` : item)).toSorted();
}

function isSelector(value: unknown): value is { type: string; value: string } {
  return typeof value === "object" && value !== null && "type" in value && "value" in value;
}

function readEntries(file: string, text: string): readonly EntryOfFile[] {
  let document: unknown;
  try {
    document = parse(text, { maxAliasCount: 0, uniqueKeys: true });
  } catch (error) {
    throw new AssayError("USAGE", `${file}: ${error instanceof Error ? error.message : "not YAML"}`, {
      cause: error,
    });
  }
  const result = fileSchema.safeParse(document);
  if (result.success) return result.data.entries;
  throw new AssayError("USAGE", `${file}: ${z.prettifyError(result.error).replaceAll("\n", " ")}`);
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    throw new AssayError("USAGE", `${file}: cannot be read, expected a YAML or JSON file of entries`, {
      cause: error,
    });
  }
}

const strings = z.array(z.string());
const entrySchema = z
  .strictObject({
    id: z.string().optional(),
    spiffe_id: z.string(),
    parent_id: z.string(),
    selectors: strings.min(1),
    x509_svid_ttl: z.string().optional(),
    jwt_svid_ttl: z.string().optional(),
    federates_with: strings.optional(),
    dns_names: strings.optional(),
    hint: z.string().optional(),
    expires_at: z.string().optional(),
    admin: z.boolean().optional(),
    downstream: z.boolean().optional(),
    store_svid: z.boolean().optional(),
    include_jti: z.boolean().optional(),
    disable_x509_svid_prefetch: z.boolean().optional(),
  })
  .transform(({ id, spiffe_id, parent_id, selectors, ...rest }) => ({
    ...(id !== undefined && { id }),
    spiffeId: spiffe_id,
    parentId: parent_id,
    selector: selectors,
    ...(rest.x509_svid_ttl !== undefined && { x509SvidTtl: rest.x509_svid_ttl }),
    ...(rest.jwt_svid_ttl !== undefined && { jwtSvidTtl: rest.jwt_svid_ttl }),
    ...(rest.federates_with !== undefined && { federatesWith: rest.federates_with }),
    ...(rest.dns_names !== undefined && { dnsName: rest.dns_names }),
    ...(rest.hint !== undefined && { hint: rest.hint }),
    ...(rest.expires_at !== undefined && { expiresAt: rest.expires_at }),
    ...(rest.admin !== undefined && { admin: rest.admin }),
    ...(rest.downstream !== undefined && { downstream: rest.downstream }),
    ...(rest.store_svid !== undefined && { storeSvid: rest.store_svid }),
    ...(rest.include_jti !== undefined && { includeJti: rest.include_jti }),
    ...(rest.disable_x509_svid_prefetch !== undefined && { x509Prefetch: !rest.disable_x509_svid_prefetch }),
  }));
const fileSchema = z.strictObject({ entries: z.array(entrySchema).max(10_000) });
