import { readFile } from "node:fs/promises";
import { parse } from "yaml";
import { z } from "zod";
import { AssayError } from "../errors/assay-error.ts";
import type { EntryFieldNames, EntryFlags } from "./entry-flags.ts";
import type { CliIo } from "./io.ts";

/** One entry of an entry file: the keys that it names, and the same as flags. */
export interface EntryOfFile {
  readonly id: string | undefined;
  readonly flags: EntryFlags;
  /** Keys that the file gives, spelled as in the file, without what only the server sets. */
  readonly keys: readonly string[];
}

/** How messages call the fields of an entry file. */
export const FILE_NAMES: EntryFieldNames = {
  spiffeId: "spiffe_id",
  parentId: "parent_id",
  selector: "selectors",
  x509SvidTtl: "x509_svid_ttl",
  jwtSvidTtl: "jwt_svid_ttl",
  federatesWith: "federates_with",
  expiresAt: "expires_at",
  maxTaskDuration: "max_task_duration",
  svidKeyType: "svid_key_type",
};

/**
 * Reads a YAML or JSON file of entries, `-` for standard input: a table with the key `entries`, or the list alone as
 * `assay entry list --output json` prints it.
 * @throws AssayError `USAGE` naming the file and the key.
 */
export async function readEntryFile(io: CliIo, file: string): Promise<readonly EntryOfFile[]> {
  const text = file === "-" ? await io.stdin() : await readText(file);
  let document: unknown;
  try {
    document = parse(text, { maxAliasCount: 0, uniqueKeys: true });
  } catch (error) {
    const first = error instanceof Error ? error.message.split("\n", 1)[0] : "it cannot be read";
    throw new AssayError("USAGE", `${file}: not valid YAML: ${first ?? ""}`, { cause: error });
  }
  const result = fileSchema.safeParse(Array.isArray(document) ? { entries: document } : document);
  if (result.success) return result.data.entries.map(entryOfFile);
  const [issue] = result.error.issues;
  const at = (issue?.path ?? []).map((part) => (typeof part === "number" ? `[${part}]` : `.${String(part)}`));
  throw new AssayError(
    "USAGE",
    `${file}: ${at.join("").replace(/^\./, "")}: ${lowered(issue?.message ?? "")}`,
  );
}

function entryOfFile(entry: z.infer<typeof entrySchema>): EntryOfFile {
  const { id, spiffe_id: spiffeId, parent_id: parentId, selectors } = entry;
  return {
    id,
    keys: Object.keys(entry).filter((key) => !SET_BY_SERVER.has(key)),
    flags: {
      ...(spiffeId !== undefined && { spiffeId }),
      parentId,
      selector: selectors,
      ...(entry.x509_svid_ttl !== undefined && { x509SvidTtl: lifetimeText(entry.x509_svid_ttl) }),
      ...(entry.jwt_svid_ttl !== undefined && { jwtSvidTtl: lifetimeText(entry.jwt_svid_ttl) }),
      ...(entry.federates_with !== undefined && { federatesWith: entry.federates_with }),
      ...(entry.dns_names !== undefined && { dnsName: entry.dns_names }),
      ...(entry.hint !== undefined && { hint: entry.hint }),
      ...(entry.expires_at !== undefined && { expiresAt: entry.expires_at ?? "never" }),
      ...(entry.admin !== undefined && { admin: entry.admin }),
      ...(entry.downstream !== undefined && { downstream: entry.downstream }),
      ...(entry.store_svid !== undefined && { storeSvid: entry.store_svid }),
      ...(entry.jwt_svid_include_jti !== undefined && { includeJti: entry.jwt_svid_include_jti }),
      ...(entry.disable_x509_svid_prefetch !== undefined && {
        x509Prefetch: !entry.disable_x509_svid_prefetch,
      }),
      ...(entry.id_template !== undefined && { idTemplate: entry.id_template }),
      ...(entry.max_task_duration !== undefined && {
        maxTaskDuration: lifetimeText(entry.max_task_duration),
      }),
      ...(entry.exchange_audiences !== undefined && { exchangeAudience: entry.exchange_audiences }),
      ...(entry.svid_key_type !== undefined && { svidKeyType: entry.svid_key_type }),
    },
  };
}

function lifetimeText(value: number | string): string {
  return typeof value === "number" ? `${value}s` : value;
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "unknown error";
    throw new AssayError(
      "USAGE",
      `${file}: cannot be read (${code}), expected a YAML or JSON file of entries`,
      {
        cause: error,
      },
    );
  }
}

function lowered(message: string): string {
  return message.charAt(0).toLowerCase() + message.slice(1);
}

const strings = z.array(z.string());
// Seconds, as the server says them, or text with a unit, as people do.
const lifetime = z.union([z.int().min(0), z.string()], {
  error: "expected seconds, or a duration such as 1h",
});
const entryFields = z.strictObject({
  id: z.string().optional(),
  spiffe_id: z.string().optional(),
  parent_id: z.string(),
  selectors: strings.min(1),
  x509_svid_ttl: lifetime.optional(),
  jwt_svid_ttl: lifetime.optional(),
  federates_with: strings.optional(),
  dns_names: strings.optional(),
  hint: z.string().optional(),
  expires_at: z.string().nullable().optional(),
  admin: z.boolean().optional(),
  downstream: z.boolean().optional(),
  store_svid: z.boolean().optional(),
  jwt_svid_include_jti: z.boolean().optional(),
  disable_x509_svid_prefetch: z.boolean().optional(),
  id_template: z.string().optional(),
  max_task_duration: lifetime.optional(),
  exchange_audiences: strings.optional(),
  svid_key_type: z.string().optional(),
  revision: z.int().optional(),
  created_at: z.string().optional(),
});
const entrySchema = entryFields.refine(
  ({ spiffe_id: id, id_template: template = "" }) => id !== undefined || template !== "",
  { path: ["spiffe_id"], error: "expected a SPIFFE ID, or id_template" },
);
const fileSchema = z.strictObject({ entries: z.array(entrySchema).max(10_000) });
const SET_BY_SERVER: ReadonlySet<string> = new Set(["revision", "created_at"]);
