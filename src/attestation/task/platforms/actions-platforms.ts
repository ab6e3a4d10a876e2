import { AssayError } from "../../../errors/assay-error.ts";
import { type JobPlatform, requireVariable, tokenInAnswer, type Variables } from "./job-platform.ts";

// The platforms below are made when this file is loaded, and read these.
const TOKEN_VARIABLE = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";
const URL_VARIABLE = "ACTIONS_ID_TOKEN_REQUEST_URL";

/** GitHub Actions on github.com, GHE.com and GitHub Enterprise Server: a job with `id-token: write` asks an endpoint. */
export const github: JobPlatform = actionsPlatform({
  name: "github",
  title: "GitHub Actions",
  remedy: "give the job `permissions: id-token: write`",
  recognises: (variables) => variables["GITHUB_ACTIONS"] === "true" && !isForgejo(variables),
});

/** Forgejo Actions: the same endpoint and variables, switched on by `enable-openid-connect`. */
export const forgejo: JobPlatform = actionsPlatform({
  name: "forgejo",
  title: "Forgejo Actions",
  remedy: "give the job `enable-openid-connect: true`",
  recognises: isForgejo,
});

function actionsPlatform({
  remedy,
  ...facts
}: Pick<JobPlatform, "name" | "title" | "recognises"> & { readonly remedy: string }): JobPlatform {
  return {
    ...facts,
    secrets: [TOKEN_VARIABLE],
    signs: [URL_VARIABLE, "GITHUB_ACTIONS", "FORGEJO_ACTIONS", "GITEA_ACTIONS"],
    async token({ variables, ask }, { audience, signal }) {
      const bearer = requireVariable(variables, TOKEN_VARIABLE, remedy);
      const address = requireVariable(variables, URL_VARIABLE, remedy);
      if (!URL.canParse(address)) throw new AssayError("CONFIG_INVALID", `${URL_VARIABLE} is no URL`);
      const url = new URL(address);
      url.searchParams.set("audience", audience);
      const headers = { authorization: `Bearer ${bearer}`, accept: "application/json" };
      return tokenInAnswer(
        await ask({ method: "GET", url: url.href, headers }, signal),
        "value",
        facts.title,
      );
    },
  };
}

function isForgejo(variables: Variables): boolean {
  return variables["FORGEJO_ACTIONS"] === "true" || variables["GITEA_ACTIONS"] === "true";
}
