import type { DistinguishedName } from "../../crypto/x501-name.ts";

/**
 * Writes a distinguished name for people, most significant attribute first: `C=US, O=SPIRE`. Types without a short
 * name are dotted; what has a meaning of its own in such a text is escaped as in RFC 4514 §2.4.
 */
export function distinguishedNameText(name: DistinguishedName): string {
  return name.map(({ oid, value }) => `${SHORT_NAMES.get(oid) ?? oid}=${escaped(value)}`).join(", ");
}

function escaped(value: string): string {
  return value
    .replaceAll(/[",+;<>\\]/g, String.raw`\$&`)
    .replaceAll(CONTROL, (character) =>
      Buffer.from(character).toString("hex").toUpperCase().replaceAll(/../g, String.raw`\$&`),
    )
    .replace(/^[ #]| $/g, String.raw`\$&`);
}

const CONTROL = /\p{Cc}/gu;
/** RFC 4514 §3, and `serialNumber` as SPIRE's tools write it. */
const SHORT_NAMES: ReadonlyMap<string, string> = new Map([
  ["2.5.4.3", "CN"],
  ["2.5.4.5", "SERIALNUMBER"],
  ["2.5.4.6", "C"],
  ["2.5.4.7", "L"],
  ["2.5.4.8", "ST"],
  ["2.5.4.9", "STREET"],
  ["2.5.4.10", "O"],
  ["2.5.4.11", "OU"],
]);
