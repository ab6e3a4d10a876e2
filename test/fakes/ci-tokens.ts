import { PRESETS } from "../../src/attestation/task/oidc/presets/all.ts";
import { makeJwk, makeToken } from "./jose-factory.ts";
import { type FactoryKey, type FactoryKeyKind, makeFactoryKey } from "./svid-factory.ts";

/** Seconds at which {@link ciClaims} are issued, unless told otherwise. */
export const CI_NOW = 1_790_000_000;

/** What tokens of {@link ciClaims} are for, where the platform lets one choose. */
export const CI_AUDIENCE = "https://assay.example.org";

/** The names of all platforms, for tables of tests. */
export const CI_PLATFORMS: readonly string[] = [...PRESETS.keys()];

/**
 * The claims of a good token of a platform, those of a job on its main branch, with whatever is to be different;
 * `undefined` takes a claim out.
 */
export function ciClaims(
  platform: string,
  changes: Readonly<Record<string, unknown>> = {},
  now = CI_NOW,
): Record<string, unknown> {
  const preset = PRESETS.get(platform);
  if (preset === undefined) throw new Error(`there is no platform ${platform}`);
  const { issuer, claims } = preset.sample;
  const all = {
    iss: issuer,
    aud: preset.fixedAudience?.(issuer) ?? CI_AUDIENCE,
    iat: now,
    exp: now + 300,
    ...(WITHOUT_NBF.has(platform) ? {} : { nbf: now - (platform === "github-actions" ? 600 : 5) }),
    ...(WITHOUT_JTI.has(platform) ? {} : { jti: `jti-of-${platform}` }),
    ...claims,
    ...changes,
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

/** A platform's issuer: a key, and tokens that are signed with it. */
export class CiIssuer {
  readonly key: FactoryKey;
  readonly keyId: string;
  readonly algorithm: string;

  constructor(kind: FactoryKeyKind = "rsa-2048", keyId = "ci-key-1") {
    this.key = makeFactoryKey(kind, keyId);
    this.keyId = keyId;
    this.algorithm = kind === "ec-p256" ? "ES256" : kind === "ec-p384" ? "ES384" : "RS256";
  }

  /** Its key as a JWK set has it. */
  jwk(members: object = {}): Record<string, unknown> {
    return makeJwk(this.key, { kid: this.keyId, use: "sig", alg: this.algorithm, ...members });
  }

  /** A token of these claims; the header may be different, and the signature another algorithm's. */
  token(claims: object | string, header: object = {}, signAs?: string): string {
    return makeToken({
      key: this.key,
      header: { alg: this.algorithm, kid: this.keyId, typ: "JWT", ...header },
      payload: claims,
      ...(signAs === undefined ? {} : { signAs }),
    });
  }
}

/** A JWK set of these keys. */
export function jwksOf(...keys: readonly object[]): Buffer {
  return Buffer.from(JSON.stringify({ keys }));
}

const WITHOUT_JTI = new Set(["buildkite", "circleci", "jenkins", "codefresh", "bitbucket", "azure-devops"]);
const WITHOUT_NBF = new Set(["jenkins", "circleci"]);
