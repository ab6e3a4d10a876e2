import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { output, run } from "../e2e/program.ts";
import { makeScratch, type Scratch } from "../e2e/scratch.ts";
import type { Findings } from "../bench/compare/compare.ts";
import { BUILD_PATIENCE, buildPeer, describeWith } from "./peers.ts";

const FOLDER = join(import.meta.dirname, "..", "bench", "compare");
const BENCH = ["--disable-warning=ExperimentalWarning", join(FOLDER, "run.ts")];
const MEASURES = ["x509-1", "x509-10", "x509-50", "x509-100", "jwt"];
const LATENCIES = ["x509-1/latency", "x509-50/latency", "jwt/latency"];

// That the tool measures, never how fast a server is: the machine may be busy.
describeWith(["go", "openssl"], "npm run bench", () => {
  describe("in a hurry", () => {
    let scratch: Scratch;
    let said: string;
    let found: Findings;

    beforeAll(async () => {
      scratch = await makeScratch();
      await buildPeer("spire");
      const json = scratch.at("bench.json");
      const flags = ["--quick", `--json=${json}`, `--page=${scratch.at("page.md")}`, "--anyway"];
      said = await output(process.execPath, [...BENCH, ...flags], { patience: BUILD_PATIENCE });
      found = JSON.parse(await readFile(json, "utf8")) as Findings;
    }, BUILD_PATIENCE);

    afterAll(() => scratch[Symbol.asyncDispose]());

    it("has a figure of both servers for each measure, from answers that verify", () => {
      const all = [...found.throughput, ...found.latency];
      for (const make of ["assay", "spire"]) {
        const names = all.filter((taken) => taken.make === make).map(({ name }) => name);
        expect(names).toEqual([...MEASURES, ...LATENCIES]);
      }
      for (const { name, finding } of all) {
        expect(finding.failed).toEqual({});
        expect(finding.verified).toBeGreaterThan(0);
        expect(finding.svids).toBe(finding.calls * Number(/^x509-(\d+)/.exec(name)?.[1] ?? 1));
        expect(finding.serverCpu).toBeGreaterThan(0);
        expect(finding.p50).toBeGreaterThan(0);
        expect(finding.p99).toBeGreaterThanOrEqual(finding.p50);
      }
    });

    it("offers both servers the same load where it measures latency", () => {
      for (const name of LATENCIES) {
        const rates = found.latency.filter((taken) => taken.name === name).map(({ rate }) => rate);
        expect(rates).toHaveLength(2);
        expect(new Set(rates).size).toBe(1);
      }
    });

    it("takes the ceiling with each measure", () => {
      for (const { ceiling } of found.throughput) {
        for (const speed of [ceiling.openssl, ceiling.node]) {
          expect(speed.sign).toBeGreaterThan(0);
          expect(speed.verify).toBeGreaterThan(0);
        }
      }
    });

    it("writes the page", async () => {
      const page = await readFile(scratch.at("page.md"), "utf8");
      expect(page).toContain("Written by `npm run bench -- --quick --anyway` on ");
      expect(page).toContain("## How to read it");
      expect(page).toMatch(/\| SPIRE +\| 1\.15\.3, built with go/);
    });

    it("says which versions were laid side by side, and how far each aim is", () => {
      expect(said).toContain("SPIRE: 1.15.3, built with go");
      expect(said).toMatch(/^Assay: \d/m);
      expect(said).toContain("jwt: at least 3 times SPIRE's SVIDs per CPU-second");
      expect(said).toMatch(/SVIDs were verified in full\. No call failed\. `others_cores_used` was/);
    });
  });

  it("refuses a command line that it does not understand", async () => {
    const { code, stderr } = await run(process.execPath, [...BENCH, "--only=vault"]);
    expect(code).toBe(2);
    expect(stderr).toContain("--only is assay or spire, not vault");
  });

  it("reads the accounts of processes as it should, by the load generator's own tests", async () => {
    await output("go", ["test", "./..."], { cwd: join(FOLDER, "loadgen"), patience: BUILD_PATIENCE });
  });
});
