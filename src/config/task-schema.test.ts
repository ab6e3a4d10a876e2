import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { loadServerConfig } from "./server-config.ts";

const folder = mkdtempSync(join(tmpdir(), "task-config-"));
const file = join(folder, "server.yaml");
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function load(text: string) {
  writeFileSync(file, `trust_domain: example.org\ndata_dir: ${folder}\n${text}`);
  return loadServerConfig({ file }).config;
}

describe("the configuration of tasks", () => {
  it("has no attestors and the usual bounds where nothing is said", () => {
    expect(load("")).toMatchObject({
      taskAttestors: [],
      tasks: { lease: 120, maxDuration: 21_600, grace: 30 },
      rateLimit: { token: 100, task: 20 },
    });
  });

  it("takes several attestors of one type, and leaves their settings as they are", () => {
    const { taskAttestors, tasks } = load(
      [
        "jwt_issuer: https://assay.example.org",
        "task_attestors:",
        "  - { name: github-acme, config: { preset: github-actions, snake_case_key: 1 } }",
        "  - { name: batch-1, type: batch, module: '@acme/batch' }",
        "tasks: { lease: 60s, max_duration: 1h, grace: 0s }",
      ].join("\n"),
    );
    expect(taskAttestors).toEqual([
      { name: "github-acme", type: "oidc", config: { preset: "github-actions", snake_case_key: 1 } },
      { name: "batch-1", type: "batch", module: "@acme/batch" },
    ]);
    expect(tasks).toEqual({ lease: 60, maxDuration: 3600, grace: 0 });
  });

  it.each([
    [
      "task_attestors: [{ name: a }]",
      /jwt_issuer: is missing, task_attestors need it: it is the audience that a platform's token must name/,
    ],
    [
      "jwt_issuer: https://a.example\ntask_attestors: [{ name: a }, { name: b }, { name: a }]",
      /task_attestors\.2\.name: expected each name once, got a twice \(rename one\)/,
    ],
    ["task_attestors: [{ name: A_b }]", /task_attestors\.0\.name: expected 1 to 64 of a-z 0-9 -/],
    ["task_attestors: [{ type: oidc }]", /task_attestors\.0\.name: is missing/],
    ["tasks: { lease: 30s }", /tasks\.lease: expected a duration from 60s to 300s, got 30s/],
    ["tasks: { lease: 301s }", /tasks\.lease: expected a duration from/],
    ["tasks: { max_duration: 7h }", /tasks\.max_duration: expected a duration from 1m to 6h, got 7h/],
  ])("refuses %j", (text, detail) => {
    expect(() => load(text)).toThrowCode("CONFIG_INVALID", detail);
  });
});
