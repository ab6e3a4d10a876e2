import type { KeyObject } from "node:crypto";
import { unixSeconds } from "../../clock.ts";
import { dateClaim, splitCompactJws, verifyCompactJws } from "../../crypto/jose/compact-jws.ts";
import { spkiThumbprint } from "../../crypto/jose/thumbprint.ts";
import { parseWitSvidInsecure } from "../../crypto/jose/wit-svid-verify.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { ExchangeOptions } from "./exchange-options.ts";
import type { Presented } from "./presented.ts";

/**
 * Verifies that who shows a WIT-SVID as client attestation holds its key and means this server, just now
 * (draft-ietf-oauth-attestation-based-client-auth §5.2): `typ: oauth-client-attestation-pop+jwt`, by the algorithm that the
 * WIT-SVID names, `aud` the issuer alone, `iat` of the last minute, `jti` new, `iss` the client where it is there.
 * @param client What the WIT-SVID says, verified before.
 * @throws AssayError `INVALID_PROOF`; the detail never holds any part of the proof but names of members.
 */
export async function verifyAttestationProof(
  { clock, issuer, isNewProof }: Pick<ExchangeOptions, "clock" | "issuer" | "isNewProof">,
  client: Presented,
  witSvid: string,
  proof: string,
): Promise<void> {
  const { confirmationKey, confirmationAlgorithm } = parseWitSvidInsecure(witSvid);
  const jws = splitCompactJws(proof, {
    code: CODE,
    types: ["oauth-client-attestation-pop+jwt"],
    typeOptional: false,
    algorithms: [confirmationAlgorithm.name],
    maxCharacters: 8192,
  });
  await verifyCompactJws(jws, confirmationKey, CODE);
  const { iss, aud, jti } = jws.payload;
  if (iss !== undefined && iss !== client.spiffeId) fail("iss must be the SPIFFE ID of the WIT-SVID");
  const audience: unknown = Array.isArray(aud) && aud.length === 1 ? aud[0] : aud;
  if (audience !== issuer) fail("aud must be the issuer and nobody else");
  const now = unixSeconds(clock);
  const issuedAt = dateClaim(jws.payload, "iat", CODE) ?? fail("iat is missing");
  if (!(issuedAt >= now - MAX_AGE_SECONDS)) fail("proof is too old");
  if (!(issuedAt <= now + LEEWAY_SECONDS)) fail("proof is from the future");
  const expiresAt = dateClaim(jws.payload, "exp", CODE);
  if (expiresAt !== undefined && !(now < expiresAt)) fail("proof has expired");
  if (typeof jti !== "string" || !JTI.test(jti)) return fail("jti must be 1 to 256 visible ASCII characters");
  // By the key: another WIT-SVID for the same one makes no new proof of an old one.
  const id = `${spkiThumbprint(spkiOf(confirmationKey))} ${jti}`;
  if (!isNewProof(id, issuedAt, client.spiffeId)) fail("proof was used before");
}

function spkiOf(key: KeyObject): Uint8Array {
  return key.export({ format: "der", type: "spki" });
}

function fail(detail: string): never {
  throw new AssayError(CODE, detail);
}

const CODE = "INVALID_PROOF";
/** How old a proof may be, in seconds. */
const MAX_AGE_SECONDS = 60;
const LEEWAY_SECONDS = 5;
const JTI = /^[\x21-\x7e]{1,256}$/;
