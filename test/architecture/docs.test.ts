import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { describe, expect, it } from "vitest";

const top = resolve(import.meta.dirname, "../..");
const pages = ["README.md", ...markdownBelow("docs"), ...markdownBelow("deploy"), ...markdownBelow("test")];

describe("documentation", () => {
  it.each(pages)("%s links to what is there", (page) => {
    const text = readFileSync(join(top, page), "utf8").replaceAll(/```[\s\S]*?```/g, "");
    const targets = [...text.matchAll(/\]\(([^)\s]+)\)/g)]
      .map(([, target = ""]) => target)
      .filter((target) => !/^[a-z]+:/.test(target) && !target.startsWith("#"));
    const broken = targets.filter((target) => {
      const [path = ""] = target.split("#");
      return !existsSync(resolve(top, dirname(page), path));
    });
    expect(broken).toEqual([]);
  });
});

function markdownBelow(folder: string): string[] {
  return readdirSync(join(top, folder), { recursive: true, withFileTypes: true })
    .filter(
      (entry) => entry.isFile() && entry.name.endsWith(".md") && !entry.parentPath.includes("node_modules"),
    )
    .map((entry) => join(entry.parentPath, entry.name).slice(top.length + 1));
}
