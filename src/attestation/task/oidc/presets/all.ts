import type { OidcPreset } from "../preset.ts";
import { azureDevops } from "./azure-devops.ts";
import { bitbucket } from "./bitbucket.ts";
import { buildkite } from "./buildkite.ts";
import { circleci } from "./circleci.ts";
import { codefresh } from "./codefresh.ts";
import { forgejo } from "./forgejo.ts";
import { githubActions } from "./github-actions.ts";
import { gitlab } from "./gitlab.ts";
import { hcpTerraform } from "./hcp-terraform.ts";
import { jenkins } from "./jenkins.ts";
import { kubernetes } from "./kubernetes.ts";
import { semaphore } from "./semaphore.ts";
import { spacelift } from "./spacelift.ts";

/** The platforms whose tokens we know, by the name that a configuration has for them. */
export const PRESETS: ReadonlyMap<string, OidcPreset> = new Map(
  [
    githubActions,
    gitlab,
    buildkite,
    circleci,
    azureDevops,
    bitbucket,
    jenkins,
    hcpTerraform,
    spacelift,
    codefresh,
    semaphore,
    forgejo,
    kubernetes,
  ].map((preset) => [preset.name, preset]),
);
