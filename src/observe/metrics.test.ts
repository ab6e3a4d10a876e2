import { describe, expect, it } from "vitest";
import { FakeClock } from "../../test/fakes/clock.ts";
import { defineEvent } from "./events.ts";
import { createLog } from "./log.ts";
import { atMost } from "./metric-labels.ts";
import { createMetrics } from "./metrics.ts";

describe("metrics", () => {
  it("counts under the labels given", async () => {
    const metrics = createMetrics({ process: false });
    const issued = metrics.counter({ name: "svids_total", help: "SVIDs", labels: { kind: ["x509", "jwt"] } });
    issued.add({ kind: "x509" });
    issued.add({ kind: "x509" }, 2);
    expect(await metrics.render()).toContain('assay_svids_total{kind="x509"} 3');
  });

  it("counts a value outside a label's list as other", async () => {
    const metrics = createMetrics({ process: false });
    const calls = metrics.counter({ name: "calls_total", help: "calls", labels: { method: ["Get"] } });
    calls.add({ method: "'; DROP TABLE" as "Get" });
    const text = await metrics.render();
    expect(text).toContain('assay_calls_total{method="other"} 1');
    expect(text).not.toContain("DROP");
  });

  it("makes no more time series than an open label allows, however many values come", async () => {
    const metrics = createMetrics({ process: false });
    const seen = metrics.gauge({ name: "seen", help: "seen", labels: { attestor: atMost(3) } });
    for (let i = 0; i < 10_000; i++) seen.add({ attestor: `made-up-${i}` }, 1);
    const series = (await metrics.render()).split("\n").filter((line) => line.startsWith("assay_seen{"));
    expect(series).toHaveLength(4);
    expect(series).toContain('assay_seen{attestor="other"} 9997');
  });

  it("counts a value of more than 128 characters as other", async () => {
    const metrics = createMetrics({ process: false });
    metrics.counter({ name: "a_total", help: "a", labels: { b: atMost(10) } }).add({ b: "x".repeat(129) });
    expect(await metrics.render()).toContain('{b="other"} 1');
  });

  it("spreads observed seconds over buckets and measures with a stopwatch", async () => {
    const metrics = createMetrics({ process: false });
    const latency = metrics.histogram({ name: "sign_seconds", help: "signing", labels: { kind: ["x509"] } });
    latency.observe({ kind: "x509" }, 0.004);
    latency.start()({ kind: "x509" });
    const text = await metrics.render();
    expect(text).toContain('assay_sign_seconds_bucket{le="0.0025",kind="x509"} 1');
    expect(text).toContain('assay_sign_seconds_count{kind="x509"} 2');
  });

  it("asks an observed gauge at each scrape", async () => {
    const metrics = createMetrics({ process: false });
    let entries = 1;
    metrics.observedGauge({ name: "entries", help: "entries" }, () => entries++);
    expect(await metrics.render()).toContain("assay_entries 1");
    expect(await metrics.render()).toContain("assay_entries 2");
  });

  it("shows the process's own numbers under the same prefix", async () => {
    expect(await createMetrics().render()).toContain("assay_process_resident_memory_bytes");
  });

  it("refuses a malformed name, a name taken twice and a limit out of bounds", () => {
    const metrics = createMetrics({ process: false });
    metrics.counter({ name: "a_total", help: "a" });
    expect(() => metrics.gauge({ name: "a_total", help: "a" })).toThrowCode("INTERNAL", /twice/);
    expect(() => metrics.counter({ name: "Bad-Name", help: "a" })).toThrowCode("INTERNAL", /malformed/);
    expect(() => atMost(0)).toThrowCode("INTERNAL", /between/);
    expect(() => atMost(1001)).toThrowCode("INTERNAL", /between/);
  });
});

describe("defineEvent", () => {
  it("counts and logs by one call", async () => {
    const lines: string[] = [];
    const destination = { write: (line: string) => void lines.push(line) };
    const log = createLog({ level: "info", clock: new FakeClock(), destination });
    const metrics = createMetrics({ process: false });
    const issued = defineEvent(
      { log, metrics },
      {
        counter: "svids_total",
        help: "SVIDs",
        labels: { kind: ["x509"] },
        level: "info",
        message: "SVID issued",
      },
    );
    issued({ kind: "x509" }, { spiffe_id: "spiffe://example.org/a" });
    expect(await metrics.render()).toContain('assay_svids_total{kind="x509"} 1');
    expect(lines.join("")).toMatch(
      /"kind":"x509","spiffe_id":"spiffe:\/\/example.org\/a","msg":"SVID issued"/,
    );
  });
});
