import { isLoopbackHost } from "./loopback.ts";

/**
 * The URL of a service that credentials are sent to, or `undefined` where it is no https URL, nor an http one on loopback, or
 * holds a user, a query or a fragment.
 */
export function serviceEndpoint(text: string): URL | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isSafe = url?.protocol === "https:" || (url?.protocol === "http:" && isLoopbackHost(url.hostname));
  if (url === undefined || !isSafe) return undefined;
  return `${url.username}${url.password}${url.search}${url.hash}` === "" ? url : undefined;
}
