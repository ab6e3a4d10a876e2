import type { OidcPreset } from "../preset.ts";

/**
 * Bitbucket Pipelines. The issuer names the workspace by a name that can pass to others, and a custom audience no longer
 * names it at all, so its UUID must be bound. Whether a token names its branch is not certain: a deployment environment
 * that is restricted to branches is the strong gate. UUIDs lose their braces here.
 */
export const bitbucket: OidcPreset = {
  name: "bitbucket",
  title: "Bitbucket Pipelines",
  selectorType: "bitbucket",
  issuers: [
    {
      pattern:
        /^https:\/\/api\.bitbucket\.org\/2\.0\/workspaces\/[A-Za-z0-9_.-]+\/pipelines-config\/identity\/oidc$/,
      example: "https://api.bitbucket.org/2.0/workspaces/WORKSPACE/pipelines-config/identity/oidc",
      shared: true,
    },
  ],
  commonAudiences: [/^ari:cloud:bitbucket::/],
  claims: [
    {
      claim: "workspaceUuid",
      name: "workspace_uuid",
      kind: "uuid",
      selector: "workspace-uuid",
      required: true,
    },
    {
      claim: "repositoryUuid",
      name: "repository_uuid",
      kind: "uuid",
      selector: "repository-uuid",
      required: true,
    },
    { claim: "pipelineUuid", name: "pipeline_uuid", kind: "uuid", required: true },
    { claim: "stepUuid", name: "step_uuid", kind: "uuid", required: true },
    {
      claim: "deploymentEnvironmentUuid",
      name: "environment_uuid",
      kind: "uuid",
      selector: "environment-uuid",
    },
    { claim: "branchName", name: "branch", selector: "branch" },
    { claim: "accountUuid", name: "account_uuid", kind: "uuid", authored: true },
  ],
  tenantIds: ["workspace_uuid", "repository_uuid"],
  runNames: { job: ["pipeline_uuid", "step_uuid"] },
  maxTokenAge: 3600,
  maxTokenLifetime: 7200,
  description: "repository {repository_uuid} {branch} step {step_uuid}",
  sample: {
    issuer: "https://api.bitbucket.org/2.0/workspaces/acme/pipelines-config/identity/oidc",
    claims: {
      sub: "{c7cfa4ee-6e3f-4d0e-8ea1-0000000000b2}:{c7cfa4ee-6e3f-4d0e-8ea1-0000000000b4}",
      workspaceUuid: "{c7cfa4ee-6e3f-4d0e-8ea1-0000000000b1}",
      repositoryUuid: "{c7cfa4ee-6e3f-4d0e-8ea1-0000000000b2}",
      pipelineUuid: "{c7cfa4ee-6e3f-4d0e-8ea1-0000000000b3}",
      stepUuid: "{c7cfa4ee-6e3f-4d0e-8ea1-0000000000b4}",
      deploymentEnvironmentUuid: "{c7cfa4ee-6e3f-4d0e-8ea1-0000000000b5}",
      branchName: "main",
      accountUuid: "{c7cfa4ee-6e3f-4d0e-8ea1-0000000000b6}",
    },
  },
};
