import { type JobPlatform, tokenFrom } from "./job-platform.ts";

/** Buildkite: its agent's own command asks. The ids are claims on request, and without them nothing may be trusted. */
export const buildkite: JobPlatform = {
  name: "buildkite",
  title: "Buildkite",
  recognises: (variables) => variables["BUILDKITE"] === "true",
  secrets: ["BUILDKITE_AGENT_ACCESS_TOKEN"],
  signs: ["BUILDKITE", "BUILDKITE_AGENT_ENDPOINT"],
  async token({ run }, { audience, signal }) {
    const args = ["oidc", "request-token", "--audience", audience, "--claim", BUILDKITE_CLAIMS];
    return tokenFrom(await run("buildkite-agent", args, signal), "what buildkite-agent printed");
  },
};

/** CircleCI: its command in the job gives tokens for any audience. */
export const circleci: JobPlatform = {
  name: "circleci",
  title: "CircleCI",
  recognises: (variables) => variables["CIRCLECI"] === "true",
  secrets: ["CIRCLE_OIDC_TOKEN", "CIRCLE_OIDC_TOKEN_V2"],
  signs: ["CIRCLECI"],
  async token({ run }, { audience, signal }) {
    const args = ["run", "oidc", "get", "--claims", JSON.stringify({ aud: audience })];
    return tokenFrom(await run("circleci", args, signal), "what circleci printed");
  },
};

const BUILDKITE_CLAIMS = "organization_id,pipeline_id,build_id";
