import type { OidcPreset } from "../preset.ts";
import { buildkiteWebhook } from "../webhooks/buildkite.ts";

/**
 * Buildkite. The ids that cannot pass to others are in a token only if the job asks for them:
 * `buildkite-agent oidc request-token --claim organization_id,pipeline_id,build_id`. Slugs are names and no selectors.
 */
export const buildkite: OidcPreset = {
  name: "buildkite",
  title: "Buildkite",
  selectorType: "buildkite",
  issuers: [
    {
      pattern: /^https:\/\/agent\.buildkite\.com$/,
      example: "https://agent.buildkite.com",
      shared: true,
    },
  ],
  defaultIssuer: "https://agent.buildkite.com",
  commonAudiences: [/^https:\/\/buildkite\.com\//, /^sts\.amazonaws\.com$/],
  claims: [
    {
      claim: "organization_id",
      name: "organization_id",
      kind: "id",
      selector: "organization-id",
      required: true,
    },
    { claim: "pipeline_id", name: "pipeline_id", kind: "id", selector: "pipeline-id", required: true },
    { claim: "build_id", name: "build_id", kind: "id" },
    { claim: "cluster_id", name: "cluster_id", kind: "id", selector: "cluster-id" },
    { claim: "queue_id", name: "queue_id", kind: "id", selector: "queue-id" },
    { claim: "queue_key", name: "queue_key", authored: true },
    { claim: "organization_slug", name: "organization_slug" },
    { claim: "pipeline_slug", name: "pipeline_slug" },
    { claim: "build_number", name: "build_number", kind: "id" },
    { claim: "build_branch", name: "build_branch", selector: "branch", authored: true },
    { claim: "build_tag", name: "build_tag", selector: "tag", authored: true },
    { claim: "build_commit", name: "build_commit", selector: "commit", authored: true },
    { claim: "build_source", name: "build_source", selector: "source" },
    { claim: "step_key", name: "step_key", selector: "step", authored: true },
    { claim: "job_id", name: "job_id", kind: "id", required: true },
    { claim: "agent_id", name: "agent_id", kind: "id", selector: "agent-id" },
    { claim: "runner_environment", name: "runner_environment", selector: "runner" },
    // Whoever runs the agent sets its tags.
    { claim: "agent_tag:", name: "agent_tag_", selector: "agent-tag", authored: true, prefix: true },
  ],
  tenantIds: ["organization_id", "pipeline_id"],
  runNames: { job: ["job_id"] },
  maxTokenAge: 600,
  maxTokenLifetime: 86_400,
  description: "{organization_slug}/{pipeline_slug} build {build_number} job {job_id}",
  webhook: buildkiteWebhook,
  sample: {
    issuer: "https://agent.buildkite.com",
    claims: {
      sub: "organization:acme-inc:pipeline:super-duper-app:ref:refs/heads/main:commit:9f3182061f1e2cca4702c368cbc039b7dc9d4485:step:build",
      organization_slug: "acme-inc",
      pipeline_slug: "super-duper-app",
      build_number: 1,
      build_branch: "main",
      build_tag: null,
      build_commit: "9f3182061f1e2cca4702c368cbc039b7dc9d4485",
      step_key: "build",
      job_id: "0184990a-477b-4fa8-9968-496074483cee",
      agent_id: "0184990a-4782-42b5-afc1-16715b10b8ff",
      build_source: "webhook",
      runner_environment: "buildkite-hosted",
      organization_id: "0184990a-4700-4a1e-9a0c-2b6b5ff8d001",
      pipeline_id: "0184990a-4701-4a1e-9a0c-2b6b5ff8d002",
      build_id: "0184990a-4702-4a1e-9a0c-2b6b5ff8d003",
      "agent_tag:queue": "default",
    },
  },
};
