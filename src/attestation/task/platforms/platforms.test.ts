import { describe, expect, it } from "vitest";
import { AssayError } from "../../../errors/assay-error.ts";
import type { ErrorCode } from "../../../errors/codes.ts";
import { findPlatform, PLATFORMS, platformVariables } from "./find-platform.ts";
import { tokenAt } from "./held-token-platforms.ts";
import {
  type JobSurroundings,
  type PlatformAnswer,
  type PlatformRequest,
  tokenFrom,
  type Variables,
} from "./job-platform.ts";

const TOKEN = "eyJh.eyJp.c2ln";
const AUDIENCE = "https://assay.example.org/?a&b";
const signal = new AbortController().signal;

/** A job that can reach what is given, and what it asked for. */
function job(variables: Variables, reach: Partial<JobSurroundings> = {}) {
  const requests: PlatformRequest[] = [];
  const commands: string[][] = [];
  const files: string[] = [];
  const surroundings: JobSurroundings = {
    variables,
    async readFile(path) {
      files.push(path);
      return `${TOKEN}\n`;
    },
    async run(command, args) {
      commands.push([command, ...args]);
      return `${TOKEN}\n`;
    },
    async ask(request) {
      requests.push(request);
      return { status: 200, body: JSON.stringify({ value: TOKEN, oidcToken: TOKEN }) };
    },
    ...reach,
  };
  const ask = (name = "auto") =>
    findPlatform(name, variables).token(surroundings, { audience: AUDIENCE, signal });
  return { ask, requests, commands, files };
}

const ACTIONS = {
  GITHUB_ACTIONS: "true",
  ACTIONS_ID_TOKEN_REQUEST_TOKEN: "bearer-of-the-run",
  ACTIONS_ID_TOKEN_REQUEST_URL: "https://run.actions.example/token?api-version=2.0&audience=foreign",
};

describe("the platform that a job runs on", () => {
  it.each<[string, Variables]>([
    ["github", { GITHUB_ACTIONS: "true" }],
    ["forgejo", { GITHUB_ACTIONS: "true", FORGEJO_ACTIONS: "true" }],
    ["forgejo", { GITHUB_ACTIONS: "true", GITEA_ACTIONS: "true" }],
    ["gitlab", { GITLAB_CI: "true" }],
    ["gitlab", { GITLAB_CI: "true", KUBERNETES_SERVICE_HOST: "10.0.0.1" }],
    ["buildkite", { BUILDKITE: "true" }],
    ["circleci", { CIRCLECI: "true" }],
    ["azure-devops", { TF_BUILD: "True" }],
    ["bitbucket", { BITBUCKET_BUILD_NUMBER: "7" }],
    ["jenkins", { JENKINS_URL: "https://jenkins.example.com/" }],
    ["hcp-terraform", { TFC_RUN_ID: "run-1" }],
    ["spacelift", { SPACELIFT_OIDC_TOKEN: TOKEN }],
    ["codefresh", { CF_BUILD_ID: "1" }],
    ["semaphore", { SEMAPHORE: "true" }],
    ["kubernetes", { KUBERNETES_SERVICE_HOST: "10.0.0.1" }],
  ])("is %s by %j", (name, variables) => {
    expect(findPlatform("auto", variables).name).toBe(name);
  });

  it("is not guessed, and can be named", () => {
    expect(() => findPlatform("auto", { CI: "true", GITHUB_ACTIONS: "false" })).toThrowCode(
      "CONFIG_INVALID",
      /name one of github, .* by --platform/,
    );
    expect(findPlatform("gitlab", ACTIONS).name).toBe("gitlab");
    expect(() => findPlatform("travis", {})).toThrowCode("CONFIG_INVALID", /"travis" is not known/);
  });

  it("has a name of its own, and its variables are known", () => {
    expect(new Set(PLATFORMS.map(({ name }) => name)).size).toBe(PLATFORMS.length);
    expect(platformVariables()).toContain("ACTIONS_ID_TOKEN_REQUEST_TOKEN");
    expect(platformVariables()).not.toContain("PATH");
  });
});

describe("the platform's token", () => {
  it("is asked for at the endpoint of GitHub Actions, for our audience alone", async () => {
    const { ask, requests } = job(ACTIONS);
    expect(await ask()).toBe(TOKEN);
    const [{ url, method, headers } = { url: "", method: "", headers: {} }] = requests;
    expect(method).toBe("GET");
    expect(headers).toMatchObject({ authorization: "Bearer bearer-of-the-run" });
    expect(new URL(url).searchParams.getAll("audience")).toEqual([AUDIENCE]);
    expect(new URL(url).searchParams.get("api-version")).toBe("2.0");
  });

  it("is asked for at the endpoint of Azure DevOps, which must not send us to a page", async () => {
    const { ask, requests } = job({
      TF_BUILD: "True",
      SYSTEM_ACCESSTOKEN: "bearer",
      SYSTEM_OIDCREQUESTURI: "https://dev.azure.com/x/oidctoken",
    });
    expect(await ask()).toBe(TOKEN);
    expect(requests).toMatchObject([
      {
        method: "POST",
        url: "https://dev.azure.com/x/oidctoken?api-version=7.1",
        headers: { "x-tfs-fedauthredirect": "Suppress" },
      },
    ]);
  });

  it("is what the commands of Buildkite and CircleCI print", async () => {
    const buildkite = job({ BUILDKITE: "true" });
    expect(await buildkite.ask()).toBe(TOKEN);
    expect(buildkite.commands).toEqual([
      [
        "buildkite-agent",
        "oidc",
        "request-token",
        "--audience",
        AUDIENCE,
        "--claim",
        "organization_id,pipeline_id,build_id",
      ],
    ]);
    const circleci = job({ CIRCLECI: "true" });
    expect(await circleci.ask()).toBe(TOKEN);
    expect(JSON.parse(circleci.commands[0]?.at(-1) ?? "")).toEqual({ aud: AUDIENCE });
  });

  it.each<[string, Variables]>([
    ["gitlab", { ASSAY_ID_TOKEN: TOKEN }],
    ["bitbucket", { BITBUCKET_STEP_OIDC_TOKEN: TOKEN }],
    ["jenkins", { ASSAY_ID_TOKEN: `${TOKEN}\n` }],
    ["hcp-terraform", { TFC_WORKLOAD_IDENTITY_TOKEN: TOKEN }],
    ["spacelift", { SPACELIFT_OIDC_TOKEN: TOKEN }],
    ["codefresh", { ID_TOKEN: TOKEN }],
    ["semaphore", { SEMAPHORE_OIDC_TOKEN: TOKEN }],
  ])("is in a variable of %s", async (name, variables) => {
    expect(await job(variables).ask(name)).toBe(TOKEN);
  });

  it("is in a file where Jenkins or a pod has it there, and never the pod's ordinary token", async () => {
    const jenkins = job({ ASSAY_ID_TOKEN_FILE: "/tmp/token" });
    expect(await jenkins.ask("jenkins")).toBe(TOKEN);
    const pod = job({});
    expect(await pod.ask("kubernetes")).toBe(TOKEN);
    expect([...jenkins.files, ...pod.files]).toEqual(["/tmp/token", "/var/run/secrets/assay/token"]);
  });

  it("is wherever the job's author says", async () => {
    const surroundings = {
      variables: { MINE: TOKEN },
      readFile: async () => TOKEN,
    } as unknown as JobSurroundings;
    const request = { audience: AUDIENCE, signal };
    expect(await tokenAt({ kind: "variable", name: "MINE" }).token(surroundings, request)).toBe(TOKEN);
    expect(await tokenAt({ kind: "file", path: "/t" }).token(surroundings, request)).toBe(TOKEN);
    await expect(
      tokenAt({ kind: "variable", name: "OTHER" }).token(surroundings, request),
    ).rejects.toThrowCode("CONFIG_INVALID", /OTHER is not set/);
  });

  it.each<[string, Variables, RegExp]>([
    ["github", { GITHUB_ACTIONS: "true" }, /permissions: id-token: write/],
    ["forgejo", { FORGEJO_ACTIONS: "true" }, /enable-openid-connect/],
    ["azure-devops", { TF_BUILD: "True" }, /map it into the step/],
    ["gitlab", {}, /id_tokens: ASSAY_ID_TOKEN/],
    ["hcp-terraform", {}, /TFC_WORKLOAD_IDENTITY_AUDIENCE/],
    ["github", { ...ACTIONS, ACTIONS_ID_TOKEN_REQUEST_URL: "no url" }, /is no URL/],
  ])("is missing on %s with a word on what to do about it", async (name, variables, remedy) => {
    await expect(job(variables).ask(name)).rejects.toThrowCode("CONFIG_INVALID", remedy);
  });

  it.each<[PlatformAnswer, RegExp, ErrorCode?]>([
    [{ status: 403, body: TOKEN }, /status 403/, "CONFIG_INVALID"],
    [{ status: 404, body: TOKEN }, /status 404/, "CONFIG_INVALID"],
    [{ status: 429, body: TOKEN }, /status 429/],
    [{ status: 503, body: TOKEN }, /status 503/],
    [{ status: 302, body: "" }, /status 302/],
    [{ status: 200, body: "<html>" }, /its answer has no value/],
    [{ status: 200, body: "null" }, /its answer has no value/],
    [{ status: 200, body: JSON.stringify({ value: 7 }) }, /its answer has no value/],
  ])(
    "is not found in an answer %j, which is not repeated",
    async (answer, text, code = "REMOTE_UNAVAILABLE") => {
      const asking = job(ACTIONS, { ask: async () => answer }).ask();
      await expect(asking).rejects.toThrowCode(code, text);
      await asking.catch((error: unknown) => expect(String(error)).not.toContain("eyJ"));
    },
  );

  it.each(["", "not a token", "a.b", "a.b.c.d", `${"x".repeat(20_000)}.b.c`, "a.b.c\nd.e.f"])(
    "is refused where it cannot be one: %s",
    (text) => {
      expect(() => tokenFrom(text, "the file")).toThrowCode("CONFIG_INVALID", /^the file holds/);
      try {
        tokenFrom(text, "the file");
      } catch (error) {
        if (text.length > 4) expect((error as AssayError).detail).not.toContain(text.slice(0, 12));
      }
    },
  );
});
