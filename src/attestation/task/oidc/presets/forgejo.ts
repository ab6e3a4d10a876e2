import type { OidcPreset } from "../preset.ts";

/**
 * Forgejo Actions. No claim names the job: all jobs of a run are one task. The ids that cannot pass to others came with
 * later versions; a token without them is refused. `sub` cannot be taken apart and is not read.
 */
export const forgejo: OidcPreset = {
  name: "forgejo",
  title: "Forgejo Actions",
  selectorType: "forgejo",
  issuers: [
    {
      pattern: /^https:\/\/codeberg\.org\/api\/actions$/,
      example: "https://codeberg.org/api/actions",
      shared: true,
    },
    {
      pattern: /^https:\/\/[^/]+\/(?:.*\/)?api\/actions$/,
      example: "https://FORGEJO-HOST/api/actions",
      shared: false,
    },
  ],
  commonAudiences: [/^https:\/\/codeberg\.org(?:\/|$)/],
  claims: [
    { claim: "repository_id", name: "repository_id", kind: "id", selector: "repository-id", required: true },
    {
      claim: "repository_owner_id",
      name: "repository_owner_id",
      kind: "id",
      selector: "owner-id",
      required: true,
    },
    { claim: "repository", name: "repository" },
    { claim: "repository_owner", name: "repository_owner" },
    { claim: "event_name", name: "event_name", selector: "event", required: true },
    { claim: "ref", name: "ref", selector: "ref" },
    { claim: "ref_type", name: "ref_type", selector: "ref-type" },
    { claim: "ref_protected", name: "ref_protected", kind: "flag", selector: "ref-protected" },
    { claim: "sha", name: "sha", selector: "sha" },
    { claim: "head_ref", name: "head_ref", authored: true },
    { claim: "base_ref", name: "base_ref" },
    { claim: "workflow", name: "workflow", authored: true },
    { claim: "workflow_ref", name: "workflow_ref", selector: "workflow-ref" },
    { claim: "actor", name: "actor", authored: true },
    { claim: "actor_id", name: "actor_id", kind: "id", selector: "actor-id", authored: true },
    { claim: "run_id", name: "run_id", kind: "id", required: true },
    { claim: "run_number", name: "run_number", kind: "id" },
    { claim: "run_attempt", name: "run_attempt", kind: "id", required: true },
  ],
  tenantIds: ["repository_owner_id", "repository_id"],
  runNames: { run: ["repository_id", "run_id", "run_attempt"] },
  // What strangers can cause, pull requests among it, is to be named.
  guarded: [
    {
      claim: "event_name",
      except: ["push", "schedule", "workflow_dispatch", "release", "create", "delete"],
    },
  ],
  maxTokenAge: 600,
  maxTokenLifetime: 7200,
  description: "{repository} {workflow} run {run_id} attempt {run_attempt}",
  sample: {
    issuer: "https://forgejo.example.com/api/actions",
    claims: {
      sub: "repo:acme-3/shop-17:ref:refs/heads/main",
      actor: "octocat",
      actor_id: "5",
      base_ref: "",
      event_name: "push",
      head_ref: "",
      ref: "refs/heads/main",
      ref_protected: "true",
      ref_type: "branch",
      repository: "acme/shop",
      repository_id: "17",
      repository_owner: "acme",
      repository_owner_id: "3",
      run_id: "891",
      run_number: "44",
      run_attempt: "1",
      sha: "9f4c1be2e0a4c2a3f0d9d1f2e3a4b5c6d7e8f901",
      workflow: "deploy.yml",
      workflow_ref: "acme/shop/.forgejo/workflows/deploy.yml@refs/heads/main",
    },
  },
};
