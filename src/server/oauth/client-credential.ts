import type { FastifyRequest } from "fastify";
import type { ClientCredential } from "../../issuance/token-exchange/client.ts";
import type { FormParameters } from "./form-parameters.ts";
import { OAuthError } from "./oauth-error.ts";

/** The methods by which a client shows who it is, as metadata names them (draft-ietf-oauth-spiffe-client-auth §3). */
export const CLIENT_METHODS = ["spiffe_jwt", "spiffe_x509", "spiffe_wit"] as const;

/** `client_assertion_type` of JWT-SVIDs. */
export const JWT_SPIFFE = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";

/**
 * What a request says of its client: a JWT-SVID in the form, a WIT-SVID in its headers, or by a SPIFFE ID as `client_id`
 * the X509-SVID of the connection; `undefined` where it says nothing. A `client_id` that is no SPIFFE ID names nobody here.
 * @throws OAuthError `invalid_request` for more than one method (RFC 6749 §2.3), `invalid_client` for one that is not
 * known.
 */
export function clientCredentialOf(
  { headers }: FastifyRequest,
  { values }: FormParameters,
): ClientCredential | undefined {
  if (headers.authorization !== undefined || values.client_secret !== undefined) {
    throw new OAuthError("invalid_client", `clients authenticate by ${CLIENT_METHODS.join(", ")} alone`);
  }
  const { client_assertion: assertion, client_assertion_type: type, client_id: clientId } = values;
  const attestation = single(headers[ATTESTATION], "OAuth-Client-Attestation");
  const proof = single(headers[PROOF], "OAuth-Client-Attestation-PoP");
  const hasAssertion = assertion !== undefined || type !== undefined;
  const hasAttestation = attestation !== undefined || proof !== undefined;
  if (hasAssertion && hasAttestation) {
    throw new OAuthError("invalid_request", "the client authenticates in more than one way");
  }
  if (hasAssertion) {
    if (type !== JWT_SPIFFE)
      throw new OAuthError("invalid_client", `client_assertion_type must be ${JWT_SPIFFE}`);
    if (assertion === undefined) throw new OAuthError("invalid_client", "client_assertion is missing");
    return { method: "spiffe_jwt", assertion, clientId };
  }
  if (hasAttestation) {
    if (attestation === undefined || proof === undefined) {
      throw new OAuthError("invalid_client", "a client attestation and its proof come together");
    }
    return { method: "spiffe_wit", attestation, proof, clientId };
  }
  return clientId?.startsWith("spiffe://") === true ? { method: "spiffe_x509", clientId } : undefined;
}

function single(value: string | readonly string[] | undefined, name: string): string | undefined {
  if (value === undefined) return undefined;
  // Node joins the values of equal headers by commas, and no compact JWS has one.
  if (typeof value === "string" && !value.includes(",")) return value;
  throw new OAuthError("invalid_request", `${name} must be there once`);
}

const ATTESTATION = "oauth-client-attestation";
const PROOF = "oauth-client-attestation-pop";
