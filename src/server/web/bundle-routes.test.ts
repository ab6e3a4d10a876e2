import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  AGENT,
  OPERATOR,
  REQUEST_ID,
  sampleBundle,
  webBench,
  type WebBench,
} from "../../../test/fakes/web-app.ts";
import { formatBundleDocument, parseBundleDocument } from "../../crypto/bundle-document.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";

const partner = parseTrustDomain("partner.example");
const theirs = sampleBundle(partner);
const document = formatBundleDocument(theirs);
let bench: WebBench;

beforeEach(async () => {
  bench = await webBench();
});
afterEach(() => bench[Symbol.asyncDispose]());

describe("GET /v1/trust-bundle", () => {
  it("gives anyone the own bundle as the standard's document", async () => {
    bench.caller = { address: "192.0.2.9" };
    bench.bundle = { ...bench.bundle, sequence: 2n ** 63n + 1n };
    const answer = await bench.app.routes.inject("/v1/trust-bundle");
    expect(answer.headers["content-type"]).toMatch(/^application\/json/);
    expect(answer.body).toContain('"spiffe_sequence": 9223372036854775809');
    const read = parseBundleDocument(bench.bundle.trustDomain, answer.rawPayload);
    expect(read.sequence).toBe(2n ** 63n + 1n);
    expect(read.x509Authorities).toHaveLength(1);
    expect(read.jwtAuthorities.map(({ keyId }) => keyId)).toEqual(["k1"]);
  });
});

describe("/v1/bundles", () => {
  it("lists the own bundle and then the others", async () => {
    await bench.send("PUT", "/v1/bundles/partner.example", document);
    expect((await bench.send("GET", "/v1/bundles")).body).toEqual({
      bundles: [
        {
          trust_domain: "example.org",
          sequence: "7",
          refresh_hint: 300,
          x509_authorities: 1,
          jwt_authorities: 1,
        },
        {
          trust_domain: "partner.example",
          sequence: "7",
          refresh_hint: 300,
          x509_authorities: 1,
          jwt_authorities: 1,
        },
      ],
    });
  });

  it("writes a foreign bundle byte for byte as it is read back, and writes that down", async () => {
    const big = document.replace('"spiffe_sequence": 7', '"spiffe_sequence": 18446744073709551615');
    expect((await bench.send("PUT", "/v1/bundles/spiffe%3A%2F%2Fpartner.example", big)).status).toBe(200);
    const stored = await bench.store.bundles.get(partner);
    expect(stored?.sequence).toBe(2n ** 64n - 1n);
    const answer = await bench.app.routes.inject({
      url: "/v1/bundles/partner.example",
      headers: { host: "localhost" },
    });
    expect(answer.body).toBe(big);
    expect(bench.audit).toEqual([
      {
        event: "bundle.changed",
        outcome: "done",
        method: "PUT /v1/bundles/:trust_domain",
        request_id: REQUEST_ID,
        caller_id: OPERATOR,
        caller_address: "192.0.2.7",
        trust_domain: "partner.example",
      },
    ]);
  });

  it("gives the own bundle by its name too", async () => {
    expect((await bench.send("GET", "/v1/bundles/example.org")).body).toMatchObject({ spiffe_sequence: 7 });
  });

  it("keeps to the mode of a write", async () => {
    const put = (mode: string) => bench.send("PUT", `/v1/bundles/partner.example?mode=${mode}`, document);
    expect(await put("update")).toMatchObject({ status: 404, body: { code: "BUNDLE_NOT_FOUND" } });
    expect((await put("create")).status).toBe(200);
    expect(await put("create")).toMatchObject({ status: 409, body: { code: "ALREADY_EXISTS" } });
    expect((await put("update")).status).toBe(200);
    expect(await put("replace")).toMatchObject({ status: 400, body: { code: "INVALID_REQUEST" } });
    expect(bench.audit).toHaveLength(2);
  });

  it.each([
    ["JSON that is none", "{", 400, "INVALID_BUNDLE"],
    ["no keys", "{}", 400, "INVALID_BUNDLE"],
    ["a member named twice", '{"keys":[],"keys":[]}', 400, "INVALID_BUNDLE"],
    [
      "a certificate that is none",
      '{"keys":[{"kty":"EC","use":"x509-svid","x5c":["AAAA"]}]}',
      400,
      "INVALID_BUNDLE",
    ],
    ["a JWT key without id", '{"keys":[{"kty":"EC","use":"jwt-svid"}]}', 400, "INVALID_BUNDLE"],
    ["a negative sequence", '{"keys":[],"spiffe_sequence":-1}', 400, "INVALID_BUNDLE"],
    ["nothing", "", 400, "INVALID_BUNDLE"],
    ["more than 4 MiB", `{"keys":[],"pad":"${"x".repeat(4 * 1024 * 1024)}"}`, 413, "MESSAGE_TOO_LARGE"],
  ])("refuses %s for a bundle", async (_, body, status, code) => {
    expect(await bench.send("PUT", "/v1/bundles/partner.example", body)).toMatchObject({
      status,
      body: { code },
    });
    expect(await bench.store.bundles.get(partner)).toBeUndefined();
    expect(bench.audit).toEqual([]);
  });

  it("refuses a bundle that is missing, and one that is no JSON by its type", async () => {
    expect(await bench.send("PUT", "/v1/bundles/partner.example")).toMatchObject({
      status: 400,
      body: { code: "INVALID_BUNDLE" },
    });
    expect(
      await bench.send("PUT", "/v1/bundles/partner.example", document, {
        "content-type": "application/jose",
      }),
    ).toMatchObject({ status: 415, body: { code: "UNSUPPORTED_MEDIA_TYPE" } });
  });

  it.each([
    ["PUT", "/v1/bundles/example.org", 400, "INVALID_BUNDLE"],
    ["DELETE", "/v1/bundles/example.org", 400, "INVALID_BUNDLE"],
    ["PUT", "/v1/bundles/Partner", 400, "INVALID_TRUST_DOMAIN"],
    ["GET", "/v1/bundles/a%20b", 400, "INVALID_TRUST_DOMAIN"],
    ["GET", "/v1/bundles/none.example", 404, "BUNDLE_NOT_FOUND"],
    ["DELETE", "/v1/bundles/none.example", 404, "BUNDLE_NOT_FOUND"],
    ["DELETE", "/v1/bundles/none.example?mode=force", 400, "INVALID_REQUEST"],
    ["GET", `/v1/bundles/${"x".repeat(300)}`, 400, "INVALID_REQUEST"],
    ["POST", "/v1/bundles", 405, "METHOD_NOT_ALLOWED"],
  ] as const)("answers %s %s by %i", async (method, url, status, code) => {
    const body = method === "PUT" ? document : undefined;
    expect(await bench.send(method, url, body)).toMatchObject({ status, body: { code } });
    expect(bench.audit).toEqual([]);
  });

  it("deletes a bundle that entries name only as it is told to", async () => {
    await bench.send("PUT", "/v1/bundles/partner.example", document);
    await bench.send("POST", "/v1/entries", {
      id: "db",
      spiffe_id: "spiffe://example.org/db",
      parent_id: AGENT,
      selectors: ["unix:uid:1"],
      federates_with: ["partner.example"],
    });
    bench.audit.length = 0;
    expect(await bench.send("DELETE", "/v1/bundles/partner.example")).toMatchObject({
      status: 409,
      body: { code: "BUNDLE_IN_USE" },
    });
    expect((await bench.send("DELETE", "/v1/bundles/partner.example?mode=dissociate")).status).toBe(204);
    await bench.registry.catchUp();
    expect((await bench.send("GET", "/v1/entries/db")).body.federates_with).toEqual([]);
    expect(bench.audit).toMatchObject([
      {
        event: "bundle.deleted",
        trust_domain: "partner.example",
        reasons: ["entries that name it: dissociate"],
      },
    ]);
  });
});
