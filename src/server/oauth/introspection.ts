import type { FastifyRequest } from "fastify";
import { authenticateClient } from "../../issuance/token-exchange/client.ts";
import { type ActiveToken, activeToken } from "../../issuance/token-exchange/token-state.ts";
import type { OperatorGuard } from "../web/operator-guard.ts";
import { clientCredentialOf } from "./client-credential.ts";
import type { FormParameters } from "./form-parameters.ts";
import { OAuthError } from "./oauth-error.ts";
import type { OAuthRoutesOptions } from "./oauth-options.ts";

/**
 * What is known of a token now (RFC 7662 §2.2), for operators and for clients that say who they are; `active: false` and
 * nothing else for one that is not good, for whatever reason.
 */
export async function introspect(
  options: OAuthRoutesOptions,
  guard: OperatorGuard,
  request: FastifyRequest,
  form: FormParameters,
): Promise<object> {
  const { exchange, callerOf } = options;
  const credential = clientCredentialOf(request, form);
  const caller = callerOf(request.socket);
  if (credential !== undefined || !guard.isOperator(request)) {
    const shown = credential ?? { method: "spiffe_x509", clientId: undefined };
    await authenticateClient(exchange, caller, shown);
  }
  const { token } = form.values;
  if (token === undefined) throw new OAuthError("invalid_request", "token is missing");
  const active = await activeToken(exchange, token);
  return active === undefined ? { active: false } : answerOf(active);
}

function answerOf({ token, task }: ActiveToken): object {
  const { claims, confirmation, spiffeId, issuedAt, expiresAt } = token;
  const [audience, ...more] = token.audience;
  return {
    active: true,
    sub: spiffeId,
    client_id: text(claims["client_id"]) ?? spiffeId,
    exp: expiresAt,
    ...(issuedAt > 0 && { iat: issuedAt }),
    ...(audience !== undefined && { aud: more.length === 0 ? audience : token.audience }),
    ...present("iss", claims["iss"]),
    ...present("jti", claims["jti"]),
    ...present("scope", claims["scope"]),
    ...present("cnf", claims["cnf"]),
    ...present("act", claims["act"]),
    ...present("status", claims["status"]),
    ...(token.kind === "access_token" && {
      token_type: confirmation !== undefined && "jkt" in confirmation ? "DPoP" : "Bearer",
    }),
    ...(task !== undefined && { task: { id: task.id, platform: task.platform } }),
  };
}

function present(name: string, value: unknown): object {
  return value === undefined ? {} : { [name]: value };
}

function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}
