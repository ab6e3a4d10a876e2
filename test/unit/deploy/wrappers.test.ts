import { execFileSync } from "node:child_process";
import { statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import manifest from "../../../package.json" with { type: "json" };
import { at, DEPLOY, deployText, deployYaml, keysOf } from "./deploy-files.ts";

const SETTINGS = [
  "server",
  "trust-bundle",
  "write-files",
  "jwt-files",
  "hide-platform-token",
  "version",
  "package",
];
const [action] = deployYaml("github-action", "action.yml");
const [plugin] = deployYaml("buildkite-plugin", "plugin.yml");
const [header, jobs] = deployYaml("gitlab-component", "templates", "task.yml");
const program = deployText("github-action", "run-task.sh");

describe("the GitHub Action", () => {
  it("has only keys that GitHub documents", () => {
    expect(new Set(["name", "description", "author", "branding", "inputs", "outputs", "runs"])).toEqual(
      new Set([...keysOf(action, "the Action"), "outputs"]),
    );
    for (const [name, input] of Object.entries(at(action, "inputs") as object)) {
      for (const key of keysOf(input, name)) expect(["description", "required", "default"]).toContain(key);
      expect(at(input, "description"), name).toMatch(/\.$/);
      // GitHub compares what it is given as text.
      expect(["string", "undefined"], name).toContain(typeof at(input, "default"));
    }
    expect(keysOf(at(action, "runs"), "runs")).toEqual(["using", "steps"]);
    for (const step of at(action, "runs", "steps") as unknown[]) {
      for (const key of keysOf(step, "a step")) {
        expect(["name", "id", "if", "shell", "working-directory", "env", "run", "uses", "with"]).toContain(
          key,
        );
      }
    }
  });

  it("has every setting, hands each over by the environment, and writes none into a script", () => {
    const inputs = keysOf(at(action, "inputs"), "inputs");
    expect(inputs.toSorted()).toEqual([...SETTINGS, "run", "audience", "working-directory"].toSorted());
    const step = at(action, "runs", "steps", 0);
    const env = at(step, "env") as Readonly<Record<string, string>>;
    for (const name of inputs) {
      if (name === "working-directory") continue;
      expect(env[variableOf(name)], name).toBe(`\${{ inputs.${name} }}`);
    }
    expect(at(step, "run")).not.toContain("${{");
  });
});

describe("the GitLab component", () => {
  it("has only keys that GitLab documents, in a header and one job", () => {
    expect(keysOf(header, "the header")).toEqual(["spec"]);
    expect(keysOf(at(header, "spec"), "spec")).toEqual(["inputs"]);
    for (const [name, input] of Object.entries(at(header, "spec", "inputs") as object)) {
      for (const key of keysOf(input, name))
        expect(["description", "default", "options", "regex", "type"]).toContain(key);
      const { options } = input as { readonly options?: readonly string[] };
      if (options !== undefined) expect(options, name).toContain(at(input, "default"));
    }
    expect(keysOf(jobs, "the jobs")).toEqual(["$[[ inputs.job ]]"]);
    const job = at(jobs, "$[[ inputs.job ]]");
    expect(keysOf(job, "the job")).toEqual(["stage", "image", "id_tokens", "variables", "script"]);
    for (const variable of Object.values(at(job, "variables") as object)) {
      if (typeof variable === "string") continue;
      for (const key of keysOf(variable, "a variable")) expect(["value", "expand"]).toContain(key);
    }
  });

  it("has every setting and uses no other, as a whole value and never within a script", () => {
    const inputs = keysOf(at(header, "spec", "inputs"), "inputs");
    expect(inputs.toSorted()).toEqual([...SETTINGS, "job", "stage", "image", "run"].toSorted());
    const used = new Set(JSON.stringify(jobs).match(/inputs\.[a-z-]+/g));
    expect([...used].toSorted()).toEqual(inputs.map((name) => `inputs.${name}`).toSorted());
    const job = at(jobs, "$[[ inputs.job ]]");
    expect(JSON.stringify(at(job, "script"))).not.toContain("$[[");
    for (const name of [...SETTINGS, "run"]) {
      const variable = at(job, "variables", variableOf(name));
      const value = `$[[ inputs.${name} ]]`;
      expect(variable, name).toEqual(name === "trust-bundle" ? value : { value, expand: false });
    }
  });

  it("asks for a token with one audience, the server's URL", () => {
    expect(at(jobs, "$[[ inputs.job ]]", "id_tokens")).toEqual({
      ASSAY_ID_TOKEN: { aud: "$[[ inputs.server ]]" },
    });
  });

  it("has the Action's script to the letter, which GitLab leaves as it is", () => {
    expect(at(jobs, "$[[ inputs.job ]]", "variables", "ASSAY_INPUT_PROGRAM")).toEqual({
      value: program,
      expand: false,
    });
    // GitLab would take these for an interpolation, whatever `expand` says.
    expect(program).not.toContain("$[[");
  });
});

describe("the Buildkite plugin", () => {
  it("has only keys that Buildkite documents, and a schema of its settings", () => {
    expect(keysOf(plugin, "the plugin")).toEqual([
      "name",
      "description",
      "author",
      "requirements",
      "configuration",
    ]);
    const configuration = at(plugin, "configuration");
    expect(keysOf(configuration, "configuration")).toEqual([
      "properties",
      "required",
      "additionalProperties",
    ]);
    expect(keysOf(at(configuration, "properties"), "properties").toSorted()).toEqual(
      [...SETTINGS, "audience"].toSorted(),
    );
    expect(at(configuration, "required")).toEqual(["server"]);
    expect(at(configuration, "additionalProperties")).toBe(false);
  });

  it("has hooks that Buildkite starts, which read every setting", () => {
    for (const hook of ["command", "pre-exit"]) {
      expect(statSync(join(DEPLOY, "buildkite-plugin", "hooks", hook)).mode & 0o111, hook).toBe(0o111);
    }
    const command = deployText("buildkite-plugin", "hooks", "command");
    for (const name of [...SETTINGS, "audience"]) {
      expect(command).toContain(`BUILDKITE_PLUGIN_ASSAY_TASK_${name.toUpperCase().replaceAll("-", "_")}`);
    }
  });

  it("has the Action's script to the letter", () => {
    expect(deployText("buildkite-plugin", "task", "run-task.sh")).toBe(program);
  });
});

describe("what all have", () => {
  it("installs this version, and no other by itself", () => {
    const { version } = manifest;
    expect(at(action, "inputs", "version", "default")).toBe(version);
    expect(at(header, "spec", "inputs", "version", "default")).toBe(version);
    expect(at(plugin, "configuration", "properties", "version", "default")).toBe(version);
    expect(deployText("buildkite-plugin", "hooks", "command")).toContain(`_VERSION:-${version}}`);
    for (const document of [action, at(header, "spec")]) {
      expect(at(document, "inputs", "package", "default")).toBe(manifest.name);
    }
  });

  it.each([
    ["github-action", "run-task.sh"],
    ["buildkite-plugin", "task", "job-folder.sh"],
    ["buildkite-plugin", "hooks", "command"],
    ["buildkite-plugin", "hooks", "pre-exit"],
  ])("is shell that bash can read, with nothing that evaluates text (%s/%s)", (...names) => {
    execFileSync("bash", ["-n", join(DEPLOY, ...names)]);
    expect(deployText(...names)).not.toMatch(/\beval\b|bash -c|sh -c|`/);
  });
});

describe("deploy/README.md", () => {
  const blocks = [...deployText("README.md").matchAll(/```yaml\n([\s\S]*?)```/g)].map(
    ([, text = ""]): unknown => parse(text),
  );

  it("shows each wrapper with settings that it has, and all that it needs", () => {
    const [github, gitlab, buildkite] = blocks;
    expect(blocks).toHaveLength(3);
    const given = at(github, "steps", 0, "with");
    expect(required(at(action, "inputs"), ({ required: wanted }) => wanted === true)).toEqual(
      keysOf(given, "with").toSorted(),
    );
    const inputs = at(gitlab, "include", 0, "inputs");
    expect(required(at(header, "spec", "inputs"), (input) => !("default" in input))).toEqual(
      keysOf(inputs, "inputs").toSorted(),
    );
    const [settings] = Object.values(at(buildkite, "steps", 0, "plugins", 0) as object) as unknown[];
    expect(keysOf(settings, "the plugin's settings")).toEqual(at(plugin, "configuration", "required"));
  });

  it.each(SETTINGS)("explains %s", (name) => {
    expect(deployText("README.md")).toMatch(new RegExp(`^\\| \`${name}\` \\| `, "m"));
  });

  function required(
    declared: unknown,
    isRequired: (input: { readonly required?: boolean }) => boolean,
  ): readonly string[] {
    return Object.entries(declared as Record<string, { readonly required?: boolean }>)
      .flatMap(([name, input]) => (isRequired(input) ? [name] : []))
      .toSorted();
  }
});

function variableOf(setting: string): string {
  return `ASSAY_INPUT_${setting.toUpperCase().replaceAll("-", "_")}`;
}
