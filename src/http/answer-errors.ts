import type { FastifyReply, FastifyRequest } from "fastify";
import { AssayError } from "../errors/assay-error.ts";
import { CODES } from "../errors/codes.ts";
import type { HttpLog, HttpRoutes } from "./http-routes.ts";
import { KnownPaths } from "./known-paths.ts";
import { httpStatusOf, PROBLEM_MEDIA_TYPE, problemOf } from "./problem.ts";
import { requestFaultOf, type RequestFault } from "./request-fault.ts";

/** Makes every error of an application a problem document: thrown ones, wrong paths and wrong methods. */
export function answerErrors(routes: HttpRoutes, log: HttpLog): void {
  const paths = new KnownPaths();
  routes.addHook("onRoute", ({ url, method }) => paths.add(url, [method].flat()));
  routes.setErrorHandler((thrown, request, reply) =>
    answerFault(requestFaultOf(thrown), request, reply, log),
  );
  routes.setNotFoundHandler((request, reply) => {
    const methods = paths.methodsOf(request.url.split("?", 1)[0] ?? "");
    if (methods.length > 0) reply.header("allow", methods.join(", "));
    const error =
      methods.length > 0
        ? new AssayError("METHOD_NOT_ALLOWED", `the resource has ${methods.join(", ")} only`)
        : new AssayError("NOT_FOUND", "there is no such resource");
    return answerFault({ error, part: "body" }, request, reply, log);
  });
}

/** Answers one fault and logs it: with all it has where it is ours to mend, for debugging otherwise. */
export function answerFault(
  { error, part }: RequestFault,
  request: FastifyRequest,
  reply: FastifyReply,
  log: HttpLog,
): FastifyReply {
  const status = httpStatusOf(error);
  const facts = { request_id: request.id, method: `${request.method} ${pathOf(request)}`, status, error };
  if (status >= 500 && !CODES[error.code].retry) log.error("request failed", facts);
  else log.debug("request refused", facts);
  if (status === 401 && !reply.hasHeader("www-authenticate")) reply.header("www-authenticate", "SPIFFE");
  if (CODES[error.code].retry && (status === 429 || status === 503)) reply.header("retry-after", "1");
  return reply
    .code(status)
    .type(PROBLEM_MEDIA_TYPE)
    .serializer(JSON.stringify)
    .send(problemOf(error, request.id, part));
}

// A route's pattern, not what the caller made of it: the path may hold names that belong in no log.
function pathOf(request: FastifyRequest): string {
  return request.routeOptions.url ?? "unknown path";
}
