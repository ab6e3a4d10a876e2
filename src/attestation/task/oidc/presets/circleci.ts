import type { OidcPreset } from "../preset.ts";
import { circleciWebhook } from "../webhooks/circleci.ts";

/** CircleCI, with the issuer of one organisation or the one that all share. Names of its claims begin with its host. */
export const circleci: OidcPreset = {
  name: "circleci",
  title: "CircleCI",
  selectorType: "circleci",
  issuers: [
    {
      pattern: /^https:\/\/oidc\.circleci\.com\/org\/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/,
      example: "https://oidc.circleci.com/org/ORGANISATION-UUID",
      shared: false,
    },
    { pattern: /^https:\/\/oidc\.circleci\.com$/, example: "https://oidc.circleci.com", shared: true },
    {
      // CircleCI server.
      pattern:
        /^https:\/\/(?![^/]*circleci\.com(?:\/|$))[^/]+\/org\/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/,
      example: "https://CIRCLECI-SERVER/org/ORGANISATION-UUID",
      shared: false,
    },
  ],
  // What a job finds in its environment has the organisation's UUID as its audience.
  commonAudiences: [/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/],
  claims: [
    { claim: "oidc.circleci.com/org-id", name: "org_id", kind: "uuid", selector: "org-id", required: true },
    {
      claim: "oidc.circleci.com/project-id",
      name: "project_id",
      kind: "uuid",
      selector: "project-id",
      required: true,
    },
    {
      claim: "oidc.circleci.com/pipeline-definition-id",
      name: "pipeline_definition_id",
      kind: "uuid",
      selector: "pipeline-definition-id",
    },
    { claim: "oidc.circleci.com/pipeline-id", name: "pipeline_id", kind: "uuid" },
    { claim: "oidc.circleci.com/workflow-id", name: "workflow_id", kind: "uuid" },
    { claim: "oidc.circleci.com/job-id", name: "job_id", kind: "uuid", required: true },
    { claim: "oidc.circleci.com/context-ids", name: "context_ids", kind: "list", selector: "context-id" },
    { claim: "oidc.circleci.com/vcs-origin", name: "vcs_origin", selector: "vcs-origin" },
    { claim: "oidc.circleci.com/vcs-ref", name: "vcs_ref", selector: "vcs-ref" },
    { claim: "oidc.circleci.com/ssh-rerun", name: "ssh_rerun_claim", kind: "flag" },
  ],
  derived: [
    {
      // A person has a shell on the machine.
      name: "ssh_rerun",
      selector: "ssh-rerun",
      from: (claim) => claim("ssh_rerun_claim") ?? "unknown",
    },
  ],
  tenantIds: ["org_id", "project_id"],
  runNames: { job: ["org_id", "job_id"] },
  guarded: [{ claim: "ssh_rerun", except: ["false"] }],
  maxTokenAge: 3600,
  maxTokenLifetime: 7200,
  description: "project {project_id} {vcs_ref} job {job_id}",
  webhook: circleciWebhook,
  sample: {
    issuer: "https://oidc.circleci.com/org/6c4f8a3e-70fc-4f4c-9fe0-1d5a5c0c0001",
    claims: {
      sub: "org/6c4f8a3e-70fc-4f4c-9fe0-1d5a5c0c0001/project/6c4f8a3e-70fc-4f4c-9fe0-1d5a5c0c0002/user/6c4f8a3e-70fc-4f4c-9fe0-1d5a5c0c0003",
      "oidc.circleci.com/context-ids": ["6c4f8a3e-70fc-4f4c-9fe0-1d5a5c0c0004"],
      "oidc.circleci.com/job-id": "6c4f8a3e-70fc-4f4c-9fe0-1d5a5c0c0005",
      "oidc.circleci.com/org-id": "6c4f8a3e-70fc-4f4c-9fe0-1d5a5c0c0001",
      "oidc.circleci.com/pipeline-definition-id": "6c4f8a3e-70fc-4f4c-9fe0-1d5a5c0c0006",
      "oidc.circleci.com/pipeline-id": "6c4f8a3e-70fc-4f4c-9fe0-1d5a5c0c0007",
      "oidc.circleci.com/project-id": "6c4f8a3e-70fc-4f4c-9fe0-1d5a5c0c0002",
      "oidc.circleci.com/ssh-rerun": false,
      "oidc.circleci.com/vcs-origin": "github.com/acme/shop",
      "oidc.circleci.com/vcs-ref": "refs/heads/main",
      "oidc.circleci.com/workflow-id": "6c4f8a3e-70fc-4f4c-9fe0-1d5a5c0c0008",
    },
  },
};
