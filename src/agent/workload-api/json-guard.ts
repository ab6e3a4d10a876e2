import type { FastifyRequest } from "fastify";
import { AssayError } from "../../errors/assay-error.ts";

/**
 * Refuses what a browser, or a program that was told where to connect by a stranger, would send: a request that names
 * another host than this machine, or that says it came from a web page.
 * @throws AssayError `INVALID_REQUEST`.
 */
export function refuseCrossProtocol({ headers }: Pick<FastifyRequest, "headers">): void {
  if (headers.origin !== undefined) refuse("must not have an Origin header");
  const fetched = Object.keys(headers).find((name) => name.startsWith("sec-fetch-"));
  if (fetched !== undefined) refuse(`must not have a ${fetched} header`);
  if (!LOCAL_HOST.test(headers.host ?? "")) refuse("must name localhost as its host");
}

function refuse(detail: string): never {
  throw new AssayError("INVALID_REQUEST", `a request on this socket ${detail}`);
}

const LOCAL_HOST = /^(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?$/i;
