import { parseJwtSvidInsecure } from "../crypto/jose/jwt-svid-verify.ts";
import { facts, timeText } from "./table.ts";
import type { BundleView, X509SvidView } from "./workload-client.ts";

/** An X509-SVID for people: who, until when, by which authority. Never shows the key. */
export function x509SvidText(svid: X509SvidView): string {
  const count = svid.chain.length;
  return facts([
    ["SPIFFE ID", svid.spiffe_id],
    ...(svid.hint === "" ? [] : ([["Hint", svid.hint]] as const)),
    ["Valid", `${svid.not_before} to ${svid.not_after}`],
    ["Serial", svid.serial],
    ["Chain", `${count} certificate${count === 1 ? "" : "s"} below an authority of the bundle`],
    ["Authority", svid.authority],
    ...(svid.dns_names.length === 0 ? [] : ([["DNS names", svid.dns_names]] as const)),
  ]);
}

/** What a JWT-SVID says, for people, without the JWT-SVID itself. */
export function jwtSvidText(spiffeId: string, hint: string, jwtSvid: string): string {
  const { audience, expiresAt, keyId } = parseJwtSvidInsecure(jwtSvid);
  return facts([
    ["SPIFFE ID", spiffeId],
    ...(hint === "" ? [] : ([["Hint", hint]] as const)),
    ["Audience", audience],
    ["Expires", timeText(expiresAt)],
    ["Authority", keyId],
  ]);
}

/** Bundles for people: how many authorities of which trust domain. */
export function bundlesText(bundles: readonly BundleView[]): string {
  if (bundles.length === 0) return "no bundles";
  return bundles
    .map(({ trust_domain, x509_authorities, jwt_authorities }) =>
      facts([
        ["Trust domain", trust_domain],
        [
          "X.509 authorities",
          x509_authorities.map(({ subject_key_id, expires_at }) => `${subject_key_id}  until ${expires_at}`),
        ],
        ["JWT authorities", jwt_authorities.keys.map(({ kid = "" }) => kid)],
      ]),
    )
    .join("\n\n");
}
