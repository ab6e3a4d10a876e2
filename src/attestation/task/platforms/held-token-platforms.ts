import { AssayError } from "../../../errors/assay-error.ts";
import { type JobPlatform, requireVariable, tokenFrom, type Variables } from "./job-platform.ts";

/** Where a job keeps the token that its platform gave it: `--token-env`, `--token-file`. */
export type TokenPlace =
  | { readonly kind: "variable"; readonly name: string }
  | { readonly kind: "file"; readonly path: string };

/** The variable that we suggest where a job's author names it. */
export const TOKEN_VARIABLE = "ASSAY_ID_TOKEN";

/** Where a projected token of a Kubernetes service account is looked for, unless a variable says otherwise. */
export const KUBERNETES_TOKEN_FILE = "/var/run/secrets/assay/token";

/** The variable that says where else a token's file is. */
export const TOKEN_FILE_VARIABLE = "ASSAY_ID_TOKEN_FILE";

/** Platforms that give a job its token before it begins. */
export const heldTokenPlatforms: readonly JobPlatform[] = [
  {
    name: "gitlab",
    title: "GitLab CI",
    sign: "GITLAB_CI",
    variable: TOKEN_VARIABLE,
    remedy: `give the job \`id_tokens: ${TOKEN_VARIABLE}: aud: <URL of the server>\``,
  },
  {
    name: "bitbucket",
    title: "Bitbucket Pipelines",
    sign: "BITBUCKET_BUILD_NUMBER",
    variable: "BITBUCKET_STEP_OIDC_TOKEN",
    remedy: "give the step `oidc: true`, with the server's URL among `audiences`",
  },
  {
    name: "jenkins",
    title: "Jenkins",
    sign: "JENKINS_URL",
    variable: TOKEN_VARIABLE,
    remedy: `bind an OpenID Connect id token credential to ${TOKEN_VARIABLE} (or, as a file, to ${TOKEN_FILE_VARIABLE})`,
  },
  {
    name: "hcp-terraform",
    title: "HCP Terraform",
    sign: "TFC_RUN_ID",
    variable: "TFC_WORKLOAD_IDENTITY_TOKEN",
    remedy: "set TFC_WORKLOAD_IDENTITY_AUDIENCE of the workspace to the server's URL",
  },
  {
    name: "spacelift",
    title: "Spacelift",
    sign: "SPACELIFT_OIDC_TOKEN",
    variable: "SPACELIFT_OIDC_TOKEN",
    remedy: "this account gives no OpenID Connect tokens",
  },
  {
    name: "codefresh",
    title: "Codefresh",
    sign: "CF_BUILD_ID",
    variable: "ID_TOKEN",
    remedy: "run the step obtain-oidc-id-token first, with AUDIENCE set to the server's URL",
  },
  {
    name: "semaphore",
    title: "Semaphore",
    sign: "SEMAPHORE",
    variable: "SEMAPHORE_OIDC_TOKEN",
    remedy: "this organisation gives no OpenID Connect tokens",
  },
].map(heldToken);

/** A pod: the token of its service account, projected for our audience. The pod's ordinary token is never looked at. */
export const kubernetes: JobPlatform = {
  name: "kubernetes",
  title: "Kubernetes",
  recognises: (variables) => isSet(variables, "KUBERNETES_SERVICE_HOST"),
  secrets: [],
  signs: ["KUBERNETES_SERVICE_HOST", TOKEN_FILE_VARIABLE],
  async token({ variables, readFile }) {
    const path = variables[TOKEN_FILE_VARIABLE] || KUBERNETES_TOKEN_FILE;
    try {
      return tokenFrom(await readFile(path), path);
    } catch (cause) {
      const reason = cause instanceof AssayError ? cause.detail : "it cannot be read";
      throw new AssayError(
        "CONFIG_INVALID",
        `${reason} (mount a projected service account token there, with the server's URL as its audience)`,
        { cause },
      );
    }
  },
};

/** Any place at all that a job's author names. */
export function tokenAt(place: TokenPlace): JobPlatform {
  return {
    name: "generic",
    title: place.kind === "file" ? `file ${place.path}` : `variable ${place.name}`,
    recognises: () => true,
    secrets: place.kind === "file" ? [] : [place.name],
    signs: [],
    async token({ variables, readFile }) {
      if (place.kind === "file") return tokenFrom(await readFile(place.path), place.path);
      const remedy = "--token-env names a variable that holds the platform's token";
      return tokenFrom(requireVariable(variables, place.name, remedy), place.name);
    },
  };
}

interface HeldToken {
  readonly name: string;
  readonly title: string;
  /** A variable that every job of the platform has. */
  readonly sign: string;
  readonly variable: string;
  readonly remedy: string;
}

function heldToken({ name, title, sign, variable, remedy }: HeldToken): JobPlatform {
  return {
    name,
    title,
    recognises: (variables) => isSet(variables, sign),
    secrets: [variable],
    signs: variable === TOKEN_VARIABLE ? [sign, TOKEN_FILE_VARIABLE] : [sign],
    async token({ variables, readFile }) {
      const file = variable === TOKEN_VARIABLE ? variables[TOKEN_FILE_VARIABLE] : undefined;
      if (!isSet(variables, variable) && file !== undefined && file !== "") {
        return tokenFrom(await readFile(file), file);
      }
      return tokenFrom(requireVariable(variables, variable, remedy), variable);
    },
  };
}

function isSet(variables: Variables, name: string): boolean {
  const value = variables[name];
  return value !== undefined && value !== "" && value !== "false";
}
