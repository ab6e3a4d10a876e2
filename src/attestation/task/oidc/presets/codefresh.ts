import type { OidcPreset } from "../preset.ts";

/** Codefresh, hosted and on premises. */
export const codefresh: OidcPreset = {
  name: "codefresh",
  title: "Codefresh",
  selectorType: "codefresh",
  issuers: [
    { pattern: /^https:\/\/oidc\.codefresh\.io$/, example: "https://oidc.codefresh.io", shared: true },
    { pattern: /^https:\/\/[^/]+(?:\/.*)?$/, example: "https://OWN-CODEFRESH", shared: false },
  ],
  defaultIssuer: "https://oidc.codefresh.io",
  commonAudiences: [/^https:\/\/g\.codefresh\.io\/?$/],
  claims: [
    { claim: "account_id", name: "account_id", kind: "id", selector: "account-id", required: true },
    { claim: "account_name", name: "account" },
    { claim: "pipeline_id", name: "pipeline_id", kind: "id", selector: "pipeline-id", required: true },
    { claim: "pipeline_name", name: "pipeline" },
    { claim: "workflow_id", name: "workflow_id", kind: "id", required: true },
    { claim: "initiator", name: "initiator", selector: "initiator" },
    { claim: "scm_user_name", name: "scm_user", authored: true },
    { claim: "scm_repo_url", name: "scm_repo_url", selector: "scm-repo-url" },
    { claim: "scm_ref", name: "scm_ref", selector: "scm-ref", authored: true },
    { claim: "scm_pull_request_target_branch", name: "pull_request_target" },
    { claim: "runner_environment", name: "runner_environment", selector: "runner" },
    { claim: "platform_url", name: "platform_url" },
  ],
  derived: [
    {
      name: "pull_request",
      selector: "pull-request",
      from: (claim) => String(claim("pull_request_target") !== undefined),
    },
  ],
  tenantIds: ["account_id", "pipeline_id"],
  runNames: { job: ["workflow_id"] },
  guarded: [{ claim: "pull_request", except: ["false"] }],
  maxTokenAge: 600,
  maxTokenLifetime: 7200,
  description: "{account} {pipeline} build {workflow_id}",
  sample: {
    issuer: "https://oidc.codefresh.io",
    claims: {
      sub: "account:5672d8deb6724b6e359adf62:pipeline:64f09f4a1c0b0a0f3b7e0001:scm_repo_url:https://github.com/acme/shop:scm_user_name:octocat:scm_ref:main",
      account_id: "5672d8deb6724b6e359adf62",
      account_name: "acme",
      pipeline_id: "64f09f4a1c0b0a0f3b7e0001",
      pipeline_name: "shop/deploy",
      workflow_id: "64f0a3f71c0b0a0f3b7e0002",
      initiator: "manual",
      scm_user_name: "octocat",
      scm_repo_url: "https://github.com/acme/shop",
      scm_ref: "main",
      runner_environment: "hybrid",
      platform_url: "https://g.codefresh.io",
    },
  },
};
