import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { z } from "zod";
import { config } from "./config.ts";
import { inlinePreset } from "./inline-preset.ts";
import { PRESETS } from "./presets/all.ts";
import { trustOf } from "./trust.ts";

interface Sample {
  readonly task_attestors: readonly { readonly name: string; readonly config: unknown }[];
}

const text = readFileSync(new URL("../../../../docs/task-attestors.md", import.meta.url), "utf8");
const samples = [...text.matchAll(/^```yaml\n([\s\S]*?)^```/gm)].flatMap(
  ([, yaml = ""]) => (parse(yaml) as Sample).task_attestors,
);

describe("the page of task attestors", () => {
  it.each(samples)("has a sample that works: $name", (sample) => {
    expect(trustOf(config.parse(sample.config), "https://assay.example.org").issuer).toMatch(/^https:/);
  });

  it("has a sample of each preset", () => {
    const shown = samples.map((sample) => (sample.config as { readonly preset: unknown }).preset);
    for (const name of PRESETS.keys()) expect(shown).toContain(name);
  });

  it.each([...PRESETS.values()])("says what selectors and ids $name has, and what is guarded", (preset) => {
    const rows = rowsOf(`\`${preset.name}\``);
    for (const { selector } of [...preset.claims, ...(preset.derived ?? [])]) {
      if (selector !== undefined) expect(rows).toContain(`\`${selector}\``);
    }
    if (preset.issuers.some(({ shared }) => shared)) {
      for (const name of preset.tenantIds) expect(rows).toContain(`\`${name}\``);
    }
    for (const rule of preset.guarded ?? []) {
      const found = [...preset.claims, ...(preset.derived ?? [])].find(({ name }) => name === rule.claim);
      expect(guardedRow(preset.name)).toContain(`\`${found?.selector ?? ""}\``);
    }
  });

  it.each([...keysOf(config), ...keysOf(inlinePreset)])("has a row for the option %s", (key) => {
    expect(text).toMatch(new RegExp(`^\\| (?:\`\\w+\`, )*\`${key}\`(?:, \`\\w+\`)* \\|`, "m"));
  });
});

function rowsOf(cell: string): string {
  return text
    .split("\n")
    .filter((line) => line.startsWith(`| ${cell} |`))
    .join("\n");
}

function guardedRow(name: string): string {
  const [, section = ""] = text.split("### Guarded runs");
  return section.split("\n").find((line) => line.startsWith(`| \`${name}\` |`)) ?? "";
}

function keysOf(schema: z.ZodType): readonly string[] {
  return Object.keys(z.toJSONSchema(schema, { io: "input" }).properties ?? {});
}
