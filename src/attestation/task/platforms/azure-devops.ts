import { AssayError } from "../../../errors/assay-error.ts";
import { type JobPlatform, requireVariable, tokenInAnswer } from "./job-platform.ts";

/** Azure DevOps: an endpoint gives the pipeline's token; its audience is the same for everybody and cannot be chosen. */
export const azureDevops: JobPlatform = {
  name: "azure-devops",
  title: "Azure DevOps",
  recognises: (variables) => /^true$/i.test(variables["TF_BUILD"] ?? ""),
  secrets: ["SYSTEM_ACCESSTOKEN"],
  signs: ["TF_BUILD", "SYSTEM_OIDCREQUESTURI"],
  async token({ variables, ask }, { signal }) {
    const bearer = requireVariable(
      variables,
      "SYSTEM_ACCESSTOKEN",
      "map it into the step, `env: SYSTEM_ACCESSTOKEN: $(System.AccessToken)`",
    );
    const address = requireVariable(
      variables,
      "SYSTEM_OIDCREQUESTURI",
      "this agent gives no OpenID Connect tokens",
    );
    if (!URL.canParse(address)) throw new AssayError("CONFIG_INVALID", "SYSTEM_OIDCREQUESTURI is no URL");
    const url = new URL(address);
    url.searchParams.set("api-version", "7.1");
    const headers = {
      authorization: `Bearer ${bearer}`,
      accept: "application/json",
      "content-type": "application/json",
      // A bearer that is not taken shall be a refusal, and no page to sign in at.
      "x-tfs-fedauthredirect": "Suppress",
    };
    return tokenInAnswer(
      await ask({ method: "POST", url: url.href, headers }, signal),
      "oidcToken",
      "Azure DevOps",
    );
  },
};
