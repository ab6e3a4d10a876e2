import { AssayError } from "../errors/assay-error.ts";

/** Which values a label may take: the whole list, or the first so many different ones that come. */
export type LabelRule = readonly string[] | AtMost;

/** The labels of one metric, by name. */
export type LabelRules = Readonly<Record<string, LabelRule>>;

/** The first `limit` different values get a time series of their own. */
export interface AtMost {
  readonly limit: number;
}

/** The values that code must give: of the list where there is one, any string otherwise. */
export type LabelValues<Rules extends LabelRules> = {
  readonly [Name in keyof Rules]: Rules[Name] extends readonly (infer Value)[] ? Value : string;
};

/**
 * A label whose values come from configuration (an attestor's name, a method): at most `limit` (1 to 1000) different
 * ones are kept apart. Never use it for what a caller sends.
 * @throws AssayError `INTERNAL` where the limit is out of bounds.
 */
export function atMost(limit: number): AtMost {
  if (!Number.isInteger(limit) || limit < 1 || limit > MAX_LIMIT) {
    throw new AssayError("INTERNAL", `label limit must lie between 1 and ${MAX_LIMIT}`);
  }
  return { limit };
}

/**
 * A function that makes label values safe to count under: a value outside the rule, or longer than 128 characters,
 * is counted as `other`. Nothing is thrown, since a number must not stop the work it counts.
 */
export function boundedLabels<Rules extends LabelRules>(
  rules: Rules | undefined,
): (labels: LabelValues<Rules>) => Record<string, string> {
  const bounds = Object.entries(rules ?? {}).map(([name, rule]) => [name, boundOf(rule)] as const);
  return (labels) => {
    const values: Record<string, string> = {};
    for (const [name, bound] of bounds) {
      const value: unknown = (labels as Readonly<Record<string, unknown>>)[name];
      values[name] = typeof value === "string" && bound(value) ? value : OTHER;
    }
    return values;
  };
}

function boundOf(rule: LabelRule): (value: string) => boolean {
  if (!("limit" in rule)) {
    const allowed = new Set(rule);
    return (value) => allowed.has(value);
  }
  const seen = new Set<string>();
  return (value) => {
    if (seen.has(value)) return true;
    if (seen.size >= rule.limit || value.length > MAX_LENGTH) return false;
    seen.add(value);
    return true;
  };
}

/** The value of a label that stands for all values outside its rule. */
export const OTHER = "other";
const MAX_LIMIT = 1000;
const MAX_LENGTH = 128;
