import type { OidcPreset } from "../preset.ts";

/**
 * HCP Terraform and Terraform Enterprise. A speculative plan runs whatever a pull request wrote, and so do tests of
 * modules, so the phase `plan` is guarded. All processes of a phase have the same token: the first opens the task, the
 * others join it.
 */
export const hcpTerraform: OidcPreset = {
  name: "hcp-terraform",
  title: "HCP Terraform",
  selectorType: "terraform",
  issuers: [
    {
      pattern: /^https:\/\/app(?:\.[a-z]+)?\.terraform\.io$/,
      example: "https://app.terraform.io",
      shared: true,
    },
    { pattern: /^https:\/\/[^/]+(?:\/.*)?$/, example: "https://TFE-HOST", shared: false },
  ],
  defaultIssuer: "https://app.terraform.io",
  commonAudiences: [/^aws\.workload\.identity$/, /^api:\/\/AzureADTokenExchange$/],
  claims: [
    {
      claim: "terraform_organization_id",
      name: "organization_id",
      kind: "id",
      selector: "organization-id",
      required: true,
    },
    { claim: "terraform_organization_name", name: "organization" },
    { claim: "terraform_project_id", name: "project_id", kind: "id", selector: "project-id" },
    { claim: "terraform_project_name", name: "project" },
    { claim: "terraform_workspace_id", name: "workspace_id", kind: "id", selector: "workspace-id" },
    { claim: "terraform_workspace_name", name: "workspace" },
    { claim: "terraform_run_id", name: "run_id", kind: "id", required: true },
    { claim: "terraform_run_phase", name: "run_phase", selector: "phase", required: true },
  ],
  derived: [
    {
      name: "module_test",
      selector: "module-test",
      from: (claim) => String(claim("workspace_id") === undefined),
    },
  ],
  tenantIds: ["organization_id", "project_id", "workspace_id"],
  runNames: { job: ["run_id", "run_phase"] },
  guarded: [
    { claim: "run_phase", except: ["apply"] },
    { claim: "module_test", except: ["false"] },
  ],
  maxTokenAge: 3600,
  maxTokenLifetime: 86_400,
  // `exp` is the timeout of the phase.
  endsAtExpiry: { ifLongerThan: 0 },
  description: "{organization}/{workspace} run {run_id} {run_phase}",
  sample: {
    issuer: "https://app.terraform.io",
    claims: {
      sub: "organization:acme:project:shop:workspace:production:run_phase:apply",
      terraform_run_phase: "apply",
      terraform_workspace_id: "ws-mbsd5E3Ktt5Rg2Xm",
      terraform_workspace_name: "production",
      terraform_organization_id: "org-GRNbCjYNpBB6NEBH",
      terraform_organization_name: "acme",
      terraform_project_id: "prj-uQ1BCVLmWoMxqqFq",
      terraform_project_name: "shop",
      terraform_run_id: "run-X3n1AUXNGWbfECsJ",
      terraform_full_workspace: "organization:acme:project:shop:workspace:production",
    },
  },
};
