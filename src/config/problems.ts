import type { z } from "zod";
import { AssayError, type Violation } from "../errors/assay-error.ts";
import { looksSecret } from "../observe/redact.ts";
import { KINDS } from "./kinds.ts";
import type { Setting } from "./settings.ts";

/** Something wrong with one key, in words that follow `<where>: <key>: `. */
export interface ConfigProblem {
  readonly path: readonly PropertyKey[];
  readonly text: string;
}

/** What there is to know about where values came from. */
export interface ConfigOrigin {
  /** The configuration file as the user named it, if there is one. */
  readonly file: string | undefined;
  /** Flags given, without dashes, by dotted key. */
  readonly flags: ReadonlyMap<string, string>;
  readonly settings: readonly Setting[];
}

/** The error of a configuration: one violation, and one line of text, for each problem. */
export function configError(problems: readonly ConfigProblem[], origin: ConfigOrigin): AssayError {
  const violations = problems.map(({ path, text }): Violation => {
    const key = keyOf(path);
    // An item of a list that a flag gave has the list's flag.
    const flag = origin.flags.get(key) ?? origin.flags.get(key.replace(/\.\d+$/, ""));
    const where =
      flag === undefined
        ? [origin.file ?? "configuration", key].filter((part) => part !== "")
        : [`--${flag}`];
    return {
      pointer: path.map((part) => `/${String(part)}`).join(""),
      detail: `${where.join(": ")}: ${text}`,
    };
  });
  const more = violations.length > 1 ? ` (and ${violations.length - 1} more)` : "";
  return new AssayError("CONFIG_INVALID", `${violations[0]?.detail ?? ""}${more}`, { violations });
}

/** The lines to print for an error of the configuration, one for each problem. */
export function configProblemLines(error: AssayError): readonly string[] {
  return error.violations.length > 0 ? error.violations.map(({ detail }) => detail) : [error.detail];
}

/** What a schema found, in our words: the key, what was expected, what was there, and what to do. */
export function schemaProblems(
  issues: readonly z.core.$ZodIssue[],
  document: unknown,
  settings: readonly Setting[],
): readonly ConfigProblem[] {
  return issues.flatMap((issue) => problemsOf(issue, document, settings));
}

function problemsOf(
  issue: z.core.$ZodIssue,
  document: unknown,
  settings: readonly Setting[],
): readonly ConfigProblem[] {
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => ({
      path: [...issue.path, key],
      text: unknownKeyText(issue.path, key, settings),
    }));
  }
  const value = valueAt(document, issue.path);
  if (issue.code === "invalid_union" && typeof value === "object" && value !== null) {
    // The words of the union are out of the question for a table; what is wrong is in the table.
    const inside = issue.errors.find((branch) =>
      branch.some(({ path }) => path.length > 0 || isUnknownKey(branch)),
    );
    if (inside !== undefined) {
      return inside.flatMap((each) =>
        problemsOf({ ...each, path: [...issue.path, ...each.path] }, document, settings),
      );
    }
  }
  const setting = settings.find(({ key }) => key === keyOf(issue.path).replaceAll(/\.\d+/g, "[]"));
  if (value === undefined) return [{ path: issue.path, text: `is missing${missingRemedy(setting)}` }];
  const kind = setting?.kind === undefined ? undefined : KINDS[setting.kind];
  const expected =
    issue.code === "custom" ? issue.message : `expected ${kind?.expected ?? expectedBy(issue, setting)}`;
  const remedy = kind === undefined ? "" : ` (${kind.remedy})`;
  return [{ path: issue.path, text: `${expected}, got ${shown(value)}${remedy}` }];
}

function isUnknownKey(branch: readonly z.core.$ZodIssue[]): boolean {
  return branch.some(({ code }) => code === "unrecognized_keys");
}

function expectedBy(issue: z.core.$ZodIssue, setting: Setting | undefined): string {
  if (issue.code === "too_small" && issue.minimum === 1 && issue.origin === "array")
    return "at least one item";
  if (issue.code === "invalid_type" && issue.expected === "object") return "a table";
  if (setting === undefined) return issue.message.charAt(0).toLowerCase() + issue.message.slice(1);
  const bounds = setting.bounds === undefined ? "" : ` from ${setting.bounds}`;
  const choices = setting.type.replaceAll("`", "");
  return `${choices.includes(" or ") ? choices : choices.replace(/, (?=[^,]*$)/, " or ")}${bounds}`;
}

function unknownKeyText(under: readonly PropertyKey[], key: string, settings: readonly Setting[]): string {
  const prefix = keyOf(under).replaceAll(/\.\d+/g, "[]");
  const depth = prefix === "" ? 0 : prefix.split(".").length;
  const siblings = settings
    .filter((setting) => prefix === "" || setting.key.startsWith(`${prefix}.`))
    .map(({ path }) => (path[depth] ?? "").replace("[]", ""));
  const nearest = [...new Set(siblings)].find((name) => name !== "" && distance(name, key) <= 2);
  return `is not a known key${nearest === undefined ? " (remove it, or see assay config docs)" : ` (did you mean ${nearest}?)`}`;
}

function missingRemedy(setting: Setting | undefined): string {
  const kind = setting?.kind === undefined ? "" : `, expected ${KINDS[setting.kind].expected}`;
  return setting?.flag === undefined ? kind : `${kind} (set it in the file or by --${setting.flag})`;
}

function shown(value: unknown): string {
  if (typeof value === "object" && value !== null) return Array.isArray(value) ? "a list" : "a table";
  const text = typeof value === "string" ? value : JSON.stringify(value);
  if (text === "") return "an empty text";
  if (looksSecret(text)) return "[secret]";
  // One line whatever the value holds, and no control characters on a terminal.
  return JSON.stringify(text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text).slice(1, -1);
}

function keyOf(path: readonly PropertyKey[]): string {
  return path.map(String).join(".");
}

function valueAt(document: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (value, key) => (value as Record<PropertyKey, unknown> | undefined)?.[key],
    document,
  );
}

/** Edits that make one word of another (Levenshtein). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

const MAX_SHOWN = 80;
