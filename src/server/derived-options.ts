import { DEFAULT_POLICY, type PolicyOptions } from "../policy/policy-options.ts";
import type { SigningOptions } from "../signing/open-signing.ts";
import type { ServerOptions } from "./options.ts";

/** What signing is told, under the name by which its authorities are journaled. */
export function signingOptions(options: ServerOptions, id: string): SigningOptions {
  const { country, organization } = options.caSubject;
  const refreshHint = options.federation?.bundleEndpoint?.refreshHint;
  return {
    serverId: id,
    caTtlSeconds: options.caTtl,
    caKeyType: options.caKeyType,
    jwtKeyType: options.jwtKeyType,
    caSubject: { organization, ...(country !== undefined && { country }) },
    ...(options.jwtIssuer !== undefined && { jwtIssuer: options.jwtIssuer }),
    rs256: options.rs256Audiences.length > 0,
    wit: options.features.includes("wit-svid"),
    ...(options.caPathLength !== undefined && { caPathLength: options.caPathLength }),
    ...(refreshHint !== undefined && { refreshHintSeconds: refreshHint }),
    ...(options.caNameConstraints !== undefined && { caNameConstraints: options.caNameConstraints }),
  };
}

/** What policy is told. */
export function policyOptions(options: ServerOptions): PolicyOptions {
  return {
    ...DEFAULT_POLICY,
    defaultX509SvidTtl: options.defaultX509SvidTtl,
    maxX509SvidTtl: options.maxX509SvidTtl,
    defaultJwtSvidTtl: options.defaultJwtSvidTtl,
    maxJwtSvidTtl: options.maxJwtSvidTtl,
    defaultWitSvidTtl: options.defaultWitSvidTtl,
    maxWitSvidTtl: options.maxWitSvidTtl,
    defaultAccessTokenTtl: options.defaultAccessTokenTtl,
    maxAccessTokenTtl: options.maxAccessTokenTtl,
    agentTtl: options.agentTtl,
    rs256Audiences: new Set(options.rs256Audiences),
    witProofOfPossession: options.witProofOfPossession,
  };
}
