import { describe, expect, it } from "vitest";
import { CI_AUDIENCE, CI_PLATFORMS, ciClaims } from "../../../../../test/fakes/ci-tokens.ts";
import { formatSelector } from "../../../../spiffe/selector.ts";
import { config } from "../config.ts";
import { judgeClaims } from "../judge-claims.ts";
import { taskKeyOf } from "../task-key.ts";
import { trustOf } from "../trust.ts";
import { PRESETS } from "./all.ts";

describe("a job on the main branch", () => {
  it.each(CI_PLATFORMS)("of %s is accepted, and nothing about it is guarded", (platform) => {
    const run = judge(platform);
    expect(run.guarded).toEqual([]);
    expect(run.selectors.length).toBeGreaterThan(platform === "jenkins" ? 0 : 2);
    expect(run.platform).toBe(platform);
    expect(run.description).not.toContain("{");
  });

  it.each(CI_PLATFORMS)("of %s is the same run for another token and another for another run", (platform) => {
    const names = PRESETS.get(platform)?.runNames ?? {};
    const run = judge(platform);
    expect(judge(platform, { jti: "another", iat: 1, exp: 2 }).taskKey).toBe(run.taskKey);
    expect(run.granularity).toBe(names.job === undefined ? "run" : "job");
    const values = (names.job ?? names.run ?? []).map((name) => run.claims[name] ?? "");
    expect(run.taskKey).toBe(taskKeyOf(run.issuer, values));
  });

  it("has selectors as the documentation says", () => {
    expect(selectors("github-actions")).toEqual(
      expect.arrayContaining([
        "github:repository-id:2000",
        "github:owner-id:1000",
        "github:event:push",
        "github:ref:refs/heads/main",
        "github:environment:prod",
        "github:job-workflow:octo-org/shared/.github/workflows/oidc.yml",
        "github:property:pci:true",
      ]),
    );
    expect(selectors("gitlab")).toEqual(
      expect.arrayContaining([
        "gitlab:project-id:20",
        "gitlab:ref-protected:true",
        "gitlab:fork-mr:false",
        "gitlab:runner-id:1",
      ]),
    );
    expect(selectors("buildkite")).toContain("buildkite:agent-tag:queue:default");
    expect(selectors("circleci")).toContain("circleci:context-id:6c4f8a3e-70fc-4f4c-9fe0-1d5a5c0c0004");
    expect(selectors("kubernetes")).toContain("k8s:ns:ci");
    expect(judge("jenkins").claims).toMatchObject({ job: "shop/deploy", build_number: "42" });
    expect(judge("bitbucket").claims["step_uuid"]).toBe("c7cfa4ee-6e3f-4d0e-8ea1-0000000000b4");
  });

  it.each(CI_PLATFORMS)("of %s has no selector by a name that can pass to others, nor by sub", (platform) => {
    const preset = PRESETS.get(platform);
    const names = [
      "repository",
      "repository_owner",
      "project_path",
      "namespace_path",
      "organization_slug",
      "pipeline_slug",
    ];
    for (const { name, claim, selector } of preset?.claims ?? []) {
      if (names.includes(name)) expect(selector).toBeUndefined();
      if (claim === "sub" && platform !== "jenkins") expect(selector).toBeUndefined();
    }
  });
});

describe("a trap", () => {
  it.each<[string, string, Record<string, unknown>, string]>([
    [
      "pull_request_target has the trust of the default branch",
      "github-actions",
      { event_name: "pull_request_target" },
      "github:event:pull_request_target",
    ],
    [
      "issue_comment can be caused by anybody",
      "github-actions",
      { event_name: "issue_comment" },
      "github:event:issue_comment",
    ],
    [
      "workflow_run follows what anybody caused",
      "github-actions",
      { event_name: "workflow_run" },
      "github:event:workflow_run",
    ],
    ["issues can be opened by anybody", "github-actions", { event_name: "issues" }, "github:event:issues"],
    [
      "discussions can be opened by anybody",
      "github-actions",
      { event_name: "discussion" },
      "github:event:discussion",
    ],
    [
      "an event nobody knew of",
      "github-actions",
      { event_name: "something_new" },
      "github:event:something_new",
    ],
    [
      "a merge request of a fork runs in the parent",
      "gitlab",
      { project_id: "999", project_path: "mallory/shop", namespace_id: "72" },
      "gitlab:fork-mr:true",
    ],
    [
      "an old server does not say where a merge request runs",
      "gitlab",
      { job_project_id: undefined, pipeline_source: "merge_request_event" },
      "gitlab:fork-mr:unknown",
    ],
    [
      "an old server does not say what caused the pipeline of which this is a part",
      "gitlab",
      { job_project_id: undefined, pipeline_source: "parent_pipeline" },
      "gitlab:fork-mr:unknown",
    ],
    [
      "an old server says neither where it runs nor why",
      "gitlab",
      { job_project_id: undefined, pipeline_source: undefined },
      "gitlab:fork-mr:unknown",
    ],
    [
      "a person is on the machine",
      "circleci",
      { "oidc.circleci.com/ssh-rerun": true },
      "circleci:ssh-rerun:true",
    ],
    [
      "a person is on the machine, said in words",
      "circleci",
      { "oidc.circleci.com/ssh-rerun": "true" },
      "circleci:ssh-rerun:true",
    ],
    [
      "nobody says whether a person is on the machine",
      "circleci",
      { "oidc.circleci.com/ssh-rerun": undefined },
      "circleci:ssh-rerun:unknown",
    ],
    [
      "a build of a pull request",
      "azure-devops",
      { rpo_ref: "refs/pull/7/merge" },
      "azure_devops:pull-request:true",
    ],
    ["a speculative plan", "hcp-terraform", { terraform_run_phase: "plan" }, "terraform:phase:plan"],
    [
      "a module's test",
      "hcp-terraform",
      { terraform_run_phase: "apply", terraform_workspace_id: undefined },
      "terraform:module-test:true",
    ],
    ["a proposed run", "spacelift", { runType: "PROPOSED", scope: "read" }, "spacelift:run-type:PROPOSED"],
    ["what a person typed", "spacelift", { runType: "TASK" }, "spacelift:run-type:TASK"],
    [
      "a build of a pull request of Codefresh",
      "codefresh",
      { scm_pull_request_target_branch: "main" },
      "codefresh:pull-request:true",
    ],
    [
      "branch is the target of a pull request",
      "semaphore",
      { ref_type: "pull-request", branch: "main" },
      "semaphore:ref-type:pull-request",
    ],
    ["a pull request of Forgejo", "forgejo", { event_name: "pull_request" }, "forgejo:event:pull_request"],
  ])("is guarded: %s", (_what, platform, changes, guarded) => {
    const allow = platform === "gitlab" ? { namespace_id: ["72"] } : undefined;
    expect(judge(platform, changes, allow).guarded.map(formatSelector)).toContain(guarded);
    expect(selectors(platform, changes, allow)).toContain(guarded);
  });

  it.each<[string, string, Record<string, unknown>, RegExp]>([
    ["a token of a service connection", "azure-devops", { sub: "sc://acme/shop/deploy" }, /p:\/\//],
    ["a subject of Entra", "azure-devops", { sub: "/eid1/c/pub/t/x/sc/y" }, /p:\/\//],
    ["a debug job", "semaphore", { job_type: "debug_job", wf_id: "", ppl_id: "" }, /debug job/],
    ["a debug job of a project", "semaphore", { job_type: "project_debug_job" }, /debug job/],
    [
      "a token from outside a build",
      "jenkins",
      { build_number: undefined, sub: "https://jenkins.example.com/" },
      /build_number missing/,
    ],
    [
      "a token bound to no pod",
      "kubernetes",
      {
        "kubernetes.io": {
          namespace: "ci",
          serviceaccount: { name: "builder", uid: "5a1f0c52-5f6b-4d2f-8a51-0000000000a3" },
        },
      },
      /kubernetes\.io\.pod\.uid is missing/,
    ],
    [
      "a subject that is not the service account's",
      "kubernetes",
      { sub: "system:serviceaccount:ci:admin" },
      /sub is not/,
    ],
    [
      "a claim that should be an object",
      "kubernetes",
      { "kubernetes.io": "ci" },
      /kubernetes\.io must be an object/,
    ],
    [
      "no ids, as Buildkite gives unasked",
      "buildkite",
      { organization_id: undefined, pipeline_id: undefined },
      /organization_id is missing/,
    ],
    [
      "no id of the repository, as old Forgejo",
      "forgejo",
      { repository_id: undefined },
      /repository_id is missing/,
    ],
    [
      "another owner of the same name",
      "github-actions",
      { repository_owner_id: "1001" },
      /repository_owner_id is not among/,
    ],
    ["the owner's id as a name", "github-actions", { repository_owner_id: "octo-org" }, /not among/],
    ["no event", "github-actions", { event_name: undefined }, /event_name is missing/],
    [
      "an organisation that is not ours at the root issuer",
      "circleci",
      {
        iss: "https://oidc.circleci.com",
        "oidc.circleci.com/org-id": "6c4f8a3e-70fc-4f4c-9fe0-1d5a5c0c0099",
      },
      /org_id is not among/,
    ],
    [
      "another organisation of Terraform",
      "hcp-terraform",
      { terraform_organization_id: "org-x" },
      /organization_id is not among/,
    ],
    [
      "another workspace of Bitbucket by a custom audience",
      "bitbucket",
      { workspaceUuid: "{c7cfa4ee-6e3f-4d0e-8ea1-0000000000ff}" },
      /workspace_uuid is not among/,
    ],
    ["half a brace", "bitbucket", { stepUuid: "{c7cfa4ee-6e3f-4d0e-8ea1-0000000000b4" }, /must be a UUID/],
    [
      "a list where a text should be",
      "github-actions",
      { ref: ["refs/heads/main"] },
      /claim ref must be a text/,
    ],
    ["a number where a text should be", "github-actions", { ref: 1 }, /claim ref must be a text/],
    [
      "an object where an id should be",
      "gitlab",
      { project_id: { toString: "20" } },
      /project_id must be a text/,
    ],
    ["a fraction where an id should be", "jenkins", { build_number: 1.5 }, /build_number must be a text/],
    ["a number where a flag should be", "gitlab", { ref_protected: 1 }, /must be true or false/],
    ["a flag in other letters", "gitlab", { ref_protected: "True" }, /must be true or false/],
    ["a text where a list should be", "circleci", { "oidc.circleci.com/context-ids": "a" }, /must be a list/],
    ["a line break in a claim", "github-actions", { head_ref: "a\nb" }, /characters that no name has/],
    ["half a character in a claim", "github-actions", { head_ref: "\ud800" }, /characters that no name has/],
    ["2,049 characters in a claim", "github-actions", { head_ref: "x".repeat(2049) }, /at most 2048/],
    [
      "101 properties",
      "github-actions",
      Object.fromEntries(Array.from({ length: 101 }, (_, n) => [`repo_property_${n}`, "x"])),
      /at most 100/,
    ],
  ])("is refused: %s", (_what, platform, changes, detail) => {
    expect(() => judge(platform, changes)).toThrowCode("ATTESTATION_FAILED", detail);
  });

  it("is avoided: sub may say what its author likes", () => {
    for (const platform of ["github-actions", "gitlab", "buildkite", "forgejo"]) {
      const forged = judge(platform, { sub: "repo:octo-org/secrets:environment:prod:ref:refs/heads/main" });
      expect(forged).toEqual(judge(platform));
    }
  });

  it("is avoided: a repository property cannot pose as another", () => {
    const all = selectors("github-actions", { "repo_property_a:b": "c", repo_property_a: "b:c" });
    expect(all.filter((one) => one.startsWith("github:property:a"))).toEqual(["github:property:a:b:c"]);
  });

  it.each([
    ["acme/shared/.github/workflows/oidc.yml@refs/heads/a@b", "acme/shared/.github/workflows/oidc.yml"],
    [`acme/shared/.github/workflows/oidc.yml@${"0".repeat(40)}`, "acme/shared/.github/workflows/oidc.yml"],
    ["acme/shared/.github/workflows/oidc.yml@evil.yml@refs/heads/main", undefined],
    ["acme/shared/.github/workflows/oidc.yml@", undefined],
  ])(
    "is avoided: a file or branch with an @ in its name cannot pose as another workflow: %s",
    (ref, workflow) => {
      expect(judge("github-actions", { job_workflow_ref: ref }).claims["job_workflow"]).toBe(workflow);
    },
  );

  it("is told: without check_run_id the jobs of a run cannot be told apart", () => {
    const run = judge("github-actions", { check_run_id: undefined });
    expect(run.granularity).toBe("run");
    expect(judge("github-actions").taskKey.startsWith(run.taskKey)).toBe(true);
    expect(
      judge("github-actions", { run_attempt: "21", check_run_id: undefined }).taskKey.startsWith(run.taskKey),
    ).toBe(false);
  });

  it("is avoided: planning and applying of one run are two tasks", () => {
    expect(judge("spacelift", { scope: "read" }).taskKey).not.toBe(judge("spacelift").taskKey);
    expect(judge("hcp-terraform", { terraform_run_phase: "plan" }).taskKey).not.toBe(
      judge("hcp-terraform").taskKey,
    );
  });

  it("is told: which claims the author of the job chose", () => {
    expect(judge("github-actions", { head_ref: "x" }).authoredClaims.toSorted()).toEqual(
      ["actor", "actor_id", "environment", "head_ref", "workflow"].toSorted(),
    );
  });
});

describe("a claim's form", () => {
  it("is the same for a number and its text, a boolean and its word, a UUID with and without braces", () => {
    expect(judge("gitlab", { project_id: 20, job_project_id: 20, ref_protected: true })).toEqual(
      judge("gitlab"),
    );
    const bare = { stepUuid: "C7CFA4EE-6E3F-4D0E-8EA1-0000000000B4" };
    expect(judge("bitbucket", bare)).toEqual(judge("bitbucket"));
  });

  it("is absent for null and for the empty text", () => {
    expect(judge("gitlab", { ci_config_sha: null, environment: "" }).claims).not.toHaveProperty(
      "environment",
    );
  });
});

/** The ids that an operator binds where others share the issuer. */
const ALLOW: Readonly<Record<string, Record<string, string[]>>> = {
  "github-actions": { repository_owner_id: ["1000"] },
  gitlab: { project_id: ["20"] },
  buildkite: { organization_id: ["0184990a-4700-4a1e-9a0c-2b6b5ff8d001"] },
  circleci: { org_id: ["6c4f8a3e-70fc-4f4c-9fe0-1d5a5c0c0001"] },
  bitbucket: { workspace_uuid: ["{c7cfa4ee-6e3f-4d0e-8ea1-0000000000b1}"] },
  "hcp-terraform": { organization_id: ["org-GRNbCjYNpBB6NEBH"] },
  codefresh: { account_id: ["5672d8deb6724b6e359adf62"] },
  semaphore: { org_id: ["0ad6f3b1-5f5f-4b0d-a6a1-000000000001"] },
};

function judge(platform: string, changes: Record<string, unknown> = {}, allow = ALLOW[platform] ?? {}) {
  const claims = ciClaims(platform, changes);
  const trust = trustOf(config.parse({ preset: platform, issuer: claims["iss"], allow }), CI_AUDIENCE);
  return judgeClaims(trust, claims);
}

function selectors(...given: Parameters<typeof judge>): readonly string[] {
  return judge(...given).selectors.map(formatSelector);
}
