/**
 * server/oauth — the OAuth endpoints of the web port: token, introspection and revocation, with proofs of possession.
 *
 * Must never know who earns what, nor how a token is made; it reads forms and headers and writes what the RFCs say.
 * Called by the server's composition, which also puts its guard before the task API.
 */
import type {
  FastifyReply,
  FastifyRequest,
  FastifySchema,
  FastifySchemaCompiler,
  RouteHandlerMethod,
} from "fastify";
import { AssayError } from "../../errors/assay-error.ts";
import type { HttpRoutes } from "../../http/http-routes.ts";
import { takeFrom } from "../limits.ts";
import type { OperatorGuard } from "../web/operator-guard.ts";
import { EMPTY_FORM, type FormParameters, readForm } from "./form-parameters.ts";
import { clientCredentials, type GrantRequest, jwtBearer, tokenExchange } from "./grants.ts";
import { introspect } from "./introspection.ts";
import { introspectionSchema, revocationSchema, tokenSchema } from "./oauth-document.ts";
import { answerOAuthError, NOT_STORED, OAuthError, oauthErrorOf } from "./oauth-error.ts";
import { CLIENT_CREDENTIALS, JWT_BEARER, TOKEN_EXCHANGE } from "./oauth-metadata.ts";
import type { OAuthRoutesOptions } from "./oauth-options.ts";
import { revoke } from "./revocation.ts";

/**
 * Adds `POST /oauth2/token`, `/oauth2/introspect` and `/oauth2/revoke`, also below the issuer's path where it has one. They
 * read forms alone, and every error of theirs is JSON with `error` and `error_description` (RFC 6749 §5.2), never a problem
 * document. The routes must have a scope of their own.
 */
export function oauthRoutes(routes: HttpRoutes, options: OAuthRoutesOptions, guard: OperatorGuard): void {
  const { dpop, callerOf, limit, log, exchange } = options;
  routes.removeAllContentTypeParsers();
  routes.addContentTypeParser(
    "application/x-www-form-urlencoded",
    { parseAs: "buffer", bodyLimit: MAX_BODY },
    (_request, body, done) => done(null, body),
  );
  routes.setErrorHandler((thrown, request, reply) => answerOAuthError(thrown, request, reply, log));
  routes.addHook("onRequest", async (request, reply) => {
    dpop.offerNonce(reply);
    reply.headers(NOT_STORED);
    takeFrom(limit, callerOf(request.socket));
    if (request.method !== "POST") {
      reply.header("allow", "POST");
      throw new OAuthError("invalid_request", "the method must be POST", { status: 405 });
    }
    requireNoPage(request);
  });

  const path = new URL(exchange.issuer).pathname.replace(/\/$/, "");
  const endpoint = (name: string, schema: FastifySchema, handler: RouteHandlerMethod) => {
    for (const url of new Set([`/oauth2/${name}`, `${path}/oauth2/${name}`])) {
      const hide = url !== `/oauth2/${name}`;
      const validatorCompiler = unread;
      routes.route({ method: "POST", url, validatorCompiler, schema: { ...schema, hide }, handler });
      routes.route({ method: [...OTHER_METHODS], url, schema: { hide: true }, handler: neverReached });
    }
  };
  endpoint("token", tokenSchema, token);
  endpoint("introspect", introspectionSchema, introspection);
  endpoint("revoke", revocationSchema, revocation);

  async function token(request: FastifyRequest, reply: FastifyReply): Promise<object> {
    const gone = new AbortController();
    reply.raw.once("close", () => gone.abort());
    const form = formOf(request);
    const grant = { request, caller: callerOf(request.socket), form, signal: gone.signal };
    return grantOf(options, grant);
  }

  async function introspection(request: FastifyRequest): Promise<object> {
    return introspect(options, guard, request, formOf(request));
  }

  async function revocation(request: FastifyRequest): Promise<object> {
    await revoke(options, guard, request, formOf(request));
    return {};
  }
}

async function grantOf(options: OAuthRoutesOptions, grant: GrantRequest): Promise<object> {
  switch (grant.form.values.grant_type) {
    case undefined:
      throw new OAuthError("invalid_request", "grant_type is missing");
    case TOKEN_EXCHANGE:
      return tokenExchange(options, grant);
    case JWT_BEARER:
      return naming("invalid_grant", jwtBearer(options, grant));
    case CLIENT_CREDENTIALS:
      return naming("invalid_client", clientCredentials(options, grant));
    default:
      throw new OAuthError("unsupported_grant_type", "the grant_type is not known");
  }
}

/** What a grant calls something that was shown and is not good. */
async function naming<Value>(
  unfit: "invalid_grant" | "invalid_client",
  answer: Promise<Value>,
): Promise<Value> {
  try {
    return await answer;
  } catch (error) {
    throw oauthErrorOf(error, unfit);
  }
}

function formOf({ body }: FastifyRequest): FormParameters {
  return Buffer.isBuffer(body) ? readForm(body) : EMPTY_FORM;
}

// A page can have a browser send a form anywhere, with the certificate of whoever sits before it. Browsers say so in these
// headers, which pages cannot alter; no client of ours sends them.
function requireNoPage({ headers }: FastifyRequest): void {
  const { origin, "sec-fetch-site": site } = headers;
  if (origin === undefined && (site === undefined || site === "none")) return;
  throw new OAuthError("invalid_request", "requests of web pages are not answered");
}

function neverReached(): never {
  throw new AssayError("INTERNAL", "a method passed that is refused before");
}

// The form is read by its own strict reader; the schema is for the API's description.
const unread: FastifySchemaCompiler<unknown> = () => (data: unknown) => ({ value: data });

const OTHER_METHODS = ["GET", "PUT", "PATCH", "DELETE"] as const;
/** Bytes: three tokens of the largest size, and what is around them. */
const MAX_BODY = 64 * 1024;
