import type { OidcPreset } from "../preset.ts";

/**
 * Spacelift. The audience is the account's host name, whoever asks. One run plans first and applies later with another
 * `scope`: two levels of trust, so each is a task of its own. `scope` is advisory; the type of the run is what counts.
 */
export const spacelift: OidcPreset = {
  name: "spacelift",
  title: "Spacelift",
  selectorType: "spacelift",
  issuers: [
    {
      pattern: /^https:\/\/[a-z0-9-]+\.app(?:\.[a-z]+)?\.spacelift\.io$/,
      example: "https://ACCOUNT.app.spacelift.io",
      shared: false,
    },
    { pattern: /^https:\/\/[^/]+(?:\/.*)?$/, example: "https://OWN-SPACELIFT", shared: false },
  ],
  fixedAudience: (issuer) => new URL(issuer).host,
  claims: [
    { claim: "spaceId", name: "space_id", kind: "id", selector: "space-id", required: true },
    { claim: "callerType", name: "caller_type", selector: "caller-type", required: true },
    { claim: "callerId", name: "caller_id", kind: "id", selector: "caller-id", required: true },
    { claim: "runType", name: "run_type", selector: "run-type", required: true },
    { claim: "runId", name: "run_id", kind: "id", required: true },
    { claim: "scope", name: "scope", selector: "scope", required: true },
  ],
  tenantIds: ["space_id", "caller_id"],
  runNames: { job: ["run_id", "scope"] },
  // PROPOSED runs what a pull request wrote, TESTING a module's tests, TASK what a person typed.
  guarded: [{ claim: "run_type", except: ["TRACKED", "DESTROY"] }],
  maxTokenAge: 3600,
  maxTokenLifetime: 7200,
  description: "{caller_type} {caller_id} {run_type} run {run_id}",
  sample: {
    issuer: "https://acme.app.spacelift.io",
    claims: {
      sub: "space:legacy-01:stack:shop:run_type:TRACKED:scope:write",
      spaceId: "legacy-01",
      callerType: "stack",
      callerId: "shop",
      runType: "TRACKED",
      runId: "01GNKNZD0MX2QRT5MV9VJJ4Q1R",
      scope: "write",
    },
  },
};
