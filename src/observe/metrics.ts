import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import { AssayError } from "../errors/assay-error.ts";
import { boundedLabels, type LabelRules, type LabelValues } from "./metric-labels.ts";

/**
 * The numbers of one program. Names begin with `assay_`; labels are bounded when they are declared, so that no caller
 * can make new time series without end.
 */
export interface Metrics {
  /** Something that only grows. @throws AssayError `INTERNAL` where the name is taken or malformed. */
  counter<const Rules extends LabelRules = Record<never, never>>(
    spec: MetricSpec<Rules>,
  ): CounterMetric<Rules>;
  /** Something that goes up and down. @throws AssayError `INTERNAL`. */
  gauge<const Rules extends LabelRules = Record<never, never>>(spec: MetricSpec<Rules>): GaugeMetric<Rules>;
  /** A gauge whose value is asked for at each scrape. @throws AssayError `INTERNAL`. */
  observedGauge(spec: Pick<MetricSpec, "name" | "help">, read: () => number): void;
  /** How values are spread; seconds unless the name says otherwise. @throws AssayError `INTERNAL`. */
  histogram<const Rules extends LabelRules = Record<never, never>>(
    spec: MetricSpec<Rules> & { readonly buckets?: readonly number[] },
  ): HistogramMetric<Rules>;
  /** Everything in Prometheus' text format 0.0.4. */
  render(): Promise<string>;
  /** The media type of what `render` gives. */
  readonly contentType: string;
}

/** What a metric is called and which labels it has. */
export interface MetricSpec<Rules extends LabelRules = LabelRules> {
  /** Without the prefix: lower-case words joined by `_`, ending in the unit or `total`. */
  readonly name: string;
  readonly help: string;
  readonly labels?: Rules;
}

/** A counter at work. */
export interface CounterMetric<Rules extends LabelRules> {
  /** Adds `by`, one unless said otherwise. */
  add(labels: LabelValues<Rules>, by?: number): void;
}

/** A gauge at work. */
export interface GaugeMetric<Rules extends LabelRules> {
  set(labels: LabelValues<Rules>, value: number): void;
  /** Adds `by`, which may be negative. */
  add(labels: LabelValues<Rules>, by: number): void;
  /** Forgets one time series: what it told about is gone. */
  remove(labels: LabelValues<Rules>): void;
}

/** A histogram at work. */
export interface HistogramMetric<Rules extends LabelRules> {
  observe(labels: LabelValues<Rules>, value: number): void;
  /** Starts a monotonic stopwatch; calling what it gives observes the seconds since. */
  start(): (labels: LabelValues<Rules>) => void;
}

/** Makes an empty set of metrics; with the process's own (CPU, memory, event loop, GC) unless `process` is false. */
export function createMetrics(options: { readonly process?: boolean } = {}): Metrics {
  const register = new Registry();
  if (options.process ?? true) collectDefaultMetrics({ register, prefix: PREFIX });
  const base = (spec: MetricSpec) => {
    const name = PREFIX + spec.name;
    if (!NAME.test(spec.name)) throw new AssayError("INTERNAL", `metric name ${spec.name} is malformed`);
    if (register.getSingleMetric(name) !== undefined) {
      throw new AssayError("INTERNAL", `metric ${name} is declared twice`);
    }
    return { name, help: spec.help, labelNames: Object.keys(spec.labels ?? {}), registers: [register] };
  };
  return {
    counter: (spec) => {
      const metric = new Counter(base(spec));
      const bounded = boundedLabels(spec.labels);
      return { add: (labels, by = 1) => metric.inc(bounded(labels), by) };
    },
    gauge: (spec) => {
      const metric = new Gauge(base(spec));
      const bounded = boundedLabels(spec.labels);
      return {
        set: (labels, value) => metric.set(bounded(labels), value),
        add: (labels, by) => metric.inc(bounded(labels), by),
        remove: (labels) => metric.remove(bounded(labels)),
      };
    },
    observedGauge: (spec, read) => {
      void new Gauge({
        ...base(spec),
        collect() {
          this.set(read());
        },
      });
    },
    histogram: (spec) => {
      const metric = new Histogram({ ...base(spec), buckets: [...(spec.buckets ?? LATENCY_BUCKETS)] });
      const bounded = boundedLabels(spec.labels);
      return {
        observe: (labels, value) => metric.observe(bounded(labels), value),
        start: () => {
          const stop = metric.startTimer();
          return (labels) => void stop(bounded(labels));
        },
      };
    },
    render: () => register.metrics(),
    contentType: register.contentType,
  };
}

const PREFIX = "assay_";
const NAME = /^[a-z][a-z0-9]*(_[a-z0-9]+)*$/;
// From a cache hit in a tenth of a millisecond to a caller who has given up.
const LATENCY_BUCKETS = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10,
];
