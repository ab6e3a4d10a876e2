import { AssayError } from "../../errors/assay-error.ts";

/**
 * The name in a Host header, without its port, in lower case.
 * @throws AssayError `INVALID_REQUEST` where there is none or it is no name.
 */
export function hostName(header: string | undefined): string {
  const match = HOST.exec(header ?? "");
  if (match === null) throw new AssayError("INVALID_REQUEST", "the Host header is missing or malformed");
  return (match[1] ?? "").toLowerCase();
}

/**
 * Checks that a request is meant for one of these names (lower case): whoever reaches the server under another was
 * led here.
 * @throws AssayError `INVALID_REQUEST`.
 */
export function requireHost(header: string | undefined, names: ReadonlySet<string>): void {
  if (!names.has(hostName(header))) {
    throw new AssayError("INVALID_REQUEST", "the Host header names none of the names that are served here");
  }
}

const HOST = /^([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?$/;
