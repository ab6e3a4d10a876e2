import { readFileSync, statSync } from "node:fs";
import { parseDocument } from "yaml";
import { AssayError } from "../errors/assay-error.ts";

/**
 * Reads a YAML 1.2 (or JSON) file that holds one table. Keys given twice, unknown tags, several documents, aliases
 * beyond 100 and files beyond 1 MiB are refused.
 * @throws AssayError `CONFIG_INVALID` with one line that names the file, and the line where there is one.
 */
export function readYamlTable(file: string): Record<string, unknown> {
  const document = parsed(file, textOf(file));
  if (document === null || document === undefined) return {};
  if (typeof document !== "object" || Array.isArray(document)) {
    throw refused(file, "expected a table of settings (write lines such as trust_domain: example.org)");
  }
  return document as Record<string, unknown>;
}

function textOf(file: string): string {
  try {
    const { size } = statSync(file);
    if (size > MAX_BYTES) throw refused(file, "the file is larger than 1 MiB (is it the right one?)");
    return new TextDecoder("utf-8", { fatal: true }).decode(readFileSync(file));
  } catch (cause) {
    if (cause instanceof AssayError) throw cause;
    throw refused(
      file,
      `cannot be read: ${reasonOf(cause)} (name a YAML file that this user can read)`,
      cause,
    );
  }
}

function parsed(file: string, text: string): unknown {
  try {
    const document = parseDocument(text, {
      version: "1.2",
      schema: "core",
      uniqueKeys: true,
      prettyErrors: true,
    });
    const fault = document.errors[0] ?? document.warnings[0];
    if (fault !== undefined) {
      // The library draws the place below its sentence; the first line names it well enough.
      const sentence = (fault.message.split("\n", 1)[0] ?? "").replace(/:$/, "");
      throw refused(file, `is not valid YAML: ${sentence}`);
    }
    return document.toJS({ maxAliasCount: MAX_ALIASES }) as unknown;
  } catch (cause) {
    if (cause instanceof AssayError) throw cause;
    throw refused(file, `is not valid YAML: ${reasonOf(cause)}`, cause);
  }
}

function refused(file: string, what: string, cause?: unknown): AssayError {
  const detail = `${file}: ${what}`;
  return new AssayError("CONFIG_INVALID", detail, { cause, violations: [{ pointer: "", detail }] });
}

function reasonOf(cause: unknown): string {
  return (cause instanceof Error ? cause.message : String(cause)).replaceAll(/\s+/g, " ");
}

const MAX_BYTES = 1024 * 1024;
const MAX_ALIASES = 100;
