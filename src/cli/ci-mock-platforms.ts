import { judgeClaims } from "../attestation/task/oidc/judge-claims.ts";
import type { OidcPreset } from "../attestation/task/oidc/preset.ts";
import { PRESETS } from "../attestation/task/oidc/presets/all.ts";
import { AssayError } from "../errors/assay-error.ts";
import { formatSelector } from "../spiffe/selector.ts";

/** Claims by the names that tokens have. */
export type MockClaims = Readonly<Record<string, unknown>>;

/** A platform that is imitated. */
export interface MockPlatform {
  /** As `assay task run --platform` has it. */
  readonly name: string;
  /** Name of its preset. */
  readonly preset: string;
  /** The claim, by our name, that its demonstration entry asks for. */
  readonly bound: string;
  /** What its demonstration entry calls a run. */
  readonly template: string;
  /** Claims that name this very run; `uuid` and `number` are new at each call. */
  readonly fresh: (uuid: () => string, number: () => string) => MockClaims;
  /** How its token lives, seconds, and whether it has a `jti`. */
  readonly lifetime: number;
  readonly jti: boolean;
  /** How its jobs get their token. */
  readonly token:
    | { readonly by: "endpoint"; readonly variables: (url: string, secret: string) => Variables }
    | { readonly by: "command"; readonly command: string; readonly variables: (secret: string) => Variables }
    | { readonly by: "variable"; readonly name: string }
    | { readonly by: "file"; readonly name: string };
  /** Further variables of its jobs. */
  readonly variables: (claims: MockClaims) => Variables;
}

/** Variables of a job; what has no value is left out. */
export type Variables = Readonly<Record<string, string | undefined>>;

/** The issuer of an imitation. Names below `.invalid` belong to nobody (RFC 6761 §6.4), so no real platform has it. */
export function mockIssuer(platform: MockPlatform): string {
  return `https://${platform.name}.ci-mock.invalid`;
}

/** The name of the task attestor that believes an imitation. */
export function mockInstance({ name }: MockPlatform): string {
  return `ci-mock-${name}`;
}

/** The preset of an imitated platform. */
export function presetOf({ preset: name }: MockPlatform): OidcPreset {
  const preset = PRESETS.get(name);
  if (preset === undefined) throw new AssayError("INTERNAL", `there is no preset ${name}`);
  return preset;
}

/** What the demonstration entry of an imitated platform asks for: whose run it is. */
export function demonstrationSelector(platform: MockPlatform): string {
  const preset = presetOf(platform);
  const rule = preset.claims.find(({ name }) => name === platform.bound);
  const run = judgeClaims({ preset, issuer: mockIssuer(platform), allow: new Map() }, preset.sample.claims);
  const wanted = `${rule?.selector ?? ""}:${run.claims[platform.bound] ?? ""}`;
  const selector = run.selectors.find(({ value }) => value === wanted);
  if (selector === undefined) throw new AssayError("INTERNAL", `${platform.bound} has no selector`);
  return formatSelector(selector);
}

/** The platform of this name. @throws AssayError `USAGE`. */
export function mockPlatform(name: string): MockPlatform {
  const found = MOCK_PLATFORMS.find((platform) => platform.name === name);
  if (found !== undefined) return found;
  const names = MOCK_PLATFORMS.map((platform) => platform.name).join(", ");
  throw new AssayError("USAGE", `platform: expected one of ${names}, got ${JSON.stringify(name)}`);
}

const text = (claims: MockClaims, name: string): string | undefined => {
  const value = claims[name];
  return typeof value === "string" || typeof value === "number" ? `${value}` : undefined;
};

const actionsVariables = (url: string, secret: string): Variables => ({
  ACTIONS_ID_TOKEN_REQUEST_URL: `${url}/actions?api-version=2.0`,
  ACTIONS_ID_TOKEN_REQUEST_TOKEN: secret,
});

const ofActions = (claims: MockClaims): Variables => ({
  CI: "true",
  GITHUB_ACTIONS: "true",
  GITHUB_REPOSITORY: text(claims, "repository"),
  GITHUB_REPOSITORY_ID: text(claims, "repository_id"),
  GITHUB_RUN_ID: text(claims, "run_id"),
  GITHUB_RUN_ATTEMPT: text(claims, "run_attempt"),
  GITHUB_EVENT_NAME: text(claims, "event_name"),
  GITHUB_REF: text(claims, "ref"),
  GITHUB_SHA: text(claims, "sha"),
});

/** All platforms that are imitated. */
export const MOCK_PLATFORMS: readonly MockPlatform[] = [
  {
    name: "github",
    preset: "github-actions",
    bound: "repository_owner_id",
    template: "/ci/github/{repository_id}/run/{run_id}/{run_attempt}",
    fresh: (_uuid, number) => ({ run_id: number(), run_attempt: "1", check_run_id: number() }),
    lifetime: 300,
    jti: true,
    token: { by: "endpoint", variables: actionsVariables },
    variables: ofActions,
  },
  {
    name: "forgejo",
    preset: "forgejo",
    bound: "repository_id",
    template: "/ci/forgejo/{repository_id}/run/{run_id}/{run_attempt}",
    fresh: (_uuid, number) => ({ run_id: number(), run_attempt: "1" }),
    lifetime: 300,
    jti: true,
    token: { by: "endpoint", variables: actionsVariables },
    variables: (claims) => ({ ...ofActions(claims), FORGEJO_ACTIONS: "true" }),
  },
  {
    name: "gitlab",
    preset: "gitlab",
    bound: "namespace_id",
    template: "/ci/gitlab/{project_id}/job/{job_id}",
    fresh: (_uuid, number) => ({ pipeline_id: number(), job_id: number() }),
    lifetime: 3600,
    jti: true,
    token: { by: "variable", name: "ASSAY_ID_TOKEN" },
    variables: (claims) => ({
      CI: "true",
      GITLAB_CI: "true",
      CI_JOB_ID: text(claims, "job_id"),
      CI_PIPELINE_ID: text(claims, "pipeline_id"),
      CI_PROJECT_ID: text(claims, "project_id"),
      CI_PROJECT_PATH: text(claims, "project_path"),
    }),
  },
  {
    name: "buildkite",
    preset: "buildkite",
    bound: "pipeline_id",
    template: "/ci/buildkite/{pipeline_id}/job/{job_id}",
    fresh: (uuid) => ({ job_id: uuid(), build_id: uuid() }),
    lifetime: 300,
    jti: false,
    token: {
      by: "command",
      command: "buildkite-agent",
      variables: (secret) => ({ BUILDKITE_AGENT_ACCESS_TOKEN: secret }),
    },
    variables: (claims) => ({ CI: "true", BUILDKITE: "true", BUILDKITE_JOB_ID: text(claims, "job_id") }),
  },
  {
    name: "circleci",
    preset: "circleci",
    bound: "org_id",
    template: "/ci/circleci/{project_id}/job/{job_id}",
    fresh: (uuid) => ({ "oidc.circleci.com/job-id": uuid(), "oidc.circleci.com/workflow-id": uuid() }),
    lifetime: 3600,
    jti: false,
    token: { by: "command", command: "circleci", variables: () => ({}) },
    variables: () => ({ CI: "true", CIRCLECI: "true" }),
  },
  {
    name: "azure-devops",
    preset: "azure-devops",
    bound: "org_id",
    template: "/ci/azure-devops/{project_id}/{definition_id}/run/{run_id}",
    fresh: (_uuid, number) => ({ run_id: number() }),
    lifetime: 600,
    jti: true,
    token: {
      by: "endpoint",
      variables: (url, secret) => ({ SYSTEM_OIDCREQUESTURI: `${url}/azure`, SYSTEM_ACCESSTOKEN: secret }),
    },
    variables: (claims) => ({ TF_BUILD: "True", BUILD_BUILDID: text(claims, "run_id") }),
  },
  {
    name: "bitbucket",
    preset: "bitbucket",
    bound: "workspace_uuid",
    template: "/ci/bitbucket/{repository_uuid}/step/{step_uuid}",
    fresh: (uuid) => ({ pipelineUuid: `{${uuid()}}`, stepUuid: `{${uuid()}}` }),
    lifetime: 3600,
    jti: false,
    token: { by: "variable", name: "BITBUCKET_STEP_OIDC_TOKEN" },
    variables: (claims) => ({
      CI: "true",
      BITBUCKET_BUILD_NUMBER: "1",
      BITBUCKET_STEP_UUID: text(claims, "stepUuid"),
    }),
  },
  {
    name: "jenkins",
    preset: "jenkins",
    bound: "job_url",
    template: "/ci/jenkins/build/{build_number}",
    fresh: (_uuid, number) => ({ build_number: Number(number()) }),
    lifetime: 3600,
    jti: false,
    token: { by: "variable", name: "ASSAY_ID_TOKEN" },
    variables: (claims) => ({
      JENKINS_URL: "https://jenkins.example.com/",
      JOB_URL: text(claims, "sub"),
      BUILD_NUMBER: text(claims, "build_number"),
    }),
  },
  {
    name: "hcp-terraform",
    preset: "hcp-terraform",
    bound: "workspace_id",
    template: "/ci/hcp-terraform/{workspace_id}/{run_id}/{run_phase}",
    fresh: (_uuid, number) => ({ terraform_run_id: `run-${number()}` }),
    lifetime: 3600,
    jti: true,
    token: { by: "variable", name: "TFC_WORKLOAD_IDENTITY_TOKEN" },
    variables: (claims) => ({ TFC_RUN_ID: text(claims, "terraform_run_id") }),
  },
  {
    name: "spacelift",
    preset: "spacelift",
    bound: "space_id",
    template: "/ci/spacelift/{caller_id}/run/{run_id}/{scope}",
    fresh: (uuid) => ({ runId: uuid() }),
    lifetime: 3600,
    jti: true,
    token: { by: "variable", name: "SPACELIFT_OIDC_TOKEN" },
    variables: () => ({}),
  },
  {
    name: "codefresh",
    preset: "codefresh",
    bound: "account_id",
    template: "/ci/codefresh/{pipeline_id}/build/{workflow_id}",
    fresh: (uuid) => ({ workflow_id: uuid().replaceAll("-", "").slice(0, 24) }),
    lifetime: 300,
    jti: false,
    token: { by: "variable", name: "ID_TOKEN" },
    variables: (claims) => ({ CI: "true", CF_BUILD_ID: text(claims, "workflow_id") }),
  },
  {
    name: "semaphore",
    preset: "semaphore",
    bound: "org_id",
    template: "/ci/semaphore/{project_id}/job/{job_id}",
    fresh: (uuid) => ({ wf_id: uuid(), ppl_id: uuid(), job_id: uuid() }),
    lifetime: 86_400,
    jti: true,
    token: { by: "variable", name: "SEMAPHORE_OIDC_TOKEN" },
    variables: (claims) => ({ CI: "true", SEMAPHORE: "true", SEMAPHORE_JOB_ID: text(claims, "job_id") }),
  },
  {
    name: "kubernetes",
    preset: "kubernetes",
    bound: "namespace",
    template: "/ci/kubernetes/{namespace}/{service_account}/pod/{pod_uid}",
    fresh: (uuid) => ({
      "kubernetes.io": {
        namespace: "ci",
        node: { name: "node-1", uid: "5a1f0c52-5f6b-4d2f-8a51-0000000000a1" },
        pod: { name: "build-shop", uid: uuid() },
        serviceaccount: { name: "builder", uid: "5a1f0c52-5f6b-4d2f-8a51-0000000000a3" },
      },
    }),
    lifetime: 600,
    jti: true,
    token: { by: "file", name: "ASSAY_ID_TOKEN_FILE" },
    variables: () => ({ KUBERNETES_SERVICE_HOST: "10.0.0.1", KUBERNETES_SERVICE_PORT: "443" }),
  },
];
