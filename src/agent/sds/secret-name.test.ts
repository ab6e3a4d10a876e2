import { describe, expect, it } from "vitest";
import { DEFAULT_SDS_SETTINGS } from "./sds-settings.ts";
import { readSecretName } from "./secret-name.ts";

describe("the name of a secret", () => {
  it.each([
    ["default", { kind: "default_svid" }],
    ["ROOTCA", { kind: "own_bundle" }],
    ["ALL", { kind: "all_bundles" }],
    ["spiffe://example.org/web", { kind: "svid", spiffeId: "spiffe://example.org/web" }],
    ["spiffe://example.org", { kind: "bundle", trustDomain: "example.org" }],
    ["all", { kind: "unknown" }],
    ["", { kind: "unknown" }],
    ["example.org", { kind: "unknown" }],
    ["spiffe://example.org/", { kind: "unknown" }],
    ["SPIFFE://example.org/web", { kind: "unknown" }],
    ["spiffe://Example.org", { kind: "unknown" }],
    [`spiffe://example.org/${"x".repeat(2048)}`, { kind: "unknown" }],
  ])("%j stands for what it says", (name, meaning) => {
    expect(readSecretName(name, DEFAULT_SDS_SETTINGS)).toEqual(meaning);
  });

  it("follows the settings, and then SPIRE's names stand for nothing", () => {
    const settings = {
      defaultSvidName: "own",
      defaultBundleName: "roots",
      defaultAllBundlesName: "everyone",
      disableSpiffeCertValidation: false,
    };
    const kinds = ["own", "roots", "everyone", "default", "ROOTCA", "ALL"].map(
      (name) => readSecretName(name, settings).kind,
    );
    expect(kinds).toEqual(["default_svid", "own_bundle", "all_bundles", "unknown", "unknown", "unknown"]);
  });
});
