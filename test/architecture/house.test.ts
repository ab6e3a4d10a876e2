import { createRequire } from "node:module";
import { describe, expect, it } from "vitest";
import { type HouseFile, housePaths, linesMatching, programs, shipped } from "./house-files.ts";

const paths = housePaths();
const files = programs();
const sources = shipped(files);

describe("the top level", () => {
  it("holds what was agreed and nothing else", () => {
    const top = new Set(
      paths.map((path) => path.split("/")[0] ?? "").filter((name) => !name.startsWith(".")),
    );
    expect([...top].filter((name) => !TOP_LEVEL.includes(name))).toEqual([]);
  });

  it("gives every folder of src/ a floor", () => {
    const { forbidden } = createRequire(import.meta.url)("./dependency-cruiser.cjs") as {
      forbidden: { name: string }[];
    };
    const rooms = new Set(forbidden.flatMap(({ name }) => /^floor\/(.+)$/.exec(name)?.slice(1) ?? []));
    const found = new Set(paths.flatMap((path) => /^src\/([^/]+)/.exec(path)?.slice(1) ?? []));
    found.delete("tsconfig.json");
    expect([...found].filter((room) => !rooms.has(room))).toEqual([]);
  });

  it("has no room whose name says nothing", () => {
    // The names of published protocols' packages are not ours to choose.
    const ours = paths.filter((path) => !path.startsWith("src/proto/"));
    expect(ours.filter((path) => /\/(common|utils?|helpers?|core|misc|lib)(\/|\.ts$)/.test(path))).toEqual(
      [],
    );
  });
});

describe("every file", () => {
  it("has at most 500 lines", () => {
    const long = files.map(({ path, text }) => ({ path, lines: text.split("\n").length - 1 }));
    expect(long.filter(({ lines }) => lines > 500)).toEqual([]);
  });

  it("has a kebab-case name", () => {
    const kebab = /^[a-z0-9]+(-[a-z0-9]+)*(\.(test|bench|config))?\.(ts|mjs|cjs)$/;
    expect(files.map(({ path }) => path).filter((path) => !kebab.test(name(path)))).toEqual([]);
  });

  it("exports by name only", () => {
    const found = linesMatching(files, /^\s*export (default\b|\{[^}]*\bas default\b)/);
    expect(found.filter((line) => !/^test\/(bench\/)?vitest\.config\.ts:/.test(line))).toEqual([]);
  });

  it("leaves no work for later in a comment", () => {
    const marks = new RegExp(`\\b(${["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"].join("|")})\\b`);
    const found = files.flatMap(({ path, text }) =>
      text.split("\n").flatMap((line, index) => (marks.test(line) ? [`${path}:${index + 1}`] : [])),
    );
    expect(found).toEqual([]);
  });

  it("gives a reason where it silences a check", () => {
    const silenced = new RegExp(
      `(${["oxlint-" + "disable", "eslint-" + "disable", "biome-" + "ignore"].join("|")})`,
    );
    const found = files.flatMap(({ path, text }) =>
      text.split("\n").flatMap((line, index) => {
        const [, reason = ""] = line.split(/ -- |: /, 2);
        return silenced.test(line) && reason.trim().length < 10 ? [`${path}:${index + 1}`] : [];
      }),
    );
    expect(found).toEqual([]);
  });

  it("does not skip or focus a test by a bare word: a skip names what is missing", () => {
    const tests = files.filter(({ path }) => path.endsWith(".test.ts"));
    expect(linesMatching(tests, /\b(it|test|describe)\.(skip|only|todo)\(/)).toEqual([]);
  });

  it("names no barrel: only what is published has an index", () => {
    const barrels = files.map(({ path }) => path).filter((path) => name(path) === "index.ts");
    const published = ["src/plugin/index.ts", "src/workload/index.ts"];
    expect(barrels.filter((path) => !published.includes(path))).toEqual([]);
  });
});

describe("what ships", () => {
  // The launcher runs before there is a program, on Nodes that could not read one.
  const program = sources.filter(({ path }) => !path.startsWith("src/launch/"));

  it("asks the machine for the time in clock.ts only", () => {
    const others = program.filter(({ path }) => path !== "src/clock.ts");
    expect(linesMatching(others, /\bDate\.now\b|\bnew Date\(\)|\bMath\.random\b/)).toEqual([]);
  });

  it("reads the environment in config/ only, and where workloads look for their endpoint", () => {
    const edges = (path: string) => path.startsWith("src/config/") || path === "src/workload/environment.ts";
    const others = program.filter(({ path }) => !edges(path));
    expect(linesMatching(others, /\bprocess\.env\b|\bprocess\[.env.\]/)).toEqual([]);
  });

  it("never ends the process under its own feet", () => {
    expect(linesMatching(program, /\bprocess\.(exit|abort|reallyExit)\b/)).toEqual([]);
  });

  it("imports by a path that Node can run", () => {
    expect(linesMatching(sources, /\bfrom "\.[^"]*(?<!\.ts|\.json)"/)).toEqual([]);
  });
});

describe("the reader of these rules", () => {
  const planted = (text: string) => [{ path: "src/planted.ts", text }];

  it("finds code on its line", () => {
    expect(linesMatching(planted("const a = 1;\nconst now = Date.now();\n"), /\bDate\.now\b/)).toEqual([
      "src/planted.ts:2",
    ]);
  });

  it("looks past comments, and not past the address in a string", () => {
    const text = '// Date.now()\n/* Date.now()\n * Date.now() */\nconst url = "http://x"; Date.now();\n';
    expect(linesMatching(planted(text), /\bDate\.now\b/)).toEqual(["src/planted.ts:4"]);
  });
});

describe("every folder of src/", () => {
  const rooms = new Map<string, HouseFile[]>();
  for (const file of sources) {
    const room = /^src\/([^/]+)\//.exec(file.path)?.[1];
    if (room !== undefined) rooms.set(room, [...(rooms.get(room) ?? []), file]);
  }

  it.each([...rooms.keys()])(
    "%s/ says at the top of its main file what it is for, must never know and serves",
    (room) => {
      const headers = (rooms.get(room) ?? []).filter(({ text }) => header(room).test(text));
      expect(headers.map(({ path }) => path)).toHaveLength(1);
    },
  );
});

/** `/** room/ — purpose`, then in the same comment one sentence each of what it must never know and who calls it. */
function header(room: string): RegExp {
  return new RegExp(
    `^(#!.*\\n)?/\\*\\*\\n \\* ${room}/ — [^/]*?\\n \\* Must never know [^/]*?\\n \\* Called by [\\s\\S]*?\\*/`,
  );
}

function name(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

const TOP_LEVEL = [
  "package.json",
  "package-lock.json",
  "tsconfig.json",
  "src",
  "test",
  "deploy",
  "docs",
  "README.md",
  "LICENSE",
];
