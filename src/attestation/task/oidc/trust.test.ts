import { describe, expect, it } from "vitest";
import { CI_AUDIENCE, CI_PLATFORMS } from "../../../../test/fakes/ci-tokens.ts";
import { config } from "./config.ts";
import { judgeClaims } from "./judge-claims.ts";
import { PRESETS } from "./presets/all.ts";
import { trustOf } from "./trust.ts";

const trust = (given: object) => trustOf(config.parse(given), CI_AUDIENCE);

describe("an issuer", () => {
  it.each(["github-actions", "gitlab", "buildkite", "hcp-terraform", "codefresh"])(
    "that %s shares with strangers is refused where no id is bound",
    (preset) => {
      expect(() => trust({ preset })).toThrowCode("CONFIG_INVALID", /allow must bind one of/);
    },
  );

  it.each([
    ["circleci", "https://oidc.circleci.com"],
    ["bitbucket", "https://api.bitbucket.org/2.0/workspaces/acme/pipelines-config/identity/oidc"],
    ["semaphore", "https://acme.semaphoreci.com"],
    ["forgejo", "https://codeberg.org/api/actions"],
    ["github-actions", "https://token.actions.githubusercontent.com/acme"],
  ])("of %s that strangers may come to share is refused where no id is bound: %s", (preset, issuer) => {
    expect(() => trust({ preset, issuer })).toThrowCode("CONFIG_INVALID", /allow must bind one of/);
    const [tenant = ""] = PRESETS.get(preset)?.tenantIds ?? [];
    const id = "6c4f8a3e-70fc-4f4c-9fe0-1d5a5c0c0001";
    expect(trust({ preset, issuer, allow: { [tenant]: [id] } }).issuer).toBe(issuer);
  });

  it("that is shared is refused where only a name is bound", () => {
    const allow = { repository: ["octo-org/octo-repo"], environment: ["prod"] };
    expect(() => trust({ preset: "github-actions", allow })).toThrowCode("CONFIG_INVALID", /allow must bind/);
  });

  it.each([
    ["github-actions", "https://token.actions.acme.ghe.com"],
    ["github-actions", "https://ghes.example.com/_services/token"],
    ["gitlab", "https://gitlab.example.com"],
    ["circleci", "https://oidc.circleci.com/org/6c4f8a3e-70fc-4f4c-9fe0-1d5a5c0c0001"],
    ["azure-devops", "https://vstoken.dev.azure.com/6c4f8a3e-70fc-4f4c-9fe0-1d5a5c0c0001"],
    ["jenkins", "https://jenkins.example.com/job/folder/oidc"],
    ["hcp-terraform", "https://tfe.example.com"],
    ["spacelift", "https://acme.app.spacelift.io"],
    ["kubernetes", "https://kubernetes.default.svc.cluster.local"],
  ])("of one's own needs no condition: %s %s", (preset, issuer) => {
    expect(trust({ preset, issuer })).toMatchObject({ issuer });
  });

  it.each([
    ["github-actions", "https://token.actions.githubusercontent.com.evil.example"],
    ["github-actions", "https://token.actions.githubusercontent.com/"],
    ["github-actions", "https://token.actions.githubusercontent.com/a/b"],
    ["github-actions", "https://evil.example/?/_services/token"],
    ["buildkite", "https://agent.buildkite.com.evil.example"],
    ["circleci", "https://oidc.circleci.com/org/acme"],
    ["azure-devops", "https://login.microsoftonline.com/6c4f8a3e-70fc-4f4c-9fe0-1d5a5c0c0001/v2.0"],
    ["azure-devops", "https://vstoken.dev.azure.com/acme"],
    ["forgejo", "https://forgejo.example.com"],
    ["gitlab", "http://gitlab.example.com"],
    ["gitlab", "https://GitLab.com"],
    ["gitlab", "https://gitlab.com:443"],
    ["gitlab", "https://gitlab.com/#x"],
    ["gitlab", "https://u@gitlab.com"],
    ["gitlab", "https://gitlаb.com"],
    ["gitlab", "gitlab.com"],
    ["gitlab", CI_AUDIENCE],
  ])("of %s must be written as its issuers are: %s", (preset, issuer) => {
    expect(() => trust({ preset, issuer })).toThrowCode("CONFIG_INVALID", /^issuer/);
  });

  it("must be named where the platform has many", () => {
    expect(() => trust({ preset: "jenkins" })).toThrowCode("CONFIG_INVALID", /issuer must be set/);
  });

  it("may be an imitation where the operator says so", () => {
    const issuer = "https://localhost:8443/buildkite";
    expect(() => trust({ preset: "buildkite", issuer })).toThrowCode("CONFIG_INVALID", /^issuer/);
    expect(trust({ preset: "buildkite", issuer, imitation: true })).toMatchObject({ issuer });
    // The real one stays shared, whatever is said of it.
    expect(() => trust({ preset: "buildkite", imitation: true })).toThrowCode("CONFIG_INVALID", /allow must/);
  });
});

describe("an audience", () => {
  const own = { preset: "gitlab", issuer: "https://gitlab.example.com" };

  it("is our own issuer unless the platform fixes it", () => {
    expect(trust(own).audience).toBe(CI_AUDIENCE);
    expect(trust({ ...own, audience: "x" }).audience).toBe("x");
    const fixed = (preset: string) =>
      trust({ preset, issuer: sampleIssuer(preset), allow: { org_id: [UUID] } }).audience;
    expect(fixed("azure-devops")).toBe("api://AzureADTokenExchange");
    expect(fixed("semaphore")).toBe("https://acme.semaphoreci.com");
    expect(trust({ preset: "spacelift", issuer: "https://acme.app.spacelift.io" }).audience).toBe(
      "acme.app.spacelift.io",
    );
  });

  it.each([
    ["gitlab", "https://gitlab.example.com"],
    ["gitlab", "https://gitlab.com"],
    ["github-actions", "https://github.com/octo-org"],
    ["kubernetes", "https://kubernetes.default.svc"],
    ["kubernetes", "pods.eks.amazonaws.com"],
    ["circleci", "6c4f8a3e-70fc-4f4c-9fe0-1d5a5c0c0001"],
    ["codefresh", "https://g.codefresh.io"],
    ["bitbucket", "ari:cloud:bitbucket::workspace/x"],
    ["buildkite", "https://buildkite.com/acme"],
  ])("that tokens of %s have for others is refused: %s", (preset, audience) => {
    const issuer = preset === "gitlab" ? own.issuer : sampleIssuer(preset);
    const given = { preset, issuer, audience, allow: allowFor(preset) };
    expect(() => trust(given)).toThrowCode("CONFIG_INVALID", /audience/);
  });

  it("cannot be chosen where the platform fixes it, and must be something", () => {
    const given = { preset: "azure-devops", issuer: sampleIssuer("azure-devops"), audience: "x" };
    expect(() => trust(given)).toThrowCode("CONFIG_INVALID", /cannot be chosen/);
    expect(() => trustOf(config.parse(own), "")).toThrowCode("CONFIG_INVALID", /audience must be set/);
  });
});

describe("conditions", () => {
  it.each<[object, RegExp]>([
    [{ allow: { nonsense: ["x"] } }, /nonsense is no claim/],
    [{ allow: { __proto__: ["x"], constructor: ["x"] } }, /constructor is no claim/],
    [{ allow: { ref_protected: ["yes"] } }, /must be true or false/],
  ])("are about claims that there are, in their form: %j", (given, detail) => {
    const own = { preset: "gitlab", issuer: "https://gitlab.example.com" };
    expect(() => trust({ ...own, ...given })).toThrowCode("CONFIG_INVALID", detail);
  });

  it("take a number for its text and a property by its name", () => {
    const allow = { repository_owner_id: [1000], repo_property_pci: ["true"] };
    expect([...trust({ preset: "github-actions", allow }).allow]).toEqual([
      ["repository_owner_id", ["1000"]],
      ["repo_property_pci", ["true"]],
    ]);
  });

  it.each<[object, string]>([
    [{ allow: { project_id: ["2*"] } }, "an asterisk, which would mean itself"],
    [{ allow: { project_id: [] } }, "no value"],
    [{ allow: { project_id: "20" } }, "no list"],
    [{ algorithms: ["HS256"] }, "an algorithm that is not allowed"],
    [{ algorithms: [] }, "no algorithm"],
    [{ max_token_age: 600 }, "a duration without unit"],
    [{ max_token_age: "5s" }, "a duration that is too short"],
    [{ max_token_age: "2000h" }, "a duration that is too long"],
    [{ jwks_file: "/a", jwks_url: "https://a.example/" }, "two sources of keys"],
    [{ jwks_url: "http://a.example/" }, "keys without TLS"],
    [{ allowed_addresses: ["local"] }, "no address"],
    [{ preset: "gitea" }, "an unknown platform"],
    [{ unknown: 1 }, "an unknown key"],
  ])("are refused as configuration: %j", (given) => {
    expect(config.safeParse({ preset: "gitlab", ...given }).success).toBe(false);
  });
});

describe("an issuer that no preset knows", () => {
  const preset = {
    platform: "batch",
    tenant_claims: ["org"],
    claims: [
      { claim: "org_id", name: "org", kind: "id", required: true, selector: "org" },
      { claim: ["run", "id"], name: "run", kind: "id" },
      { claim: "queue", selector: "queue", authored: true },
      { claim: "trigger", selector: "trigger" },
    ],
    run: ["org", "run"],
    guarded: [{ claim: "trigger", except: ["cron"] }],
    refused: [{ claim: "queue", values: ["debug"] }],
  };
  const issuer = "https://batch.example.com";
  const claims = { org_id: 7, run: { id: "r1" }, queue: "q", trigger: "web" };

  it("is a few lines of configuration", () => {
    const run = judgeClaims(trust({ preset, issuer, allow: { org: [7] } }), claims);
    expect(run).toMatchObject({
      platform: "batch",
      claims: { org: "7", run: "r1", queue: "q", trigger: "web" },
      authoredClaims: ["queue"],
      guarded: [{ type: "batch", value: "trigger:web" }],
      granularity: "job",
      taskKey: "https%3A%2F%2Fbatch.example.com/7/r1/",
      description: "org 7 run r1",
    });
    const debug = { ...claims, queue: "debug" };
    expect(() => judgeClaims(trust({ preset, issuer, allow: { org: [7] } }), debug)).toThrowCode(
      "ATTESTATION_FAILED",
      /queue/,
    );
  });

  it("may name claims as every object has members, without finding those", () => {
    const named = {
      ...preset,
      claims: [
        ...preset.claims,
        { claim: "toString", name: "a" },
        { claim: ["run", "constructor"], name: "b" },
      ],
    };
    const trusted = trust({ preset: named, issuer, allow: { org: [7] } });
    expect(judgeClaims(trusted, claims).claims).not.toHaveProperty("a");
    expect(judgeClaims(trusted, { ...claims, toString: "x" }).claims).toMatchObject({ a: "x" });
  });

  it("is shared with strangers unless the operator says that it is not", () => {
    expect(() => trust({ preset, issuer })).toThrowCode("CONFIG_INVALID", /allow must bind one of org/);
    expect(trust({ preset: { ...preset, multi_tenant: false }, issuer }).issuer).toBe(issuer);
  });

  it.each([
    "https://token.actions.githubusercontent.com",
    "https://gitlab.com",
    "https://accounts.google.com",
  ])("is shared whatever the operator says where everybody is known to have its tokens: %s", (known) => {
    const own = { ...preset, multi_tenant: false };
    expect(() => trust({ preset: own, issuer: known })).toThrowCode("CONFIG_INVALID", /allow must bind/);
    expect(trust({ preset: own, issuer: known, allow: { org: [7] } }).issuer).toBe(known);
    expect(() => trust({ preset: "kubernetes", issuer: known })).toThrowCode("CONFIG_INVALID");
  });

  it.each<[object, RegExp]>([
    [{ tenant_claims: ["nope"] }, /nope is not among its claims/],
    [{ run: ["nope"] }, /nope is not among its claims/],
    [{ run: ["queue"] }, /queue cannot name a run/],
    [{ tenant_claims: ["queue"] }, /queue cannot name a run or its owner/],
    [{ guarded: [{ claim: "run", values: ["x"] }] }, /run is guarded and needs a selector/],
    [{ claims: [...preset.claims, { claim: "queue" }] }, /two claims have one name/],
    [{ claims: [...preset.claims, { claim: "https://x/y" }] }, /needs a name/],
  ])("is refused where it contradicts itself: %j", (change, detail) => {
    expect(() => trust({ preset: { ...preset, ...change }, issuer, allow: { org: [7] } })).toThrowCode(
      "CONFIG_INVALID",
      detail,
    );
  });
});

it.each(CI_PLATFORMS)("the preset of %s keeps the rules that hold for an operator's", (platform) => {
  expect(
    trust({ preset: platform, issuer: sampleIssuer(platform), allow: allowFor(platform) }).preset.name,
  ).toBe(platform);
});

const UUID = "6c4f8a3e-70fc-4f4c-9fe0-1d5a5c0c0001";

function sampleIssuer(platform: string): string {
  return PRESETS.get(platform)?.sample.issuer ?? "";
}

function allowFor(platform: string): Record<string, string[]> {
  const [tenant] = PRESETS.get(platform)?.tenantIds ?? [];
  return tenant === undefined ? {} : { [tenant]: [UUID] };
}
