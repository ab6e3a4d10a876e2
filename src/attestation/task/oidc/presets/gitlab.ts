import type { OidcPreset } from "../preset.ts";
import { gitlabWebhook } from "../webhooks/gitlab.ts";

/**
 * GitLab CI, gitlab.com and self-hosted. `project_*`, `namespace_*` and `ref` are of the project whose code runs, which
 * for a merge request of a fork is the fork; `job_project_*` are of the project that runs it. Neither alone is safe, so
 * that they differ is a fact of its own.
 */
export const gitlab: OidcPreset = {
  name: "gitlab",
  title: "GitLab CI",
  selectorType: "gitlab",
  issuers: [
    { pattern: /^https:\/\/(?:www\.)?gitlab\.com$/, example: "https://gitlab.com", shared: true },
    { pattern: /^https:\/\/[^/]+(?:\/.*)?$/, example: "https://GITLAB-HOST", shared: false },
  ],
  defaultIssuer: "https://gitlab.com",
  commonAudiences: [/^https:\/\/(?:www\.)?gitlab\.com\/?$/],
  claims: [
    { claim: "project_id", name: "project_id", kind: "id", selector: "project-id", required: true },
    { claim: "job_project_id", name: "job_project_id", kind: "id", selector: "job-project-id" },
    { claim: "namespace_id", name: "namespace_id", kind: "id", selector: "namespace-id", required: true },
    { claim: "job_namespace_id", name: "job_namespace_id", kind: "id", selector: "job-namespace-id" },
    { claim: "project_path", name: "project_path" },
    { claim: "job_project_path", name: "job_project_path" },
    { claim: "namespace_path", name: "namespace_path" },
    { claim: "project_visibility", name: "project_visibility", selector: "visibility" },
    { claim: "user_id", name: "user_id", kind: "id", selector: "user-id", authored: true },
    { claim: "user_login", name: "user_login", authored: true },
    { claim: "user_access_level", name: "user_access_level", selector: "user-access-level" },
    { claim: "pipeline_id", name: "pipeline_id", kind: "id", required: true },
    { claim: "pipeline_source", name: "pipeline_source", selector: "pipeline-source" },
    { claim: "job_id", name: "job_id", kind: "id", required: true },
    { claim: "job_source", name: "job_source", selector: "job-source" },
    { claim: "ref", name: "ref" },
    { claim: "ref_type", name: "ref_type", selector: "ref-type" },
    { claim: "ref_path", name: "ref_path", selector: "ref-path" },
    { claim: "ref_protected", name: "ref_protected", kind: "flag", selector: "ref-protected" },
    { claim: "sha", name: "sha", selector: "sha" },
    { claim: "environment", name: "environment", selector: "environment", authored: true },
    {
      claim: "environment_protected",
      name: "environment_protected",
      kind: "flag",
      selector: "environment-protected",
    },
    { claim: "deployment_tier", name: "deployment_tier", selector: "deployment-tier", authored: true },
    { claim: "environment_action", name: "environment_action", authored: true },
    { claim: "runner_id", name: "runner_id", kind: "id", selector: "runner-id" },
    { claim: "runner_environment", name: "runner_environment", selector: "runner-environment" },
    { claim: "ci_config_ref_uri", name: "ci_config_ref_uri", selector: "ci-config-ref-uri" },
    { claim: "ci_config_sha", name: "ci_config_sha", selector: "ci-config-sha" },
  ],
  derived: [
    {
      // The same where the server is too old to say where the job runs, and the pipeline is no merge request's.
      name: "run_project_id",
      from: (claim) => claim("job_project_id") ?? claim("project_id"),
    },
    {
      name: "fork_mr",
      selector: "fork-mr",
      from: (claim) => {
        const runsIn = claim("job_project_id");
        if (runsIn !== undefined) return String(runsIn !== claim("project_id"));
        return BY_MEMBERS.has(claim("pipeline_source") ?? "") ? "false" : "unknown";
      },
    },
  ],
  tenantIds: ["project_id", "namespace_id"],
  runNames: { job: ["run_project_id", "job_id"] },
  guarded: [{ claim: "fork_mr", except: ["false"] }],
  // Made when the job starts and never again, and perhaps needed by its last line.
  maxTokenAge: 3600,
  maxTokenLifetime: 86_400,
  // `exp` is the job's timeout, or 5 minutes where it has none.
  endsAtExpiry: { ifLongerThan: 300 },
  description: "{project_path} {ref_path} job {job_id} of pipeline {pipeline_id}",
  webhook: gitlabWebhook,
  sample: {
    issuer: "https://gitlab.com",
    claims: {
      sub: "project_path:acme/shop:ref_type:branch:ref:main",
      namespace_id: "72",
      namespace_path: "acme",
      project_id: "20",
      project_path: "acme/shop",
      job_namespace_id: "72",
      job_namespace_path: "acme",
      job_project_id: "20",
      job_project_path: "acme/shop",
      user_id: "1",
      user_login: "sample-user",
      user_email: "sample-user@example.com",
      user_access_level: "developer",
      pipeline_id: "574",
      pipeline_source: "push",
      job_id: "302",
      ref: "main",
      ref_type: "branch",
      ref_path: "refs/heads/main",
      ref_protected: "true",
      groups_direct: ["acme", "acme/platform"],
      environment: "production",
      environment_protected: "true",
      deployment_tier: "production",
      environment_action: "start",
      runner_id: 1,
      runner_environment: "gitlab-hosted",
      sha: "714a629c0b401fdce83e847fc9589983fc6f46bc",
      project_visibility: "private",
      ci_config_ref_uri: "gitlab.com/acme/shop//.gitlab-ci.yml@refs/heads/main",
      ci_config_sha: "714a629c0b401fdce83e847fc9589983fc6f46bc",
      job_source: "pipeline",
    },
  },
};

/**
 * Causes of pipelines of a project's own branches. A merge request is none of them, and neither is another pipeline, which
 * may have been a merge request's.
 */
const BY_MEMBERS: ReadonlySet<string> = new Set([
  "push",
  "schedule",
  "web",
  "api",
  "trigger",
  "webide",
  "chat",
]);
