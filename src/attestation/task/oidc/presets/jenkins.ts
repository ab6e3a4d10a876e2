import type { OidcPreset } from "../preset.ts";

/**
 * Jenkins with the plugin "OpenID Connect Provider". Its tokens have neither `jti` nor `nbf`. A token made outside a
 * build has no `build_number` and is refused. Jobs are known by names, which can be given again.
 */
export const jenkins: OidcPreset = {
  name: "jenkins",
  title: "Jenkins",
  selectorType: "jenkins",
  issuers: [{ pattern: /^https:\/\/[^/]+(?:\/.*)?$/, example: "https://JENKINS-ROOT/oidc", shared: false }],
  claims: [
    { claim: "sub", name: "job_url", selector: "job-url", required: true },
    { claim: "build_number", name: "build_number", kind: "id" },
    { claim: "build_tag", name: "build_tag", authored: true },
    { claim: "branch_name", name: "branch_name", selector: "branch", authored: true },
    { claim: "change_id", name: "change_id", authored: true },
  ],
  derived: [
    {
      // Folders and job, without the `job` segments that a URL puts between them.
      name: "job",
      from: (claim) => {
        const segments =
          /^https?:\/\/[^/]+\/([^?#]*?)\/?$/.exec(claim("job_url") ?? "")?.[1]?.split("/") ?? [];
        const jobs = segments.slice(segments.indexOf("job"));
        return jobs.length % 2 === 0 && jobs.every((name, at) => at % 2 === 1 || name === "job")
          ? jobs.filter((_name, at) => at % 2 === 1).join("/")
          : undefined;
      },
    },
  ],
  tenantIds: [],
  runNames: { job: ["job_url", "build_number"] },
  maxTokenAge: 3600,
  maxTokenLifetime: 86_400,
  description: "{job_url} build {build_number}",
  sample: {
    issuer: "https://jenkins.example.com/oidc",
    claims: {
      sub: "https://jenkins.example.com/job/shop/job/deploy/",
      build_number: 42,
    },
  },
};
