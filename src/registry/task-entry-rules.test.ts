import { describe, expect, it } from "vitest";
import { AssayError } from "../errors/assay-error.ts";
import { parseTrustDomain } from "../spiffe/trust-domain.ts";
import { type EntryDraft, validateEntry } from "./entry-rules.ts";

const OWN = parseTrustDomain("example.org");
const OF_TASKS = "spiffe://example.org/spire/task/github-acme";
const OF_AGENT = "spiffe://example.org/spire/agent/x509pop/1";
const TEMPLATE = "/ci/{repository_id}/run/{run_id}";

function valid(change: Partial<EntryDraft> = {}) {
  const selectors = [{ type: "github", value: "repository_id:1" }];
  return validateEntry({ spiffeId: "", parentId: OF_TASKS, selectors, ...change }, OWN);
}

describe("validateEntry of entries of tasks", () => {
  it("takes a template's first words for the ID, given or not", () => {
    for (const spiffeId of ["", "spiffe://example.org/ci"]) {
      expect(valid({ spiffeId, idTemplate: TEMPLATE })).toMatchObject({
        spiffeId: "spiffe://example.org/ci",
        idTemplate: TEMPLATE,
        maxTaskDuration: 0,
        exchangeAudiences: [],
      });
    }
  });

  it("takes a fixed ID without a template, also an administrator's", () => {
    const content = valid({ spiffeId: "spiffe://example.org/deploy", admin: true, maxTaskDuration: 21_600 });
    expect(content).toMatchObject({ idTemplate: "", admin: true, maxTaskDuration: 21_600 });
  });

  it("sorts audiences and keeps each once, for any entry", () => {
    const exchangeAudiences = ["https://b.example", "https://a.example", "https://b.example"];
    for (const parentId of [OF_TASKS, OF_AGENT]) {
      const content = valid({ parentId, spiffeId: "spiffe://example.org/a", exchangeAudiences });
      expect(content.exchangeAudiences).toEqual(["https://a.example", "https://b.example"]);
    }
  });

  it.each<[string, Partial<EntryDraft>, string, RegExp]>([
    [
      "another ID than the template's",
      { spiffeId: "spiffe://example.org/x", idTemplate: TEMPLATE },
      "INVALID_ENTRY",
      /^spiffeId: expected spiffe:\/\/example.org\/ci/,
    ],
    [
      "a malformed ID beside a template",
      { spiffeId: "spiffe://example.org/ci/", idTemplate: TEMPLATE },
      "INVALID_SPIFFE_ID",
      /^spiffeId: path/,
    ],
    ["neither an ID nor a template", {}, "INVALID_SPIFFE_ID", /^spiffeId: SPIFFE ID is empty/],
    ["a reserved ID", { spiffeId: `${OF_TASKS}/t1` }, "INVALID_ENTRY", /^spiffeId: .*reserved/],
    ["a template into /spire", { idTemplate: "/spire/{a}" }, "INVALID_ENTRY", /^idTemplate: .*reserved/],
    [
      "a template for an agent's workload",
      { parentId: OF_AGENT, idTemplate: TEMPLATE },
      "INVALID_ENTRY",
      /^idTemplate: only an entry whose parent/,
    ],
    [
      "a longest task for an agent's workload",
      { parentId: OF_AGENT, spiffeId: "spiffe://example.org/a", maxTaskDuration: 60 },
      "INVALID_ENTRY",
      /^maxTaskDuration: only/,
    ],
    [
      "a longest task beyond six hours",
      { idTemplate: TEMPLATE, maxTaskDuration: 21_601 },
      "INVALID_ENTRY",
      /^maxTaskDuration: expected a whole number from 0 to 21600/,
    ],
    [
      "a negative longest task",
      { idTemplate: TEMPLATE, maxTaskDuration: -1 },
      "INVALID_ENTRY",
      /^maxTaskDuration/,
    ],
    ["an administrator by template", { idTemplate: TEMPLATE, admin: true }, "INVALID_ENTRY", /^admin: /],
    [
      "a subordinate server by template",
      { idTemplate: TEMPLATE, downstream: true },
      "INVALID_ENTRY",
      /^downstream: /,
    ],
    [
      "a subordinate server as task",
      { spiffeId: "spiffe://example.org/a", downstream: true },
      "INVALID_ENTRY",
      /^downstream: /,
    ],
    [
      "a stored SVID of a task",
      { spiffeId: "spiffe://example.org/a", storeSvid: true },
      "INVALID_ENTRY",
      /^storeSvid: /,
    ],
    [
      "an empty audience",
      { idTemplate: TEMPLATE, exchangeAudiences: ["a", ""] },
      "INVALID_AUDIENCE",
      /^exchangeAudiences\/1: /,
    ],
    [
      "an audience beyond 1024 bytes",
      { idTemplate: TEMPLATE, exchangeAudiences: ["\u00e9".repeat(513)] },
      "INVALID_AUDIENCE",
      /^exchangeAudiences\/0: .*1024/,
    ],
    [
      "101 audiences",
      { idTemplate: TEMPLATE, exchangeAudiences: Array.from({ length: 101 }, String) },
      "INVALID_ENTRY",
      /^exchangeAudiences: expected at most 100 items/,
    ],
  ])("refuses %s", (_, change, code, detail) => {
    expect(() => valid(change)).toThrowCode(code as never, detail);
  });

  it.each(["", "/github-acme/x", "/GitHub", "/a_b", `/${"a".repeat(65)}`, "/a.b"])(
    "refuses the parent /spire/task%s, which is no task attestor's",
    (suffix) => {
      const parentId = `spiffe://example.org/spire/task${suffix}`;
      expect(() => valid({ parentId, spiffeId: "spiffe://example.org/a" })).toThrowCode(
        "INVALID_ENTRY",
        /^parentId: expected \/spire\/task\//,
      );
    },
  );

  it("tells all that is wrong at once", () => {
    try {
      valid({ parentId: OF_AGENT, idTemplate: "/{a}", admin: true, maxTaskDuration: 60 });
      expect.unreachable();
    } catch (error) {
      const { violations } = error as AssayError;
      expect(violations.map(({ pointer }) => pointer)).toEqual([
        "/idTemplate",
        "/idTemplate",
        "/maxTaskDuration",
        "/admin",
      ]);
    }
  });
});
