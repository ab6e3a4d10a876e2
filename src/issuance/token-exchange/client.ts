import { AssayError, toAssayError } from "../../errors/assay-error.ts";
import { CODES } from "../../errors/codes.ts";
import type { Caller } from "../caller.ts";
import { verifyAttestationProof } from "./attestation-proof.ts";
import type { ExchangeOptions } from "./exchange-options.ts";
import { liveCredential } from "./presented-identity.ts";
import { type Presented, readAssertion, readClientSvid, readWitSvid } from "./presented.ts";

/**
 * How a client shows who it is (draft-ietf-oauth-spiffe-client-auth §3): by a JWT-SVID, by the X509-SVID of its connection,
 * or by a WIT-SVID with a proof of its key. `clientId` is what the request says besides.
 */
export type ClientCredential =
  | {
      readonly method: "spiffe_jwt";
      readonly assertion: string;
      readonly clientId: string | undefined;
    }
  | { readonly method: "spiffe_x509"; readonly clientId: string | undefined }
  | {
      readonly method: "spiffe_wit";
      readonly attestation: string;
      readonly proof: string;
      readonly clientId: string | undefined;
    };

/**
 * The client that a request comes from, its credential verified and not revoked. A JWT-SVID may be shown any number of
 * times, as workloads keep them.
 * @throws AssayError `CLIENT_REFUSED` saying why, for the audit log; `STORE_UNAVAILABLE`.
 */
export async function authenticateClient(
  options: ExchangeOptions,
  caller: Caller,
  credential: ClientCredential,
): Promise<Presented> {
  try {
    const client = await presentedBy(options, caller, credential);
    if (credential.clientId !== undefined && credential.clientId !== client.spiffeId) {
      throw new AssayError("CLIENT_REFUSED", "client_id is not the SPIFFE ID that was shown");
    }
    await liveCredential(options, client);
    return client;
  } catch (thrown) {
    const error = toAssayError(thrown);
    if (error.code === "CLIENT_REFUSED" || CODES[error.code].http >= 500) throw error;
    throw new AssayError("CLIENT_REFUSED", error.detail, { cause: error });
  }
}

async function presentedBy(
  options: ExchangeOptions,
  caller: Caller,
  credential: ClientCredential,
): Promise<Presented> {
  switch (credential.method) {
    case "spiffe_jwt":
      return readAssertion(options, credential.assertion);
    case "spiffe_x509":
      if (caller.svid === undefined)
        throw new AssayError("CLIENT_REFUSED", "the connection shows no X509-SVID");
      return readClientSvid(options, caller.svid);
    case "spiffe_wit": {
      const client = await readWitSvid(options, credential.attestation);
      await verifyAttestationProof(options, client, credential.attestation, credential.proof);
      const { confirmation: _proved, ...proved } = client;
      return proved;
    }
  }
}
