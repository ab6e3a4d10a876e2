/**
 * One JSON log line as a person likes to read it: time of day, level, message, then the fields. A line that is no
 * JSON object is returned as it is.
 */
export function prettyLine(line: string): string {
  let parsed: unknown;
  try {
    parsed = JSON.parse(line);
  } catch {
    return line;
  }
  if (typeof parsed !== "object" || parsed === null) return line;
  const { time, level, msg, ...fields } = parsed as Record<string, unknown>;
  const facts = Object.entries(fields).map(([key, value]) => ` ${key}=${shown(value)}`);
  return `${text(time).slice(11, 23)} ${text(level).toUpperCase().padEnd(5)} ${text(msg)}${facts.join("")}\n`;
}

function shown(value: unknown): string {
  if (typeof value === "string" && /^[^\s"=]+$/.test(value)) return value;
  return JSON.stringify(value);
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}
