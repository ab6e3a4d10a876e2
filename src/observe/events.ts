import type { LogFields } from "./fields.ts";
import type { Log } from "./log.ts";
import type { LabelRules, LabelValues } from "./metric-labels.ts";
import type { Metrics } from "./metrics.ts";

/** What one kind of event is called where it is counted and where it is logged. */
export interface EventSpec<Rules extends LabelRules> {
  /** Name of the counter, without prefix, ending in `total`. */
  readonly counter: string;
  readonly help: string;
  readonly labels?: Rules;
  readonly level: "debug" | "info" | "warn" | "error";
  /** The constant sentence of the log line. */
  readonly message: string;
}

/** Counts an event and logs it. */
export type Event<Rules extends LabelRules> = (labels: LabelValues<Rules>, fields: LogFields) => void;

/**
 * Makes the one helper of a kind of event, so that what is counted and what is logged cannot drift apart. The labels
 * are fields of the line too.
 */
export function defineEvent<const Rules extends LabelRules = Record<never, never>>(
  to: { readonly log: Log; readonly metrics: Metrics },
  spec: EventSpec<Rules>,
): Event<Rules> {
  const counter = to.metrics.counter<Rules>({
    name: spec.counter,
    help: spec.help,
    ...(spec.labels === undefined ? {} : { labels: spec.labels }),
  });
  return (labels, fields) => {
    counter.add(labels);
    if (to.log.isEnabled(spec.level)) to.log[spec.level](spec.message, { ...labels, ...fields });
  };
}
