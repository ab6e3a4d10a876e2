import type { OidcPreset } from "../preset.ts";

/**
 * Azure DevOps Pipelines. The audience is the same for everybody, so only the key that the job proves and the run that
 * the token names tie a token to us. Tokens of service connections are another identity and are refused. No claim names
 * the job: all jobs of a pipeline run are one task.
 */
export const azureDevops: OidcPreset = {
  name: "azure-devops",
  title: "Azure DevOps",
  selectorType: "azure_devops",
  issuers: [
    {
      pattern: /^https:\/\/vstoken\.dev\.azure\.com\/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/,
      example: "https://vstoken.dev.azure.com/ORGANISATION-UUID",
      shared: false,
    },
  ],
  fixedAudience: () => "api://AzureADTokenExchange",
  claims: [
    { claim: "sub", name: "subject", required: true },
    { claim: "org_id", name: "org_id", kind: "uuid", selector: "org-id", required: true },
    { claim: "prj_id", name: "project_id", kind: "uuid", selector: "project-id", required: true },
    { claim: "def_id", name: "definition_id", kind: "id", selector: "definition-id", required: true },
    { claim: "rpo_id", name: "repository_id", kind: "id", selector: "repository-id" },
    { claim: "rpo_uri", name: "repository_uri", selector: "repository-uri" },
    { claim: "rpo_ver", name: "repository_version", selector: "commit" },
    { claim: "rpo_ref", name: "ref", selector: "ref" },
    { claim: "run_id", name: "run_id", kind: "id", required: true },
  ],
  derived: [
    {
      name: "subject_kind",
      from: (claim) => (claim("subject")?.startsWith("p://") === true ? "pipeline" : "other"),
    },
    {
      name: "pull_request",
      selector: "pull-request",
      from: (claim) => {
        const ref = claim("ref");
        return ref === undefined ? "unknown" : String(ref.startsWith("refs/pull/"));
      },
    },
  ],
  tenantIds: ["org_id", "project_id", "definition_id"],
  runNames: { run: ["org_id", "run_id"] },
  refused: [{ claim: "subject_kind", except: ["pipeline"], why: "sub is not a pipeline's, expected p://…" }],
  guarded: [{ claim: "pull_request", except: ["false"] }],
  maxTokenAge: 600,
  maxTokenLifetime: 7200,
  description: "{subject} run {run_id}",
  sample: {
    issuer: "https://vstoken.dev.azure.com/7f3f2a10-1c7e-4a51-9c5e-52d8c9e10001",
    claims: {
      sub: "p://acme/shop/deploy",
      org_id: "7f3f2a10-1c7e-4a51-9c5e-52d8c9e10001",
      prj_id: "7f3f2a10-1c7e-4a51-9c5e-52d8c9e10002",
      def_id: "12",
      rpo_id: "7f3f2a10-1c7e-4a51-9c5e-52d8c9e10003",
      rpo_uri: "https://dev.azure.com/acme/shop/_git/shop",
      rpo_ver: "9f4c1be2e0a4c2a3f0d9d1f2e3a4b5c6d7e8f901",
      rpo_ref: "refs/heads/main",
      run_id: "345",
    },
  },
};
