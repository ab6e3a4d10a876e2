import type { FastifyRequest } from "fastify";
import { authenticateClient } from "../../issuance/token-exchange/client.ts";
import { revokeToken } from "../../issuance/token-exchange/revoke-token.ts";
import type { OperatorGuard } from "../web/operator-guard.ts";
import { clientCredentialOf } from "./client-credential.ts";
import type { FormParameters } from "./form-parameters.ts";
import { heldBy } from "./held.ts";
import { OAuthError } from "./oauth-error.ts";
import type { OAuthRoutesOptions } from "./oauth-options.ts";

/**
 * Revokes a token, and with it what was exchanged for it (RFC 7009 §2): for its holder, who proves the key or certificate
 * that it is bound to or to be its subject, and for operators. `token_type_hint` is not needed: a token says what it is.
 */
export async function revoke(
  options: OAuthRoutesOptions,
  guard: OperatorGuard,
  request: FastifyRequest,
  form: FormParameters,
): Promise<void> {
  const { exchange, callerOf } = options;
  const credential = clientCredentialOf(request, form);
  const caller = callerOf(request.socket);
  const held = await heldBy(options, request, caller);
  const isOperator = credential === undefined && guard.isOperator(request);
  const shown =
    credential ??
    (held.x5tS256 === undefined ? undefined : ({ method: "spiffe_x509", clientId: undefined } as const));
  const client =
    shown === undefined || isOperator ? undefined : await authenticateClient(exchange, caller, shown);
  if (!isOperator && client === undefined && held.jkt === undefined) {
    throw new OAuthError("invalid_client", "the client shows neither a credential nor a DPoP proof");
  }
  const { token } = form.values;
  if (token === undefined) throw new OAuthError("invalid_request", "token is missing");
  const { method, requestId } = guard.callOf(request);
  const facts = { method, ...(requestId !== undefined && { request_id: requestId }) };
  await revokeToken(exchange, caller, token, { isOperator, client, held }, facts);
}
