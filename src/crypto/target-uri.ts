/**
 * An `http` or `https` URI without query and fragment, normalised by syntax and scheme (RFC 3986 §6.2.2, §6.2.3):
 * scheme and host in lower case, escapes in upper case and only where they are needed, no dot segments, no default port,
 * at least `/` as path. Two URIs of one resource give the same text. `undefined` for what is no such URI of at most 2048
 * characters, for user information and for a host that is not ASCII: nothing is mended, as browsers do.
 */
export function normalTargetUri(text: string): string | undefined {
  if (text.length > MAX_CHARACTERS) return undefined;
  const { scheme, host, port, path } = HTTP_URI.exec(text)?.groups ?? {};
  if (scheme === undefined || host === undefined) return undefined;
  const lowerScheme = scheme.toLowerCase();
  const number = port === undefined || port === "" ? DEFAULT_PORTS.get(lowerScheme) : Number(port);
  if (number === undefined || number > MAX_PORT) return undefined;
  const shownPort = number === DEFAULT_PORTS.get(lowerScheme) ? "" : `:${number}`;
  return `${lowerScheme}://${host.toLowerCase()}${shownPort}${withoutDotSegments(normalEscapes(path ?? ""))}`;
}

function normalEscapes(path: string): string {
  return path.replace(ESCAPE, (escape, octet: string) => {
    const character = String.fromCharCode(Number.parseInt(octet, 16));
    return UNRESERVED.test(character) ? character : escape.toUpperCase();
  });
}

// RFC 3986 §5.2.4 for a path that is empty or begins with a slash.
function withoutDotSegments(path: string): string {
  const segments = path.split("/").slice(1);
  const kept: string[] = [];
  for (const [at, segment] of segments.entries()) {
    const isDot = segment === "." || segment === "..";
    if (segment === "..") kept.pop();
    if (!isDot) kept.push(segment);
    else if (at === segments.length - 1) kept.push("");
  }
  return `/${kept.join("/")}`;
}

const MAX_CHARACTERS = 2048;
const MAX_PORT = 65_535;
const DEFAULT_PORTS: ReadonlyMap<string, number> = new Map([
  ["http", 80],
  ["https", 443],
]);
const ESCAPE = /%([0-9A-Fa-f]{2})/g;
const UNRESERVED = /^[A-Za-z0-9._~-]$/;
const PCHAR = "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})";
const HTTP_URI = new RegExp(
  "^(?<scheme>https?)://(?<host>[A-Za-z0-9._~-]+|\\[[0-9A-Fa-f:.]+\\])(?::(?<port>[0-9]{0,5}))?" +
    `(?<path>(?:/${PCHAR}*)*)(?:\\?(?:${PCHAR}|[/?])*)?(?:#(?:${PCHAR}|[/?])*)?$`,
  "i",
);
