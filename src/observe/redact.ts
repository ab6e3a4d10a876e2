import { SECRET_TEXT } from "./secret.ts";

/**
 * The net under the rule that secrets are never passed to a log: a copy of the value without what looks like one.
 * Values under telling key names go, and strings that are a JWT or a PEM private key wherever they stand. Bytes
 * become their length, since a log can do nothing with them and a key may be among them. Deeper than
 * 6 levels nothing is shown at all. A value in which nothing was found is returned itself.
 */
export function redacted(value: unknown, depth = 0): unknown {
  if (typeof value === "string") return looksSecret(value) ? SECRET_TEXT : value;
  if (typeof value !== "object" || value === null) return value;
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (value instanceof Error || value instanceof Date || hasToJson(value)) return value;
  if (depth >= MAX_DEPTH) return "[too deep]";
  return Array.isArray(value) ? redactedList(value, depth) : redactedObject(value, depth);
}

/** Whether a string is, or holds, a compact JWS or a PEM private key. */
export function looksSecret(text: string): boolean {
  return (
    (text.includes("eyJ") && JWS.test(text)) || (text.includes("PRIVATE KEY-----") && PEM_KEY.test(text))
  );
}

function redactedList(list: readonly unknown[], depth: number): readonly unknown[] {
  const copy = list.map((item) => redacted(item, depth + 1));
  return copy.some((item, i) => item !== list[i]) ? copy : list;
}

function redactedObject(object: object, depth: number): object {
  let copy: Record<string, unknown> | undefined;
  for (const [key, item] of Object.entries(object)) {
    const clean = isSecretName(key) && item !== undefined ? SECRET_TEXT : redacted(item, depth + 1);
    if (clean === item) continue;
    copy ??= { ...object };
    copy[key] = clean;
  }
  return copy ?? object;
}

function isSecretName(key: string): boolean {
  let known = secretNames.get(key);
  if (known === undefined) {
    known = SECRET_NAMES.has(key.toLowerCase().replaceAll(/[^a-z0-9]/g, ""));
    // Keys come from code, not from callers; the bound is for the day someone logs a foreign object.
    if (secretNames.size < MAX_KNOWN_NAMES) secretNames.set(key, known);
  }
  return known;
}

function hasToJson(value: object): boolean {
  return "toJSON" in value && typeof value.toJSON === "function";
}

const secretNames = new Map<string, boolean>();
const SECRET_NAMES = new Set([
  "accesstoken",
  "authorization",
  "clientsecret",
  "cookie",
  "credential",
  "credentials",
  "idtoken",
  "jointoken",
  "jwt",
  "jwtsvid",
  "keypem",
  "passphrase",
  "password",
  "pkcs8",
  "privatekey",
  "proxyauthorization",
  "refreshtoken",
  "secret",
  "setcookie",
  "svidkey",
  "token",
  "witsvid",
  "x509svidkey",
]);
const JWS = /eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*/;
const PEM_KEY = /-----BEGIN [A-Z ]*PRIVATE KEY-----/;
const MAX_DEPTH = 6;
const MAX_KNOWN_NAMES = 1000;
