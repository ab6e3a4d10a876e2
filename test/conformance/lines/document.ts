/** How strongly a line obliges: the keyword that the document uses, or `def` and `REC` where it uses none. */
export type Level = "MUST" | "MUST NOT" | "SHOULD" | "SHOULD NOT" | "MAY" | "def" | "REC";

/** Who must comply. */
export type Party = (typeof PARTIES)[number];

/** One numbered requirement of a document. */
export interface Line {
  /** Prefix of the document and a number, such as `WA-34`: what titles of tests begin with. */
  readonly id: string;
  readonly level: Level;
  readonly binds: readonly Party[];
  /** Sections of the document, as they are numbered there. */
  readonly section: string;
  /** In our words. */
  readonly requirement: string;
}

/** One of the standards, as lines. */
export interface StandardDocument {
  /** What its lines' ids begin with. */
  readonly prefix: string;
  /** File in the standards' repository. */
  readonly file: string;
  /** Whether the standard calls it stable; incubating features stand behind a flag. */
  readonly incubating: boolean;
  readonly lines: readonly Line[];
}

/**
 * Reads a document's table: one line `number | level | binds | section | requirement` each, numbered without a gap.
 * Throws a plain `Error` for a line that is not of this form.
 */
export function standard(
  prefix: string,
  file: string,
  table: string,
  { incubating = false } = {},
): StandardDocument {
  const lines = table
    .trim()
    .split("\n")
    .map((row, index) => readLine(prefix, row, index + 1));
  return { prefix, file, incubating, lines };
}

/** Whether a text names a level. */
function isLevel(text: string): text is Level {
  return (LEVELS as readonly string[]).includes(text);
}

function isParty(text: string): text is Party {
  return (PARTIES as readonly string[]).includes(text);
}

function readLine(prefix: string, row: string, expected: number): Line {
  const [number = "", level = "", who = "", section = "", requirement = "", ...more] = row.split(" | ");
  const id = `${prefix}-${number}`;
  const binds = who.split(", ");
  if (Number(number) !== expected || !/^\d{2}$/.test(number)) {
    throw new Error(`${id}: expected the line numbered ${expected}`);
  }
  if (!isLevel(level)) throw new Error(`${id}: unknown level ${level}`);
  if (!binds.every(isParty)) throw new Error(`${id}: unknown party in ${who}`);
  if (section === "" || requirement === "" || more.length > 0) {
    throw new Error(`${id}: expected five columns`);
  }
  return { id, level, binds, section, requirement };
}

/** Every level, strongest first. */
export const LEVELS = ["MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY", "def", "REC"] as const;

const PARTIES = [
  "issuer",
  "validator",
  "parser",
  "all",
  "publisher",
  "consumer",
  "map publisher",
  "map consumer",
  "spec authors",
  "bserver",
  "bclient",
  "control plane",
  "profile",
  "operator",
  "endpoint",
  "client",
  "broker-ep",
  "broker",
] as const;
