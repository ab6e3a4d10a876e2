import { z } from "zod";

const errorSchema = z
  .object({
    error: z.string().describe("Name of the error, as its RFC has it"),
    error_description: z.string().describe("What is wrong, in words"),
  })
  .meta({ id: "OAuthError", description: "An error (RFC 6749 §5.2)" });

const errors = { 400: errorSchema, 401: errorSchema, 413: errorSchema, 429: errorSchema, 503: errorSchema };

function about(summary: string, description: string) {
  return {
    tags: ["oauth"],
    summary,
    description,
    consumes: ["application/x-www-form-urlencoded"],
  };
}

const client = {
  client_id: z.string().optional().describe("The client's SPIFFE ID"),
  client_assertion_type: z
    .string()
    .optional()
    .describe("`urn:ietf:params:oauth:client-assertion-type:jwt-spiffe`"),
  client_assertion: z.string().optional().describe("A JWT-SVID whose one audience is the issuer"),
};

/** What the API's description says of the token endpoint. */
export const tokenSchema = {
  ...about(
    "Exchange evidence or an SVID for an access token",
    "Token exchange (RFC 8693), JWT assertions (RFC 7523) and client credentials, bound by DPoP (RFC 9449) or mTLS (RFC 8705).",
  ),
  body: z.object({
    grant_type: z.string(),
    subject_token: z.string().optional(),
    subject_token_type: z.string().optional(),
    actor_token: z.string().optional(),
    actor_token_type: z.string().optional(),
    requested_token_type: z.string().optional(),
    assertion: z.string().optional(),
    audience: z.string().optional().describe("What the token is for, at most one of it and `resource`"),
    resource: z.string().optional().describe("The same as an absolute URI"),
    scope: z.string().optional().describe("`task` for the task API, else absent"),
    ...client,
  }),
  response: {
    200: z
      .looseObject({
        access_token: z.string(),
        token_type: z.string().describe("`DPoP`, or `Bearer` for a token that is bound to a certificate"),
        expires_in: z.int().describe("Seconds"),
        issued_token_type: z.string().optional(),
        scope: z.string().optional(),
      })
      .meta({ id: "TokenAnswer", description: "An access token; with a `task` where one was opened" }),
    ...errors,
  },
};

/** What the API's description says of the introspection endpoint. */
export const introspectionSchema = {
  ...about(
    "Ask whether a token is good now",
    "Introspection (RFC 7662), for operators and authenticated clients.",
  ),
  body: z.object({ token: z.string(), token_type_hint: z.string().optional(), ...client }),
  response: {
    200: z
      .looseObject({ active: z.boolean() })
      .meta({ id: "Introspection", description: "RFC 7662 §2.2, with `cnf`, `act`, `status` and `task`" }),
    ...errors,
  },
};

/** What the API's description says of the revocation endpoint. */
export const revocationSchema = {
  ...about(
    "Revoke a token and what was exchanged for it",
    "Revocation (RFC 7009), for the token's holder and operators. The access token of a task ends the task.",
  ),
  body: z.object({ token: z.string(), token_type_hint: z.string().optional(), ...client }),
  response: { 200: z.object({}).describe("It is good no more, or never was"), ...errors },
};
