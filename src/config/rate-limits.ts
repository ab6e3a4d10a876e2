import type { z } from "zod";
import { type CamelKeys, camelKeys } from "./camel-keys.ts";

/** No limits, or requests a second of one caller for each kind of request. */
export type RateLimits<Table extends z.ZodObject> = "off" | CamelKeys<z.output<Table>>;

/** The limits that a file means: `default` stands for the defaults of every one of them. */
export function rateLimits<Table extends z.ZodObject>(
  table: Table,
  written: "default" | "off" | z.output<Table>,
): RateLimits<Table> {
  if (written === "off") return "off";
  return camelKeys(written === "default" ? table.parse({}) : written);
}
