import { randomInt, randomUUID } from "node:crypto";
import { type Clock, unixSeconds } from "../clock.ts";
import { JWS_ALGORITHMS, signJws } from "../crypto/jose/compact-jws.ts";
import { AssayError } from "../errors/assay-error.ts";
import { type MockClaims, mockIssuer, type MockPlatform, presetOf } from "./ci-mock-platforms.ts";
import type { MockKey } from "./ci-mock-place.ts";

/** A run of an imitated platform. */
export interface MockRun {
  /** What all its tokens say. */
  readonly claims: MockClaims;
  /** A new token, for this audience where the platform lets one choose. */
  readonly token: (audience: string) => string;
}

/**
 * Begins a run: the claims of a job on its main branch with a name of its own, and whatever is to be different.
 * @param changes Each `name=value`, or `name` to take a claim out.
 * @throws AssayError `USAGE` for a change that is none.
 */
export function beginMockRun(
  platform: MockPlatform,
  { key, keyId }: MockKey,
  changes: readonly string[],
  clock: Clock,
): MockRun {
  const preset = presetOf(platform);
  const sample = preset.sample.claims;
  const fresh = platform.fresh(randomUUID, () => `${randomInt(1_000_000_000, 99_999_999_999)}`);
  const changed = Object.fromEntries(changes.map((change) => changeOf(change, sample)));
  const issuer = mockIssuer(platform);
  const claims = { ...sample, ...fresh };
  return {
    claims: present({ ...claims, ...changed }),
    token(audience) {
      const now = unixSeconds(clock);
      const payload = present({
        iss: issuer,
        aud: preset.fixedAudience?.(issuer) ?? audience,
        iat: now,
        nbf: now - 5,
        exp: now + platform.lifetime,
        ...(platform.jti ? { jti: randomUUID() } : {}),
        ...claims,
        ...changed,
      });
      const header = base64url({ alg: ALGORITHM, kid: keyId, typ: "JWT" });
      const input = `${header}.${base64url(payload)}`;
      return `${input}.${Buffer.from(signJws(algorithm(), Buffer.from(input), key)).toString("base64url")}`;
    },
  };
}

function changeOf(change: string, sample: MockClaims): readonly [string, unknown] {
  const at = change.indexOf("=");
  const name = at < 0 ? change : change.slice(0, at);
  if (name === "")
    throw new AssayError("USAGE", `--claim: expected name=value, got ${JSON.stringify(change)}`);
  if (at < 0) return [name, undefined];
  const value = change.slice(at + 1);
  // Platforms write numbers as text, so a claim keeps the form that it has in their tokens.
  return [name, typeof sample[name] === "string" ? value : parsed(value)];
}

function parsed(value: string): unknown {
  try {
    return JSON.parse(value) as unknown;
  } catch {
    return value;
  }
}

function present(claims: MockClaims): MockClaims {
  return Object.fromEntries(Object.entries(claims).filter(([, value]) => value !== undefined));
}

function base64url(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

function algorithm() {
  const found = JWS_ALGORITHMS.get(ALGORITHM);
  if (found === undefined) throw new AssayError("INTERNAL", `there is no ${ALGORITHM}`);
  return found;
}

const ALGORITHM = "RS256";
