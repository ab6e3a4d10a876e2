import { AssayError } from "../errors/assay-error.ts";
import { type TrustDomain, trustDomainFault } from "./trust-domain.ts";

declare const spiffeIdBrand: unique symbol;

/**
 * A SPIFFE ID in its one canonical spelling, `spiffe://trust-domain/path` (SPIFFE-ID §2). The path may be empty
 * (the ID of the trust domain itself) but never a lone slash. At most 2048 bytes (§2.3). Compared with `===`.
 */
export type SpiffeId = string & { readonly [spiffeIdBrand]: true };

/**
 * Parses a SPIFFE ID.
 * @throws AssayError `INVALID_SPIFFE_ID` naming what is wrong.
 */
export function parseSpiffeId(text: string): SpiffeId {
  const fault = spiffeIdFault(text);
  if (fault !== undefined) throw new AssayError("INVALID_SPIFFE_ID", fault);
  return text as SpiffeId;
}

/** The ID as a value, or `undefined` where the text is no SPIFFE ID. */
export function tryParseSpiffeId(text: string): SpiffeId | undefined {
  return spiffeIdFault(text) === undefined ? (text as SpiffeId) : undefined;
}

/**
 * The ID of a trust domain with a path; `path` is empty or begins with a slash.
 * @throws AssayError `INVALID_SPIFFE_ID` where the path is malformed or the whole too long.
 */
export function spiffeIdOf(trustDomain: TrustDomain, path: string): SpiffeId {
  return parseSpiffeId(`${SCHEME}${trustDomain}${path}`);
}

/** The trust domain of an ID (SPIFFE-ID §2.1). */
export function trustDomainOf(id: SpiffeId): TrustDomain {
  const slash = id.indexOf("/", SCHEME.length);
  return (slash < 0 ? id.slice(SCHEME.length) : id.slice(SCHEME.length, slash)) as TrustDomain;
}

/** The path of an ID with its leading slash, or the empty string (SPIFFE-ID §2.2). */
export function pathOf(id: SpiffeId): string {
  const slash = id.indexOf("/", SCHEME.length);
  return slash < 0 ? "" : id.slice(slash);
}

/** Whether the ID belongs to the trust domain. */
export function isMemberOf(id: SpiffeId, trustDomain: TrustDomain): boolean {
  return trustDomainOf(id) === trustDomain;
}

/**
 * What is wrong with a path, or `undefined` if nothing is: empty, or segments of `a-z A-Z 0-9 . - _` each after
 * one slash, none empty, none `.` or `..` (SPIFFE-ID §2.2).
 */
export function pathFault(path: string): string | undefined {
  if (path === "") return undefined;
  if (path.charCodeAt(0) !== SLASH) return "path must have a leading slash";
  let start = 1;
  for (let i = 1; i <= path.length; i++) {
    const c = i === path.length ? SLASH : path.charCodeAt(i);
    if (c === SLASH) {
      const fault = segmentFault(path, start, i);
      if (fault !== undefined) return fault;
      start = i + 1;
    } else if (!isSegmentCharacter(c)) {
      return "path segment characters are limited to letters, numbers, dots, dashes, and underscores";
    }
  }
  return undefined;
}

/** What is wrong with a SPIFFE ID, or `undefined` if nothing is. */
export function spiffeIdFault(text: string): string | undefined {
  if (text.length === 0) return "SPIFFE ID is empty";
  if (text.length > MAX_ID_BYTES) return `SPIFFE ID is longer than ${MAX_ID_BYTES} bytes`;
  if (!text.startsWith(SCHEME)) return "scheme is missing or invalid, expected spiffe://";
  const slash = text.indexOf("/", SCHEME.length);
  const end = slash < 0 ? text.length : slash;
  return trustDomainFault(text.slice(SCHEME.length, end)) ?? pathFault(text.slice(end));
}

function segmentFault(path: string, start: number, end: number): string | undefined {
  const length = end - start;
  if (length === 0) {
    return end === path.length ? "path cannot have a trailing slash" : "path cannot contain empty segments";
  }
  const dots = length <= 2 && path.charCodeAt(start) === DOT && path.charCodeAt(end - 1) === DOT;
  return dots ? "path cannot contain dot segments" : undefined;
}

function isSegmentCharacter(c: number): boolean {
  return (
    (c >= 0x61 && c <= 0x7a) ||
    (c >= 0x41 && c <= 0x5a) ||
    (c >= 0x30 && c <= 0x39) ||
    c === DOT ||
    c === 0x2d ||
    c === 0x5f
  );
}

const SCHEME = "spiffe://";
// Every legal character is one byte, so counting UTF-16 units counts bytes for every ID that passes.
const MAX_ID_BYTES = 2048;
const SLASH = 0x2f;
const DOT = 0x2e;
