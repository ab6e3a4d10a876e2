import { closeSync, openSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import type { z } from "zod";
import { isAddress } from "./kinds.ts";
import { type ConfigOrigin, type ConfigProblem, configError, schemaProblems } from "./problems.ts";
import { isFilledTable, type JsonSchema, jsonSchemaOf, type Setting, settingsOf } from "./settings.ts";
import { readYamlTable } from "./yaml-file.ts";

/** Where a configuration comes from. */
export interface ConfigSource {
  /** The file named by `--config`. */
  readonly file?: string;
  /** Values of the flags given, by their name without dashes, lists for repeatable ones. They win over the file. */
  readonly flags?: Readonly<Record<string, string | readonly string[] | undefined>>;
}

/** A configuration that may be used, and what an operator should know about it. */
export interface LoadedConfig<Config> {
  readonly config: Config;
  /** Nothing wrong, but not what it seems; one line each. */
  readonly warnings: readonly string[];
  /** Everything in the file's own keys, with defaults filled in: what `printConfig` prints. */
  readonly document: Readonly<Record<string, unknown>>;
}

/** The rules that a schema cannot say: how keys of one configuration fit together. */
export interface CrossChecks<Parsed> {
  problems(parsed: Parsed): readonly ConfigProblem[];
  warnings(parsed: Parsed): readonly string[];
}

/**
 * Loads a configuration: file, then flags, then defaults, then the checks. Relative paths are meant from the file's
 * folder in a file and from the current folder in a flag. Values stay under the file's keys.
 * @throws AssayError `CONFIG_INVALID` with a violation, one line of text, for each thing that is wrong.
 */
export function loadDocument<Schema extends z.ZodType>(
  schema: Schema,
  source: ConfigSource,
  checks: CrossChecks<z.output<Schema>>,
): LoadedConfig<z.output<Schema>> {
  const json = jsonSchemaOf(schema);
  const settings = settingsOf(json);
  const document = source.file === undefined ? {} : structuredClone(readYamlTable(source.file));
  resolvePaths(document, settings, dirname(resolve(source.file ?? ".")));
  const flags = applyFlags(document, settings, source.flags ?? {});
  fillDefaults(document, json);
  fillDerived(document, settings);
  const origin: ConfigOrigin = { file: source.file, flags, settings };
  const result = schema.safeParse(document);
  if (!result.success) throw configError(schemaProblems(result.error.issues, document, settings), origin);
  const problems = [...checks.problems(result.data), ...fileProblems(document, settings)];
  if (problems.length > 0) throw configError(problems, origin);
  return { config: result.data, warnings: checks.warnings(result.data), document: ordered(document, json) };
}

function applyFlags(
  document: Table,
  settings: readonly Setting[],
  given: NonNullable<ConfigSource["flags"]>,
) {
  const applied = new Map<string, string>();
  for (const { flag, key, path, type, kind } of settings) {
    const value = flag === undefined ? undefined : given[flag];
    if (flag === undefined || value === undefined) continue;
    applied.set(key, flag);
    if (typeof value !== "string") set(document, path, [...value]);
    else set(document, path, isPath(kind) ? resolved(value, process.cwd(), kind) : typed(value, type));
  }
  return applied;
}

// A flag is text; a number or a switch that it does not spell stays text, and the schema says what it expected.
function typed(text: string, type: string): unknown {
  if (type === "whole number" && /^\d{1,15}$/.test(text)) return Number(text);
  if (type.startsWith("`true`") && (text === "true" || text === "false")) return text === "true";
  return text;
}

function resolvePaths(document: Table, settings: readonly Setting[], folder: string): void {
  for (const { kind, path } of settings) {
    const value = isPath(kind) ? get(document, path) : undefined;
    if (typeof value === "string") set(document, path, resolved(value, folder, kind));
  }
}

function resolved(path: string, folder: string, kind: Setting["kind"]): string {
  // What cannot be a path is left for the schema to refuse by its own words.
  return path === "" || (kind === "socket" && isAddress(path)) ? path : resolve(folder, path);
}

function fillDefaults(document: Table, schema: JsonSchema): void {
  for (const [name, value] of Object.entries(schema.properties ?? {})) {
    if (document[name] === undefined && isFilledTable(schema, name, value)) document[name] = {};
    if (document[name] === undefined && value.default !== undefined) {
      document[name] = structuredClone(value.default);
    }
    const inside = document[name];
    if (value.properties !== undefined && isTable(inside)) fillDefaults(inside, value);
  }
}

// In the order of the schema, so that what is printed reads like the documentation.
function ordered(document: Table, schema: JsonSchema): Table {
  const entries = Object.entries(schema.properties ?? {}).flatMap(([name, value]) => {
    const inside = document[name];
    if (inside === undefined) return [];
    return [[name, value.properties !== undefined && isTable(inside) ? ordered(inside, value) : inside]];
  });
  return Object.fromEntries(entries) as Table;
}

function fillDerived(document: Table, settings: readonly Setting[]): void {
  const folder = document["data_dir"];
  for (const { derived, path } of settings) {
    if (derived === undefined || typeof folder !== "string" || get(document, path) !== undefined) continue;
    set(document, path, join(folder, derived));
  }
}

function fileProblems(document: Table, settings: readonly Setting[]): readonly ConfigProblem[] {
  return settings.flatMap(({ kind, mayBeMissing, path }) => {
    const file = kind === "file" && !mayBeMissing ? get(document, path) : undefined;
    const fault = typeof file === "string" ? fileFault(file) : undefined;
    return fault === undefined ? [] : [{ path, text: fault }];
  });
}

function fileFault(file: string): string | undefined {
  try {
    if (!statSync(file).isFile())
      return `expected a file, ${file} is none (name a file that this user can read)`;
    // Opened, not asked about: access(2) answers for the real user, and reading is done by the effective one.
    closeSync(openSync(file, "r"));
    return undefined;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "unknown error";
    return `expected a readable file, got ${file}: ${code} (name a file that this user can read)`;
  }
}

function get(document: Table, path: readonly string[]): unknown {
  return path.reduce<unknown>((value, name) => (isTable(value) ? value[name] : undefined), document);
}

function set(document: Table, path: readonly string[], value: unknown): void {
  const [name = "", ...rest] = path;
  if (rest.length === 0) {
    document[name] = value;
    return;
  }
  const inside = document[name] ?? {};
  document[name] = inside;
  // Where the file has something else than a table, the schema will say so.
  if (isTable(inside)) set(inside, rest, value);
}

function isPath(kind: Setting["kind"]): boolean {
  return kind === "file" || kind === "folder" || kind === "socket";
}

function isTable(value: unknown): value is Table {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

type Table = Record<string, unknown>;
