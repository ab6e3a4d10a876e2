import { AssayError } from "../../../errors/assay-error.ts";
import { forgejo, github } from "./actions-platforms.ts";
import { azureDevops } from "./azure-devops.ts";
import { buildkite, circleci } from "./command-platforms.ts";
import { heldTokenPlatforms, kubernetes } from "./held-token-platforms.ts";
import type { JobPlatform, Variables } from "./job-platform.ts";

/** All platforms, in the order in which they are looked for: a CI job may run in a pod. */
export const PLATFORMS: readonly JobPlatform[] = [
  github,
  forgejo,
  buildkite,
  circleci,
  azureDevops,
  ...heldTokenPlatforms,
  kubernetes,
];

/**
 * The platform of this name, or for `auto` the one that the variables are of.
 * @throws AssayError `CONFIG_INVALID` where there is none.
 */
export function findPlatform(name: string, variables: Variables): JobPlatform {
  const found = PLATFORMS.find((platform) =>
    name === "auto" ? platform.recognises(variables) : platform.name === name,
  );
  if (found !== undefined) return found;
  const names = PLATFORMS.map((platform) => platform.name).join(", ");
  throw new AssayError(
    "CONFIG_INVALID",
    name === "auto"
      ? `no CI platform was recognised by the environment: name one of ${names} by --platform, or the token's place by --token-env or --token-file`
      : `platform ${JSON.stringify(name)} is not known, expected auto or one of ${names}`,
  );
}

/** Names of all variables by which any platform is recognised or asked. */
export function platformVariables(): ReadonlySet<string> {
  return new Set(PLATFORMS.flatMap(({ secrets, signs }) => [...secrets, ...signs]));
}
