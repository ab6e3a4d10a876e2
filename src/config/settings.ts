import { z } from "zod";
import type { Kind } from "./kinds.ts";

/** One key of a configuration file, as its schema describes it. */
export interface Setting {
  /** Dotted; `[]` stands for any item of a list. */
  readonly key: string;
  readonly path: readonly string[];
  /** The flag that overrides it, without dashes; `undefined` for tables, what is inside lists, and most lists. */
  readonly flag: string | undefined;
  /** Whether the flag stands for one item of a list and may be given again. */
  readonly repeatable: boolean;
  /** What a value looks like, for people. */
  readonly type: string;
  readonly kind: Kind | undefined;
  /** As in a file; `undefined` where there is none. */
  readonly default: unknown;
  /** Name of the file inside `data_dir` that is the default. */
  readonly derived: string | undefined;
  /** Whether a file need not be there when the configuration is loaded. */
  readonly mayBeMissing: boolean;
  readonly required: boolean;
  readonly bounds: string | undefined;
  readonly description: string;
}

/** A JSON Schema as far as ours go. */
export interface JsonSchema {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
  readonly enum?: readonly unknown[];
  readonly default?: unknown;
  readonly description?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly kind?: Kind;
  readonly bounds?: string;
  readonly derived?: string;
  readonly may_be_missing?: boolean;
  /** The flag of a list of texts. */
  readonly flag?: string;
}

/** The schema of a file, as data: what may be written in it, before anything is parsed. */
export function jsonSchemaOf(schema: z.ZodType): JsonSchema {
  return z.toJSONSchema(schema, { io: "input" }) as JsonSchema;
}

/** Every key of a schema, in its order; tables come as their keys, a list before the keys of its items. */
export function settingsOf(schema: JsonSchema): readonly Setting[] {
  return settingsUnder(schema, [], true);
}

function settingsUnder(schema: JsonSchema, under: readonly string[], flags: boolean): readonly Setting[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, value]) => {
    const path = [...under, name];
    const required = schema.required?.includes(name) ?? false;
    // A table that may be left out for good is a setting of its own: its keys count only where it is there.
    if (isFilledTable(schema, name, value)) return settingsUnder(value, path, flags);
    const inside = insideOf(value, path);
    return [settingOf(value, path, required, flags), ...inside];
  });
}

/** Whether a table is always there once defaults are filled in. */
export function isFilledTable(parent: JsonSchema, name: string, value: JsonSchema): boolean {
  const isThere = value.default !== undefined || (parent.required?.includes(name) ?? false);
  return value.properties !== undefined && isThere;
}

function insideOf(value: JsonSchema, path: readonly string[]): readonly Setting[] {
  if (value.properties !== undefined) return settingsUnder(value, path, false);
  if (value.items?.properties !== undefined) {
    const name = `${path.at(-1) ?? ""}[]`;
    return settingsUnder(value.items, [...path.slice(0, -1), name], false);
  }
  const table = value.anyOf?.find((choice) => choice.properties !== undefined);
  return table === undefined ? [] : settingsUnder(table, path, false);
}

function settingOf(value: JsonSchema, path: readonly string[], required: boolean, flags: boolean): Setting {
  const isScalar = value.properties === undefined && value.items === undefined && value.type !== undefined;
  const hasFlag = flags && (isScalar || value.anyOf !== undefined);
  return {
    key: path.join("."),
    path,
    flag: hasFlag ? path.join("-").replaceAll("_", "-") : value.flag,
    repeatable: value.flag !== undefined,
    type: typeOf(value),
    kind: value.kind,
    default: value.default,
    derived: value.derived,
    mayBeMissing: value.may_be_missing ?? false,
    required: required && value.derived === undefined,
    bounds: value.bounds ?? numericBounds(value),
    description: value.description ?? "",
  };
}

function typeOf(value: JsonSchema): string {
  if (value.kind !== undefined) return value.kind;
  if (value.enum !== undefined) return value.enum.map((choice) => `\`${String(choice)}\``).join(", ");
  if (value.anyOf !== undefined) return value.anyOf.map(typeOf).join(", or ");
  if (value.items !== undefined) return `list of ${typeOf(value.items)}`;
  if (value.type === "object") return "table";
  return PLAIN_TYPES.get(value.type ?? "") ?? "anything";
}

function numericBounds({ minimum, maximum }: JsonSchema): string | undefined {
  return minimum === undefined || maximum === undefined ? undefined : `${minimum} to ${maximum}`;
}

const PLAIN_TYPES = new Map([
  ["boolean", "`true`, `false`"],
  ["integer", "whole number"],
  ["string", "text"],
]);
