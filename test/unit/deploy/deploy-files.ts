import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";

/** The folder of what is deployed. */
export const DEPLOY = join(import.meta.dirname, "..", "..", "..", "deploy");

/** The text of a file below it. */
export function deployText(...names: readonly string[]): string {
  return readFileSync(join(DEPLOY, ...names), "utf8");
}

/** The documents of a YAML file below it. An alias, an unknown tag or a key given twice is an error. */
export function deployYaml(...names: readonly string[]): unknown[] {
  return parseAllDocuments(deployText(...names), { uniqueKeys: true }).map((document) => {
    const [fault] = [...document.errors, ...document.warnings];
    if (fault !== undefined) throw fault;
    return document.toJS({ maxAliasCount: 0 }) as unknown;
  });
}

/** Names of the files with a job for one platform each. */
export const SNIPPETS: readonly string[] = readdirSync(join(DEPLOY, "ci")).toSorted();

/** A mapping's keys; for anything else an error that names it. */
export function keysOf(value: unknown, what: string): readonly string[] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new TypeError(`${what} is no mapping`);
  }
  return Object.keys(value);
}

/** What is found in nested mappings and lists by this way. */
export function at(value: unknown, ...way: readonly (string | number)[]): unknown {
  return way.reduce<unknown>((inner, step) => (inner as Record<string | number, unknown>)[step], value);
}
