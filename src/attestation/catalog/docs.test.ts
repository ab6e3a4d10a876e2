import { existsSync, readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { agentNodeAttestors, nodeAttestors, workloadAttestors } from "./kinds.ts";

const folder = new URL("../../../docs/plugins/", import.meta.url);
const kinds = [
  { prefix: "node-attestor", halves: [nodeAttestors, agentNodeAttestors] },
  { prefix: "workload-attestor", halves: [workloadAttestors] },
] as const;

const pages = kinds.flatMap(({ prefix, halves }) =>
  [...new Set(halves.flatMap(({ builtIns }) => [...builtIns.keys()]))].map((name) => ({
    name,
    file: `${prefix}-${name.replaceAll("_", "-")}.md`,
    options: halves.flatMap(({ builtIns }) => optionsOf(builtIns.get(name)?.config)),
  })),
);

describe("the page of each built-in attestor", () => {
  it.each(pages)("$file is there, in the fixed shape", ({ file, name }) => {
    const path = new URL(file, folder);
    expect(existsSync(path)).toBe(true);
    const headings =
      readFileSync(path, "utf8")
        .replaceAll(/^```[\s\S]*?^```/gm, "")
        .match(/^##? .*$/gm) ?? [];
    expect(headings[0]).toContain(`\`${name}\``);
    expect(headings.slice(1)).toEqual([
      "## What it proves",
      "## What it yields",
      "## Configuration",
      "## Sample",
      "## Security considerations",
    ]);
  });

  it.each(pages)("$file has a row for each option, with its default", ({ file, options }) => {
    const text = readFileSync(new URL(file, folder), "utf8");
    for (const { key, preset } of options) {
      const row = text.split("\n").find((line) => line.startsWith(`| \`${key}\` |`));
      expect(row, key).toBeDefined();
      if (preset !== undefined) expect(row).toContain(`\`${String(preset)}\``);
    }
  });

  it("is for an attestor that exists", () => {
    const attestorPages = readdirSync(folder).filter((file) => /^(node|workload)-attestor-/.test(file));
    expect(attestorPages.toSorted()).toEqual(pages.map(({ file }) => file).toSorted());
  });
});

function optionsOf(config: unknown): readonly { readonly key: string; readonly preset: unknown }[] {
  if (!(config instanceof z.ZodType)) return [];
  const { properties = {} } = z.toJSONSchema(config, { io: "input" });
  return Object.entries(properties).map(([key, property]) => ({
    key,
    preset: typeof property === "object" ? property.default : undefined,
  }));
}
