import { describe, expect, it } from "vitest";
import { makeScratch } from "../e2e/scratch.ts";
import { fastForward } from "../lifecycle/fast-forward.ts";
import { judge } from "../lifecycle/fast-forward-report.ts";
import { BUILD_PATIENCE, buildPeer, describeWith } from "./peers.ts";

describeWith(["go"], "two go-spiffe workloads", () => {
  it(
    "never fail to meet or to validate while authorities rotate, are revoked, and server and agent restart",
    async () => {
      await using scratch = await makeScratch();
      const programs = await buildPeer("go-client");
      const told: string[] = [];
      const report = await fastForward({
        minutes: MINUTES,
        rounds: 1,
        programs,
        scratch,
        print: (line) => told.push(line),
      });
      expect(report.problems, told.join("\n")).toEqual([]);
      expect(report.failed).toBe(0);
      // Twenty handshakes and, seen by both ends, ten validations a second; half of it is enough for a busy machine.
      expect(report.handshakes).toBeGreaterThan(MINUTES * 60 * 10);
      expect(report.validations).toBeGreaterThan(MINUTES * 60 * 5);
      // The first, the one by hand, and one by schedule.
      expect(report.x509Authorities).toBeGreaterThanOrEqual(3);
      expect(report.jwtAuthorities).toBeGreaterThanOrEqual(3);
      expect(report.x509Svids).toBeGreaterThan(6);
    },
    BUILD_PATIENCE,
  );
});

describe("what two workloads said", () => {
  const line = (fields: object) => JSON.stringify({ at: "2026-11-22T12:00:10Z", ...fields });
  const sum = line({ event: "sum", handshakes: 5, validations: 2, failed: 0, svids: 1 });
  const at = Date.parse("2026-11-22T12:00:10Z");

  it("is good where nothing failed, and an agent was missed only while it was away", () => {
    const away = line({ event: "away", message: "connection refused" });
    const evidence = { calling: [away, sum], serving: [sum], away: [{ from: at - 1000, to: at + 1000 }] };
    expect(judge(evidence)).toMatchObject({ handshakes: 5, validations: 4, failed: 0, problems: [] });
    expect(judge({ ...evidence, away: [] }).problems).toEqual([
      expect.stringMatching(/gave no JWT-SVID though it was there/),
    ]);
  });

  it.each([
    ["a failure of either", [line({ event: "failed", what: "handshake", message: "bad certificate" }), sum]],
    ["an end in panic", ["panic: no", sum]],
    ["no end", [line({ event: "count" })]],
    ["an error", [line({ event: "error", message: "something has failed" }), sum]],
  ])("is bad with %s", (_, lines) => {
    expect(judge({ calling: lines, serving: [sum], away: [] }).problems).toHaveLength(1);
    expect(judge({ calling: [sum], serving: lines, away: [] }).problems).toHaveLength(1);
  });
});

const MINUTES = 2.75;
