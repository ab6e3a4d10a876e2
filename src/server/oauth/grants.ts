import type { FastifyRequest } from "fastify";
import type { Caller } from "../../issuance/caller.ts";
import {
  type ExchangedToken,
  exchangeToken,
  type TokenRequest,
} from "../../issuance/token-exchange/exchange-token.ts";
import { taskAudience } from "../../issuance/token-exchange/exchange-options.ts";
import { issueTaskToken, TASK_SCOPE } from "../../issuance/token-exchange/task-token.ts";
import { ownTaskToJson } from "../tasks/task-json.ts";
import { clientCredentialOf } from "./client-credential.ts";
import type { FormParameters } from "./form-parameters.ts";
import { heldBy } from "./held.ts";
import { OAuthError } from "./oauth-error.ts";
import type { OAuthRoutesOptions } from "./oauth-options.ts";
import { targetOf } from "./targets.ts";

/** One request to the token endpoint. */
export interface GrantRequest {
  readonly request: FastifyRequest;
  readonly caller: Caller;
  readonly form: FormParameters;
  /** Aborted when the client goes away. */
  readonly signal: AbortSignal;
}

/** A successful answer (RFC 6749 §5.1, RFC 8693 §2.2.1). */
export interface TokenAnswer {
  readonly access_token: string;
  readonly token_type: "DPoP" | "Bearer";
  readonly expires_in: number;
  readonly issued_token_type?: string;
  readonly scope?: string;
  readonly task?: unknown;
}

/** Token exchange (RFC 8693): a platform's token for a task, or a token of ours for one of another audience. */
export async function tokenExchange(options: OAuthRoutesOptions, grant: GrantRequest): Promise<TokenAnswer> {
  const { values } = grant.form;
  const token = required(grant.form, "subject_token");
  const type = required(grant.form, "subject_token_type");
  const { requested_token_type: wanted, actor_token: actor, actor_token_type: actorType } = values;
  if (wanted !== undefined && wanted !== ACCESS_TOKEN) {
    throw new OAuthError("invalid_request", `requested_token_type must be ${ACCESS_TOKEN}`);
  }
  if ((actor === undefined) !== (actorType === undefined)) {
    throw new OAuthError("invalid_request", "actor_token and actor_token_type come together");
  }
  if (actorType !== undefined && actorType !== JWT) {
    throw new OAuthError("invalid_request", `actor_token_type must be ${JWT}`);
  }
  const target = targetOf(grant.form);
  const answer =
    target === undefined || target === taskAudience(options.exchange.issuer)
      ? await openTask(options, grant, token, type)
      : await issue(options, grant, target, { form: formOf(type), token }, actor);
  return { ...answer, issued_token_type: ACCESS_TOKEN };
}

/** An assertion as grant (RFC 7523 §2.1): a JWT-SVID made for this server. */
export async function jwtBearer(options: OAuthRoutesOptions, grant: GrantRequest): Promise<TokenAnswer> {
  const token = required(grant.form, "assertion");
  return issue(options, grant, requiredTarget(grant.form), { form: "assertion", token });
}

/** The client for itself (RFC 6749 §4.4). */
export async function clientCredentials(
  options: OAuthRoutesOptions,
  grant: GrantRequest,
): Promise<TokenAnswer> {
  if (clientCredentialOf(grant.request, grant.form) === undefined) {
    throw new OAuthError("invalid_client", "the client shows no credential");
  }
  return issue(options, grant, requiredTarget(grant.form), { form: "client" });
}

async function issue(
  options: OAuthRoutesOptions,
  { request, caller, form }: GrantRequest,
  audience: string,
  subject: TokenRequest["subject"],
  actor?: string,
): Promise<TokenAnswer> {
  const client = clientCredentialOf(request, form);
  if (form.values.scope !== undefined) {
    throw new OAuthError("invalid_scope", "no scope is given to exchanged tokens");
  }
  const held = await heldBy(options, request, caller);
  const issued = await exchangeToken(options.exchange, caller, { subject, actor, client, audience, held });
  return answerOf(issued);
}

function answerOf({ token, confirmation, expiresAt, issuedAt }: ExchangedToken): TokenAnswer {
  return {
    access_token: token,
    // RFC 8705 §3 gives tokens that are bound to a certificate no type of their own.
    token_type: "jkt" in confirmation ? "DPoP" : "Bearer",
    expires_in: expiresAt - issuedAt,
  };
}

async function openTask(
  options: OAuthRoutesOptions,
  { request, caller, form, signal }: GrantRequest,
  token: string,
  type: string,
): Promise<TokenAnswer> {
  const { exchange, dpop } = options;
  const { values, targets } = form;
  if (options.openTask === undefined) {
    throw new OAuthError(
      targets.length > 0 ? "invalid_target" : "invalid_request",
      "audience or resource is expected: this server opens no tasks",
    );
  }
  if (type !== JWT && type !== ID_TOKEN) {
    throw new OAuthError("invalid_request", `subject_token_type of a task must be ${JWT} or ${ID_TOKEN}`);
  }
  if (values.actor_token !== undefined) {
    throw new OAuthError("invalid_request", "nobody acts for a task: actor_token is not expected");
  }
  if (values.scope !== undefined && values.scope !== TASK_SCOPE) {
    throw new OAuthError("invalid_scope", `the one scope of a task is ${TASK_SCOPE}`);
  }
  const keyThumbprint = await dpop.admit(request);
  const { task, identities } = await options.openTask(caller, { token, keyThumbprint, signal });
  const issued = await issueTaskToken(exchange, caller, task);
  return {
    access_token: issued.token,
    token_type: "DPoP",
    expires_in: issued.expiresAt - issued.issuedAt,
    scope: TASK_SCOPE,
    task: ownTaskToJson(task, identities),
  };
}

function formOf(type: string): "jwt" | "access_token" {
  switch (type) {
    case JWT:
      return "jwt";
    case ACCESS_TOKEN:
      return "access_token";
    default:
      throw new OAuthError("invalid_request", `subject_token_type must be ${JWT} or ${ACCESS_TOKEN}`);
  }
}

function required(form: FormParameters, name: "subject_token" | "subject_token_type" | "assertion"): string {
  const value = form.values[name];
  if (value === undefined) throw new OAuthError("invalid_request", `${name} is missing`);
  return value;
}

function requiredTarget(form: FormParameters): string {
  const target = targetOf(form);
  if (target === undefined) throw new OAuthError("invalid_target", "audience or resource is missing");
  return target;
}

const JWT = "urn:ietf:params:oauth:token-type:jwt";
const ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token";
const ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token";
