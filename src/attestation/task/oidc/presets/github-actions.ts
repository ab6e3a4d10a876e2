import type { OidcPreset } from "../preset.ts";
import { githubWebhook } from "../webhooks/github.ts";

/**
 * GitHub Actions: github.com, an enterprise's own issuer there, GHE.com and GitHub Enterprise Server. `sub` is not read:
 * a repository's admin chooses what is in it. Names of owners and repositories can be registered by others once they are
 * free, so they are no selectors.
 */
export const githubActions: OidcPreset = {
  name: "github-actions",
  title: "GitHub Actions",
  selectorType: "github",
  issuers: [
    {
      pattern: /^https:\/\/token\.actions\.githubusercontent\.com(?:\/[A-Za-z0-9][A-Za-z0-9_-]*)?$/,
      example: "https://token.actions.githubusercontent.com",
      shared: true,
    },
    {
      pattern: /^https:\/\/token\.actions\.[a-z0-9-]+\.ghe\.com$/,
      example: "https://token.actions.SUBDOMAIN.ghe.com",
      shared: false,
    },
    {
      pattern: /^https:\/\/[^/]+\/_services\/token$/,
      example: "https://GHES-HOST/_services/token",
      shared: false,
    },
  ],
  defaultIssuer: "https://token.actions.githubusercontent.com",
  commonAudiences: [/^https:\/\/(?:www\.)?github\.com(?:\/|$)/, /^sts\.amazonaws\.com$/, /^api:\/\//],
  claims: [
    { claim: "repository_id", name: "repository_id", kind: "id", selector: "repository-id", required: true },
    {
      claim: "repository_owner_id",
      name: "repository_owner_id",
      kind: "id",
      selector: "owner-id",
      required: true,
    },
    { claim: "enterprise_id", name: "enterprise_id", kind: "id", selector: "enterprise-id" },
    { claim: "repository", name: "repository" },
    { claim: "repository_owner", name: "repository_owner" },
    { claim: "enterprise", name: "enterprise" },
    { claim: "repository_visibility", name: "repository_visibility", selector: "visibility" },
    { claim: "event_name", name: "event_name", selector: "event", required: true },
    { claim: "ref", name: "ref", selector: "ref" },
    { claim: "ref_type", name: "ref_type", selector: "ref-type" },
    { claim: "ref_protected", name: "ref_protected", kind: "flag", selector: "ref-protected" },
    { claim: "sha", name: "sha", selector: "sha" },
    { claim: "head_ref", name: "head_ref", authored: true },
    { claim: "base_ref", name: "base_ref" },
    { claim: "environment", name: "environment", selector: "environment", authored: true },
    { claim: "workflow", name: "workflow", authored: true },
    { claim: "workflow_ref", name: "workflow_ref", selector: "workflow-ref" },
    { claim: "workflow_sha", name: "workflow_sha", selector: "workflow-sha" },
    { claim: "job_workflow_ref", name: "job_workflow_ref", selector: "job-workflow-ref" },
    { claim: "job_workflow_sha", name: "job_workflow_sha", selector: "job-workflow-sha" },
    { claim: "runner_environment", name: "runner_environment", selector: "runner" },
    { claim: "actor", name: "actor", authored: true },
    { claim: "actor_id", name: "actor_id", kind: "id", selector: "actor-id", authored: true },
    { claim: "run_id", name: "run_id", kind: "id", required: true },
    { claim: "run_number", name: "run_number", kind: "id" },
    { claim: "run_attempt", name: "run_attempt", kind: "id", required: true },
    { claim: "check_run_id", name: "check_run_id", kind: "id" },
    { claim: "repo_property_", name: "repo_property_", selector: "property", prefix: true },
  ],
  derived: [
    {
      // The workflow file alone: the path of `owner/repo/path@ref`. Files may have an @ in their names too, so what
      // follows the first one must be a ref or a commit, or else it is not known where the path ends.
      name: "job_workflow",
      selector: "job-workflow",
      from: (claim) => /^([^@]+)@(?:refs\/.+|[0-9a-f]{40,64})$/.exec(claim("job_workflow_ref") ?? "")?.[1],
    },
  ],
  tenantIds: ["repository_owner_id", "repository_id", "enterprise_id"],
  // Without check_run_id (older servers), the jobs of one matrix cannot be told apart.
  runNames: {
    job: ["repository_id", "run_id", "run_attempt", "check_run_id"],
    run: ["repository_id", "run_id", "run_attempt"],
  },
  // Only those who may write to the repository can cause these. Everything else (pull_request_target, issue_comment,
  // workflow_run, issues, discussion, and what is yet to come) can be caused by strangers and has the trust of the
  // default branch all the same. For pull requests of forks no token is made at all.
  guarded: [
    {
      claim: "event_name",
      except: [
        "push",
        "pull_request",
        "schedule",
        "workflow_dispatch",
        "repository_dispatch",
        "merge_group",
        "release",
        "create",
        "delete",
        "deployment",
      ],
    },
  ],
  maxTokenAge: 600,
  maxTokenLifetime: 3600,
  description: "{repository} {workflow} run {run_id} attempt {run_attempt} by {actor}",
  webhook: githubWebhook,
  sample: {
    issuer: "https://token.actions.githubusercontent.com",
    claims: {
      sub: "repo:octo-org@1000/octo-repo@2000:ref:refs/heads/main",
      ref: "refs/heads/main",
      sha: "9f4c1be2e0a4c2a3f0d9d1f2e3a4b5c6d7e8f901",
      repository: "octo-org/octo-repo",
      repository_owner: "octo-org",
      repository_owner_id: "1000",
      run_id: "15923841502",
      run_number: "10",
      run_attempt: "2",
      repository_visibility: "private",
      repository_id: "2000",
      actor_id: "12",
      actor: "octocat",
      workflow: "deploy",
      head_ref: "",
      base_ref: "",
      event_name: "push",
      ref_protected: "true",
      ref_type: "branch",
      workflow_ref: "octo-org/octo-repo/.github/workflows/deploy.yml@refs/heads/main",
      workflow_sha: "9f4c1be2e0a4c2a3f0d9d1f2e3a4b5c6d7e8f901",
      job_workflow_ref: "octo-org/shared/.github/workflows/oidc.yml@refs/heads/main",
      job_workflow_sha: "1234567890abcdef1234567890abcdef12345678",
      runner_environment: "github-hosted",
      enterprise_id: "7",
      enterprise: "octo-enterprise",
      environment: "prod",
      check_run_id: "44906873141",
      repo_property_team: "platform",
      repo_property_pci: "true",
    },
  },
};
