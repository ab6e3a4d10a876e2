import { parseJwtSvidInsecure } from "../crypto/jose/jwt-svid-verify.ts";
import { facts, timeText } from "./table.ts";
import type { X509SvidView } from "./workload-client.ts";

/** An X509-SVID for people: who, until when, by which authority. Never shows the key. */
export function x509SvidText(svid: X509SvidView): string {
  return facts([
    ["SPIFFE ID", svid.spiffe_id],
    ...(svid.hint === "" ? [] : ([["Hint", svid.hint]] as const)),
    ["Valid", `${svid.not_before} to ${svid.not_after}`],
    ["Serial", svid.serial],
    ["Chain", `${svid.chain.length} certificate${svid.chain.length === 1 ? "" : "s"} below an authority of the bundle`],
    ["Authority", svid.authority],
    ...(svid.dns_names.length === 0 ? [] : ([["DNS names", svid.dns_names]] as const)),
  ]);
}

/** A JWT-SVID for people, without the token itself. */
export function jwtSvidText(spiffeId: string, token: string): string {
  const { audience, expiresAt, keyId } = parseJwtSvidInsecure(token);
  return facts([
    ["SPIFFE ID", spiffeId],
    ["Audience", audience],
    ["Expires", timeText(expiresAt)],
    ["Authority", keyId],
  ]);
}
