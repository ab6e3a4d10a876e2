import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";

/** One text file of the repository. */
export interface HouseFile {
  /** Relative to the top, with forward slashes. */
  readonly path: string;
  readonly text: string;
}

/** Every path that git knows or would add: the house as a clone sees it, without what is built or installed. */
export function housePaths(): string[] {
  return execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard", "-z"], {
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
  })
    .split("\0")
    .filter((path) => path !== "" && existsSync(path));
}

/** The hand-written programs of the house: everything in `src/` and `test/` that Node runs, generated code left out. */
export function programs(): HouseFile[] {
  return housePaths()
    .filter((path) => /^(src|test)\/.*\.(ts|mjs|cjs)$/.test(path) && !path.startsWith("src/proto/gen/"))
    .map((path) => ({ path, text: readFileSync(path, "utf8") }));
}

/** What ships: `src/` without its unit tests. */
export function shipped(files: readonly HouseFile[]): HouseFile[] {
  return files.filter(({ path }) => path.startsWith("src/") && !path.endsWith(".test.ts"));
}

/**
 * The lines of the code where `pattern` matches, as `path:line`. Comments are blanked out first, so that a rule can be
 * spoken about where it is explained.
 */
export function linesMatching(files: readonly HouseFile[], pattern: RegExp): string[] {
  return files.flatMap(({ path, text }) =>
    withoutComments(text)
      .split("\n")
      .flatMap((line, index) => (pattern.test(line) ? [`${path}:${index + 1}`] : [])),
  );
}

function withoutComments(text: string): string {
  return text
    .replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, " "))
    .replace(/(^|\s)\/\/.*$/gm, "$1");
}
