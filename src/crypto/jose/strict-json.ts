/** What a JSON object of a token may hold. */
export type JsonObject = Readonly<Record<string, unknown>>;

/**
 * The JSON object that UTF-8 `bytes` hold, or a text saying what is wrong with them. Stricter than `JSON.parse`:
 * invalid UTF-8, a byte order mark and a member that appears twice in one object are refused, because two readers
 * might see two different tokens (RFC 8725 §2.6), and so are more than 64 levels, which would exhaust the stack of
 * whoever walks the value. Linear in the input.
 */
export function parseJsonObject(bytes: Uint8Array): JsonObject | string {
  let text: string;
  let value: unknown;
  try {
    text = UTF8.decode(bytes);
    value = JSON.parse(text);
  } catch {
    return "is not JSON";
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return "is not a JSON object";
  return faultOf(text) ?? (value as JsonObject);
}

/** Walks text that is known to be JSON. */
function faultOf(text: string): string | undefined {
  const members: (Set<string> | undefined)[] = [];
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (character === "{") members.push(new Set());
    else if (character === "[") members.push(undefined);
    else if (character === "}" || character === "]") members.pop();
    if (members.length > MAX_LEVELS) return "is nested too deeply";
    if (character === '"') {
      const end = endOfString(text, at);
      const names = members[members.length - 1];
      if (names !== undefined && isMemberName(text, end)) {
        // Escapes are resolved first: "\u0061ud" is aud.
        const name = JSON.parse(text.slice(at, end)) as string;
        if (names.has(name)) return "has a member twice";
        names.add(name);
      }
      at = end - 1;
    }
  }
  return undefined;
}

function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
  return at + 1;
}

function isMemberName(text: string, after: number): boolean {
  let at = after;
  while (text[at] === " " || text[at] === "\t" || text[at] === "\n" || text[at] === "\r") at++;
  return text[at] === ":";
}

const MAX_LEVELS = 64;
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
