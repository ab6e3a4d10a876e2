import { AssayError } from "../errors/assay-error.ts";

declare const httpsUrlBrand: unique symbol;

/**
 * An absolute https URL without user information and fragment, at most 2048 characters, in the one spelling that the
 * WHATWG URL standard gives it: what was checked is what will be connected to.
 */
export type HttpsUrl = string & { readonly [httpsUrlBrand]: true };

/**
 * Parses a URL that a server may be asked under (SPIFFE Federation §5.2.1.1, §5.2.2.1).
 * @throws AssayError `INVALID_URL` saying what is wrong; the text begins with `URL`.
 */
export function parseHttpsUrl(text: string): HttpsUrl {
  if (text.length > MAX_URL) fail(`must be at most ${MAX_URL} characters`);
  // The standard's parser drops control characters and takes a backslash for a slash: two readers, two URLs.
  if (!/^[\x21-\x5b\x5d-\x7e]+$/.test(text))
    fail("must be written in printable ASCII without spaces and backslashes");
  const scheme = /^([a-zA-Z][a-zA-Z0-9+.-]*):/.exec(text)?.[1]?.toLowerCase();
  if (scheme !== "https") fail("must use the https scheme");
  const authority = /^[^:]+:\/\/([^/?#]*)/.exec(text)?.[1];
  if (authority === undefined || authority === "" || authority.startsWith(":")) fail("must specify the host");
  if (authority.includes("@")) fail("must not contain user info");
  if (text.includes("#")) fail("must not have a fragment");
  if (!URL.canParse(text)) fail("is malformed");
  const url = new URL(text);
  if (url.username !== "" || url.password !== "") fail("must not contain user info");
  if (url.port === "0") fail("must not have port 0");
  return url.href as HttpsUrl;
}

/**
 * The URL that a `Location` header leads to, seen from the URL that was asked (RFC 9110 §10.2.2).
 * @throws AssayError `INVALID_URL` where it is none that may be asked.
 */
export function redirectTarget(from: HttpsUrl, location: string): HttpsUrl {
  // An absolute one is judged as it was written, before a parser has mended it.
  if (/^[a-zA-Z][a-zA-Z0-9+.-]*:/.test(location)) return parseHttpsUrl(withoutFragment(location));
  if (!URL.canParse(location, from)) fail("is malformed");
  return parseHttpsUrl(withoutFragment(new URL(location, from).href));
}

/** Where a URL's server is: the host without brackets, and the port. */
export function serverOf(url: HttpsUrl): { readonly host: string; readonly port: number } {
  const { hostname, port } = new URL(url);
  return { host: hostname.replace(/^\[(.*)\]$/, "$1"), port: port === "" ? 443 : Number(port) };
}

function withoutFragment(text: string): string {
  return text.replace(/#.*$/, "");
}

function fail(what: string): never {
  throw new AssayError("INVALID_URL", `URL ${what}`);
}

const MAX_URL = 2048;
