import { readFileSync, statSync } from "node:fs";

/** Names by numeric id, as they are now. */
export type IdNames = () => ReadonlyMap<number, string>;

/**
 * Names by id from a file in the form of passwd(5) or group(5): name, password, id, separated by colons. The file is
 * parsed again when it was replaced or changed. The first line with an id wins, as in the C library; a missing,
 * unreadable or oversized file names nobody.
 */
export function namesFromFile(path: string): IdNames {
  let version = "";
  let names: ReadonlyMap<number, string> = new Map();
  return () => {
    const current = versionOf(path);
    if (current !== version) {
      names = current === "" ? new Map() : readNames(path);
      version = current;
    }
    return names;
  };
}

/** Parses the lines; those that are malformed or belong to NIS (`+…`, `-…`) name nobody. */
export function parseNames(text: string): ReadonlyMap<number, string> {
  const names = new Map<number, string>();
  for (const line of text.split("\n")) {
    const [name = "", , id = ""] = line.split(":", 3);
    if (name === "" || /^[#+-]|\ufffd/.test(name) || !/^\d{1,10}$/.test(id)) continue;
    if (!names.has(Number(id))) names.set(Number(id), name);
  }
  return names;
}

function readNames(path: string): ReadonlyMap<number, string> {
  try {
    return parseNames(readFileSync(path, "utf8"));
  } catch {
    return new Map();
  }
}

/** Tells one content of the file from another, empty where it cannot be used. */
function versionOf(path: string): string {
  const facts = statSync(path, { bigint: true, throwIfNoEntry: false });
  if (facts === undefined || !facts.isFile() || facts.size > MAX_BYTES) return "";
  return `${facts.dev}:${facts.ino}:${facts.size}:${facts.mtimeNs}:${facts.ctimeNs}`;
}

const MAX_BYTES = 16_777_216n;
