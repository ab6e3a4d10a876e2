import type { OidcPreset } from "../preset.ts";

/**
 * Semaphore. The audience is the issuer, whoever asks, and a token is good for a day. In a pull request `branch` is the
 * branch that it wants to be merged into, so what is built is in `ref` and what kind of build it is in `ref_type`. In a
 * debug job a person has a shell: refused.
 */
export const semaphore: OidcPreset = {
  name: "semaphore",
  title: "Semaphore",
  selectorType: "semaphore",
  issuers: [
    {
      pattern: /^https:\/\/[a-z0-9-]+\.semaphoreci\.com$/,
      example: "https://ORGANISATION.semaphoreci.com",
      // The name of an organisation can pass to others.
      shared: true,
    },
    { pattern: /^https:\/\/[^/]+$/, example: "https://ORGANISATION.OWN-SEMAPHORE", shared: false },
  ],
  fixedAudience: (issuer) => issuer,
  claims: [
    { claim: "org_id", name: "org_id", kind: "id", selector: "org-id", required: true },
    { claim: "org", name: "org" },
    { claim: "prj_id", name: "project_id", kind: "id", selector: "project-id", required: true },
    { claim: "prj", name: "project" },
    { claim: "repo", name: "repo" },
    { claim: "repo_slug", name: "repo_slug" },
    { claim: "ref", name: "ref", selector: "ref" },
    { claim: "ref_type", name: "ref_type", selector: "ref-type", required: true },
    { claim: "branch", name: "branch", authored: true },
    { claim: "tag", name: "tag", authored: true },
    { claim: "pr", name: "pr", authored: true },
    { claim: "pr_branch", name: "pr_branch", authored: true },
    { claim: "wf_id", name: "workflow_id", kind: "id" },
    { claim: "ppl_id", name: "pipeline_id", kind: "id" },
    { claim: "job_id", name: "job_id", kind: "id", required: true },
    { claim: "job_type", name: "job_type", required: true },
    { claim: "trg", name: "trigger", selector: "trigger" },
    { claim: "actor", name: "actor", authored: true },
  ],
  tenantIds: ["org_id", "project_id"],
  runNames: { job: ["job_id"] },
  refused: [
    {
      claim: "job_type",
      except: ["pipeline_job"],
      why: "job_type is not a pipeline's job: a debug job has a person",
    },
  ],
  guarded: [{ claim: "ref_type", except: ["branch", "tag"] }],
  maxTokenAge: 3600,
  maxTokenLifetime: 86_400,
  description: "{org}/{project} {ref} job {job_id}",
  sample: {
    issuer: "https://acme.semaphoreci.com",
    claims: {
      sub: "org:acme:project:936a5312-a3b8-4921-8b3f-2cec8baac574:repo:shop:ref_type:branch:ref:refs/heads/main",
      sub127:
        "org:acme:project:936a5312-a3b8-4921-8b3f-2cec8baac574:repo:shop:ref_type:branch:ref:refs/heads/main",
      org: "acme",
      org_id: "0ad6f3b1-5f5f-4b0d-a6a1-000000000001",
      prj: "shop",
      prj_id: "936a5312-a3b8-4921-8b3f-2cec8baac574",
      repo: "shop",
      repo_slug: "acme/shop",
      ref: "refs/heads/main",
      ref_type: "branch",
      branch: "main",
      pr_branch: "",
      pr: "",
      tag: "",
      wf_id: "0ad6f3b1-5f5f-4b0d-a6a1-000000000002",
      ppl_id: "0ad6f3b1-5f5f-4b0d-a6a1-000000000003",
      job_id: "0ad6f3b1-5f5f-4b0d-a6a1-000000000004",
      job_type: "pipeline_job",
      trg: "hook",
      actor: "octocat",
    },
  },
};
