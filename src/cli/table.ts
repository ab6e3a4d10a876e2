/** A table for people: columns as wide as their widest cell, two spaces between, no trailing space. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = headings.map((heading, column) =>
    Math.max(heading.length, ...rows.map((row) => (row[column] ?? "").length)),
  );
  return [headings, ...rows]
    .map((row) =>
      widths
        .map((width, column) => (row[column] ?? "").padEnd(width))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** Facts about one thing, one a line, names aligned; a value of several lines is indented under its first. */
export function facts(pairs: readonly (readonly [string, string | readonly string[]])[]): string {
  const width = Math.max(...pairs.map(([name]) => name.length)) + 1;
  return pairs
    .flatMap(([name, value]) => {
      const [first = "", ...rest] = typeof value === "string" ? [value] : value;
      return [
        `${`${name}:`.padEnd(width)} ${first}`.trimEnd(),
        ...rest.map((line) => `${" ".repeat(width)} ${line}`),
      ];
    })
    .join("\n");
}

/** A time of the wire (Unix seconds) for people: RFC 3339, or `never` for 0. */
export function timeText(seconds: bigint | number): string {
  if (Number(seconds) === 0) return "never";
  return new Date(Number(seconds) * 1000).toISOString().replace(".000Z", "Z");
}

/** A length of time in seconds for people, in its largest whole unit; `default` for 0. */
export function durationText(seconds: number): string {
  if (seconds === 0) return "default";
  for (const [unit, size] of UNITS) {
    if (seconds % size === 0) return `${seconds / size}${unit}`;
  }
  return `${seconds}s`;
}

const UNITS = [
  ["d", 86_400],
  ["h", 3_600],
  ["m", 60],
] as const;
