import { describe, expect, it } from "vitest";
import manifest from "../../../package.json" with { type: "json" };
import type { TaskRunOptions } from "../../../src/agent/task/run-task.ts";
import { runCommand } from "../../fakes/cli.ts";
import { deployText, deployYaml, SNIPPETS } from "./deploy-files.ts";

/** What a job of each platform has in its environment, by which it is recognised, and what it is called then. */
const PLATFORMS: Readonly<Record<string, readonly [name: string, sign: string]>> = {
  Jenkinsfile: ["jenkins", "JENKINS_URL"],
  "argo-workflows.yaml": ["kubernetes", "KUBERNETES_SERVICE_HOST"],
  "azure-pipelines.yml": ["azure-devops", "TF_BUILD"],
  "bitbucket-pipelines.yml": ["bitbucket", "BITBUCKET_BUILD_NUMBER"],
  "circleci.yml": ["circleci", "CIRCLECI"],
  "codefresh.yml": ["codefresh", "CF_BUILD_ID"],
  "forgejo.yml": ["forgejo", "FORGEJO_ACTIONS"],
  "hcp-terraform.tf": ["hcp-terraform", "TFC_RUN_ID"],
  "semaphore.yml": ["semaphore", "SEMAPHORE"],
  "spacelift.yml": ["spacelift", "SPACELIFT_OIDC_TOKEN"],
  "tekton.yaml": ["kubernetes", "KUBERNETES_SERVICE_HOST"],
};

/** The keys of one file's outermost mapping, as its platform documents them. */
const TOP_KEYS: Readonly<Record<string, readonly string[]>> = {
  "argo-workflows.yaml": ["apiVersion", "kind", "metadata", "spec"],
  "azure-pipelines.yml": ["pool", "steps"],
  "bitbucket-pipelines.yml": ["image", "pipelines"],
  "circleci.yml": ["version", "jobs", "workflows"],
  "codefresh.yml": ["version", "steps"],
  "forgejo.yml": ["on", "jobs"],
  "semaphore.yml": ["version", "name", "agent", "blocks"],
  "spacelift.yml": ["version", "stacks"],
  "tekton.yaml": ["apiVersion", "kind", "metadata", "spec"],
};

it("is there for every platform that has no wrapper", () => {
  expect(SNIPPETS).toEqual(Object.keys(PLATFORMS).toSorted());
});

it.each(SNIPPETS.filter((name) => /\.ya?ml$/.test(name)))(
  "%s is one YAML document with the keys of its platform",
  (name) => {
    const documents = deployYaml("ci", name);
    expect(documents).toHaveLength(1);
    expect(Object.keys(documents[0] as object)).toEqual(TOP_KEYS[name]);
  },
);

describe.each(SNIPPETS)("%s", (name) => {
  const text = deployText("ci", name);
  const [platform = "", sign = ""] = PLATFORMS[name] ?? [];

  it("starts a command line that the program takes, for the platform that a job finds itself on", async () => {
    const lines = commandLines(text);
    expect(lines).toHaveLength(1);
    const seen: TaskRunOptions[] = [];
    const refuse = () => Promise.reject(new Error("not here"));
    const { stderr } = await runCommand(lines[0] ?? [], {
      environment: {
        spiffeEndpointSocket: undefined,
        notifySocket: undefined,
        variables: { ASSAY_SERVER: "https://assay.example.org", [sign]: "true" },
      },
      programs: {
        prepare: refuse,
        startServer: refuse,
        startAgent: refuse,
        runTask: async (options) => {
          seen.push(options);
          return 0;
        },
      },
    });
    expect(stderr).toBe("");
    expect(seen).toMatchObject([
      {
        server: "https://assay.example.org",
        audience: "https://assay.example.org",
        platform: { name: platform },
        command: ["bash", "-eo", "pipefail", expect.stringMatching(/\/(deploy|read-database)\.sh$/)],
      },
    ]);
  });

  it("installs exactly this version, and lets nothing of it run while it installs", () => {
    const installs = text.split("\n").filter((line) => /npm (install|i|exec)|npx/.test(line));
    for (const line of installs) {
      expect(line).toContain("--ignore-scripts");
      expect(line.endsWith(` ${manifest.name}@${manifest.version}`), line).toBe(true);
    }
    const brings = /image that has assay|image has assay/.test(text);
    expect(installs.length, "how assay comes there").toBe(brings ? 0 : 1);
  });

  it("holds no secret, and puts no value of the platform between the lines of its script", () => {
    expect(text).not.toMatch(/BEGIN [A-Z ]*PRIVATE|eyJ|password|secret_?key/i);
    for (const line of text.split("\n")) {
      if (/^\s*(#|\/\/)/.test(line)) continue;
      if (/assay task run|npm install/.test(line)) expect(line).not.toMatch(/\$\{\{|<<|\$\(|`/);
    }
  });
});

/** Every `assay task run …` of a text, in words: as a shell line, or as the strings of a list. */
function commandLines(text: string): string[][] {
  const shell = [...text.matchAll(/^[\s-]*assay (task run .*)$/gm)].map(([, words = ""]) => words.split(" "));
  const lists = [...text.matchAll(/"assay", ("task", "run",[^\]]*)\]/g)].map(([, words = ""]) =>
    [...words.matchAll(/"([^"]*)"/g)].map(([, word = ""]) => word),
  );
  return [...shell, ...lists];
}
