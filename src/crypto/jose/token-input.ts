import { findingsOf, type LintCheck, type LintFinding, type LintVerdict, verdictsOf } from "../lint.ts";
import type { JsonObject } from "./strict-json.ts";

/** What a JWS signing input says. */
export interface TokenInput {
  readonly header: JsonObject;
  readonly claims: JsonObject;
}

/**
 * Reads back the bytes that are about to be signed: a header and claims, each a JSON object that reads in one way only.
 * `undefined` for anything else, a member that appears twice, white space and padding among it: written again, each part
 * must come out as it was.
 */
export function readTokenInput(input: Uint8Array): TokenInput | undefined {
  const text = Buffer.from(input.buffer, input.byteOffset, input.length).toString("latin1");
  const dot = text.indexOf(".");
  const header = readHeader(text.slice(0, Math.max(dot, 0)));
  const claims = read(text.slice(dot + 1));
  return header === undefined || claims === undefined ? undefined : { header, claims };
}

/**
 * Reads the bytes that are about to be signed as somebody would who does not know how they were made, and gives the rules
 * that they break, each by the section of its standard. Nothing is signed that has a finding.
 */
export function lintTokenInput(
  input: Uint8Array,
  walk: (read: TokenInput, check: LintCheck) => void,
): readonly LintFinding[] {
  const read = readTokenInput(input);
  if (read !== undefined) return findingsOf((check) => walk(read, check));
  return [{ rule: "§2", detail: "token must be a header and claims, each a JSON object in base64url" }];
}

/** Every rule of a kind of token with its verdict on one that was read already. */
export function judgeToken(
  read: TokenInput,
  walk: (read: TokenInput, check: LintCheck) => void,
): readonly LintVerdict[] {
  return verdictsOf((check) => walk(read, check));
}

/** Whether an object has these members and no other. */
export function hasMembers(value: JsonObject, names: readonly string[]): boolean {
  const members = Object.keys(value);
  return members.length === names.length && names.every((name) => members.includes(name));
}

/** Whether a value of JSON is an object. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The header of all tokens of an authority is the same, so the one read last is not read again. */
function readHeader(part: string): JsonObject | undefined {
  if (part !== lastHeader.part) lastHeader = { part, header: read(part) };
  return lastHeader.header;
}

function read(part: string): JsonObject | undefined {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(part, "base64url").toString("utf8"));
  } catch {
    return undefined;
  }
  const isExact = Buffer.from(JSON.stringify(value), "utf8").toString("base64url") === part;
  return isExact && isJsonObject(value) ? value : undefined;
}

let lastHeader: { readonly part: string; readonly header: JsonObject | undefined } = {
  part: "",
  header: undefined,
};
