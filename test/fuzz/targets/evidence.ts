import { generateKeyPairSync } from "node:crypto";
import { type RunConditions, judgeClaims } from "../../../src/attestation/task/oidc/judge-claims.ts";
import { githubActions } from "../../../src/attestation/task/oidc/presets/github-actions.ts";
import { gitlab } from "../../../src/attestation/task/oidc/presets/gitlab.ts";
import { kubernetes } from "../../../src/attestation/task/oidc/presets/kubernetes.ts";
import { parseOidcKeys } from "../../../src/crypto/jose/oidc-token-keys.ts";
import { claimedIssuer, verifyOidcToken } from "../../../src/crypto/jose/oidc-token.ts";
import { parseJsonObject } from "../../../src/crypto/jose/strict-json.ts";
import { formatSelector, selectorOf } from "../../../src/spiffe/selector.ts";
import { type FuzzTarget, refuses, refusesLater } from "../fuzzer.ts";

// Nobody in the corpus has the private half, so that a token which verifies is a finding.
const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const NOW = 1_790_000_000;
const ISSUER = githubActions.sample.issuer;
const segment = (value: string) => Buffer.from(value).toString("base64url");

/** Tokens of CI platforms, as anybody sends them to open a task. */
const oidcToken: FuzzTarget = {
  name: "oidc-token",
  dictionary: [
    ".",
    "=",
    ...[
      '{"alg":"none"}',
      '{"alg":"HS256","kid":"k"}',
      '{"alg":"RS256","kid":"k","jku":"https://x/"}',
      `{"iss":"${ISSUER}","aud":["a","b"],"iat":1,"exp":2}`,
      `{"iss":"${ISSUER}","aud":"a","iat":1790000000,"exp":1e400}`,
      `{"iss":"${ISSUER}","iss":"x","aud":"a","iat":1790000000,"exp":1790000100}`,
    ].map(segment),
  ],
  async run(input) {
    const token = input.toString("latin1");
    claimedIssuer(token);
    const facts = await refusesLater(["ATTESTATION_FAILED"], () =>
      verifyOidcToken(token, {
        issuer: ISSUER,
        audience: "a",
        algorithms: ["RS256", "PS256", "ES256", "ES384"],
        now: NOW,
        maxAge: 600,
        maxLifetime: 3600,
        keysFor: async () => [{ publicKey }],
      }),
    );
    if (facts !== undefined) throw new Error("verified with a key that did not sign it");
  },
};

/** Claims of tokens whose signature is good: a platform may sign what a job's author wrote. */
const oidcClaims: FuzzTarget = {
  name: "oidc-claims",
  dictionary: [
    '"":',
    "null",
    "[]",
    "{}",
    '"\\ud800"',
    '"\\u000a"',
    '"repo_property_a:b":',
    "1e400",
    "-1",
    "true",
  ],
  run(input) {
    const claims = parseJsonObject(input);
    if (typeof claims === "string") return;
    for (const preset of [githubActions, gitlab, kubernetes]) {
      const conditions: RunConditions = { preset, issuer: preset.sample.issuer, allow: new Map() };
      const run = refuses(["ATTESTATION_FAILED"], () => judgeClaims(conditions, claims));
      if (run === undefined) continue;
      const all = new Set(run.selectors.map((one) => formatSelector(selectorOf(one.type, one.value))));
      if (!run.guarded.every((one) => all.has(formatSelector(one))))
        throw new Error("guards what is not there");
      if (run.authoredClaims.some((name) => !Object.hasOwn(run.claims, name)))
        throw new Error("no such claim");
      if (!/^(?:[^/]+\/){2,}$/.test(run.taskKey)) throw new Error("a task key that is no path");
    }
  },
};

/** Key sets of issuers. */
const oidcKeys: FuzzTarget = {
  name: "oidc-keys",
  dictionary: [
    '"kid":"k"',
    '"use":"enc"',
    '"key_ops":["sign"]',
    '"d":"AQ"',
    '"kty":"oct"',
    '"crv":"P-384"',
    "{}",
  ],
  run(input) {
    const keys = refuses(["INVALID_BUNDLE"], () => parseOidcKeys(input));
    for (const same of keys?.values() ?? []) {
      if (same.some((key) => key.publicKey.type !== "public")) throw new Error("a key that is not public");
    }
  },
};

export const evidenceTargets: readonly FuzzTarget[] = [oidcToken, oidcClaims, oidcKeys];
