import { z } from "zod";
import { LOG_FORMATS, LOG_LEVELS } from "../observe/log.ts";
import { FEATURES } from "../spiffe/features.ts";
import * as kind from "./kinds.ts";

/** Where and how a program logs; the same for both. */
export const logSchema = z
  .strictObject({
    level: z.enum(LOG_LEVELS).default("info").meta({ description: "Least serious level that is logged" }),
    format: z
      .enum(LOG_FORMATS)
      .default("json")
      .meta({ description: "`json` for machines, `pretty` for a person at a terminal" }),
  })
  .prefault({});

/** Where and how a program keeps its audit log; the same for both. */
export const auditSchema = z.strictObject({
  path: kind.path("file").meta({
    description: "File of the audit log; made with mode 0600",
    derived: "audit.jsonl",
    may_be_missing: true,
  }),
  fsync: z.enum(["never", "always"]).default("never").meta({
    description:
      "`always`: a record is on the disk before the answer leaves. `never`: it is with the kernel, which outlives a crash of the program but not of the machine",
  }),
  max_size: kind
    .size("1MiB", "100GiB")
    .prefault("100MiB")
    .meta({ description: "Size after which a new file is begun" }),
  keep: z.int().min(1).max(1000).default(10).meta({ description: "How many old files are kept" }),
});

/** Incubating profiles that are switched on; the same for both. */
export const featuresSchema = z
  .array(z.enum(FEATURES, { error: FEATURES.join(" or ") }))
  .max(FEATURES.length)
  .default([])
  .meta({
    flag: "feature",
    description: "Incubating profiles of SPIFFE to switch on; all are off by default",
  });

/** One plugin: a built-in by its type, or another's by its module. */
export const pluginSchema = z.strictObject({
  type: z
    .string()
    .regex(/^[a-z][a-z0-9_-]{0,62}$/)
    .meta({ description: "Name of the plugin" }),
  module: z.string().min(1).max(4096).optional().meta({
    description: "npm package or absolute path that the plugin is loaded from; built in where absent",
  }),
  config: z.unknown().optional().meta({ description: "The plugin's own settings, as its page says" }),
});

/** Requests a second, per caller. */
export function perSecond(count: number, description: string) {
  return z
    .int()
    .min(1)
    .max(1_000_000)
    .default(count)
    .meta({ description: `${description}, requests a second of one caller` });
}

/** Rate limits: a table of them, or a word for all of them. */
export function rateLimitSchema<Table extends z.ZodObject>(table: Table) {
  return z
    .union([z.enum(["default", "off"]), table])
    .default("default")
    .meta({
      description: "Limits on what one caller may ask: `default`, `off` (for measurements), or a table",
    });
}

/** Whether two plugins of a list have the same type. */
export function repeatedType(plugins: readonly { readonly type: string }[]): string | undefined {
  return plugins.find(({ type }, i) => plugins.findIndex((other) => other.type === type) < i)?.type;
}
