import { describe, expect, it } from "vitest";
import { parseTrustDomain } from "../spiffe/trust-domain.ts";
import { parseRelationship, type RelationshipDraft } from "./relationship.ts";

const WEB: RelationshipDraft = {
  trustDomain: parseTrustDomain("b.example"),
  bundleEndpointUrl: "https://elsewhere.example:8443/bundle",
  profile: "https_web",
};
const SPIFFE = { ...WEB, profile: "https_spiffe", endpointSpiffeId: "spiffe://c.example/endpoint" };

describe("a federation relationship", () => {
  it("takes URL, profile and trust domain as they are given, none from another", () => {
    expect(parseRelationship(WEB)).toEqual({ ...WEB, profile: { type: "https_web" } });
    expect(parseRelationship(SPIFFE)).toEqual({
      trustDomain: WEB.trustDomain,
      bundleEndpointUrl: WEB.bundleEndpointUrl,
      profile: { type: "https_spiffe", endpointSpiffeId: SPIFFE.endpointSpiffeId },
    });
  });

  it.each([
    ["http://b.example/", "bundle endpoint URL must use the https scheme"],
    ["https://", "bundle endpoint URL must specify the host"],
    ["https://u:p@b.example/", "bundle endpoint URL must not contain user info"],
    ["", "bundle endpoint URL"],
  ])("has no endpoint at %j", (bundleEndpointUrl, detail) => {
    expect(() => parseRelationship({ ...WEB, bundleEndpointUrl })).toThrowCode(
      "INVALID_RELATIONSHIP",
      detail,
    );
  });

  it.each([
    [{ ...WEB, profile: "https" }, "INVALID_RELATIONSHIP", /https_web or https_spiffe/],
    [{ ...WEB, profile: "" }, "INVALID_RELATIONSHIP", /https_web or https_spiffe/],
    [{ ...WEB, endpointSpiffeId: "spiffe://b.example/x" }, "INVALID_RELATIONSHIP", /https_spiffe only/],
    [{ ...SPIFFE, endpointSpiffeId: undefined }, "INVALID_RELATIONSHIP", /required/],
    [{ ...SPIFFE, endpointSpiffeId: "" }, "INVALID_RELATIONSHIP", /required/],
    [{ ...SPIFFE, endpointSpiffeId: "spiffe://b.example" }, "INVALID_RELATIONSHIP", /path/],
    [{ ...SPIFFE, endpointSpiffeId: "https://b.example/x" }, "INVALID_SPIFFE_ID", /endpoint SPIFFE ID/],
  ] as const)("is refused as %j", (draft, code, detail) => {
    expect(() => parseRelationship(draft)).toThrowCode(code, detail);
  });
});
