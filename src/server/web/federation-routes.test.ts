import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { webBench, type WebBench } from "../../../test/fakes/web-app.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { emptyBundle } from "../../spiffe/bundle.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";

const B = parseTrustDomain("b.example");
const URL = "/v1/federation-relationships";
const WEB = {
  trust_domain: B,
  bundle_endpoint_url: "https://b.example/",
  bundle_endpoint_profile: { type: "https_web" },
};

describe("the routes of federation relationships", () => {
  let bench: WebBench;

  beforeEach(async () => {
    bench = await webBench();
  });
  afterEach(() => bench[Symbol.asyncDispose]());

  it("create, read, change and end a relationship, each with its audit record", async () => {
    expect(await bench.send("POST", URL, WEB)).toMatchObject({
      status: 201,
      body: { ...WEB, source: "store", bundle_sequence: null, last_success_at: null, last_error: null },
    });
    const profile = { type: "https_spiffe", endpoint_spiffe_id: "spiffe://b.example/spire/server" };
    const changed = await bench.send("PATCH", `${URL}/${B}`, { bundle_endpoint_profile: profile });
    expect(changed).toMatchObject({ status: 200, body: { ...WEB, bundle_endpoint_profile: profile } });
    expect((await bench.send("GET", URL)).body).toMatchObject({
      federation_relationships: [{ trust_domain: B }],
    });
    expect((await bench.send("DELETE", `${URL}/${B}`)).status).toBe(204);
    expect((await bench.send("GET", `${URL}/${B}`)).status).toBe(404);
    expect(bench.audit.map(({ event, trust_domain }) => [event, trust_domain])).toEqual([
      ["federation.created", B],
      ["federation.updated", B],
      ["federation.deleted", B],
    ]);
  });

  it("show how each relationship fares", async () => {
    await bench.store.bundles.put({ ...emptyBundle(B), sequence: 2n ** 60n }, "set");
    await bench.registry.catchUp();
    bench.federations = [
      {
        relationship: {
          trustDomain: B,
          bundleEndpointUrl: "https://b.example/",
          profile: { type: "https_web" },
        },
        lastAttemptAt: 1_790_000_100_500,
        lastSuccessAt: 1_790_000_000_000,
        nextAttemptAt: 1_790_000_400_000,
        lastError: new AssayError("BUNDLE_NOT_FETCHED", "b.example did not answer"),
      },
    ];
    expect((await bench.send("GET", `${URL}/${B}`)).body).toMatchObject({
      bundle_sequence: "1152921504606846976",
      last_attempt_at: "2026-09-21T14:15:00Z",
      last_success_at: "2026-09-21T14:13:20Z",
      next_attempt_at: "2026-09-21T14:20:00Z",
      last_error: "b.example did not answer",
    });
  });

  it.each([
    [{ ...WEB, bundle_endpoint_url: "http://b.example/" }, 400, "INVALID_RELATIONSHIP"],
    [{ ...WEB, bundle_endpoint_profile: { type: "https" } }, 400, "INVALID_REQUEST"],
    [{ ...WEB, bundle_endpoint_profile: { type: "https_spiffe" } }, 400, "INVALID_RELATIONSHIP"],
    [{ ...WEB, trust_domain: "example.org" }, 400, "INVALID_RELATIONSHIP"],
    [{ ...WEB, trust_domain: "B" }, 400, "INVALID_TRUST_DOMAIN"],
    [{ ...WEB, extra: 1 }, 400, "INVALID_REQUEST"],
    [{}, 400, "INVALID_REQUEST"],
  ])("refuse %o", async (body, status, code) => {
    expect(await bench.send("POST", URL, body)).toMatchObject({ status, body: { code } });
    expect(bench.audit).toEqual([]);
  });

  it("say that a relationship is there already, or not at all", async () => {
    await bench.send("POST", URL, WEB);
    expect(await bench.send("POST", URL, WEB)).toMatchObject({
      status: 409,
      body: { code: "ALREADY_EXISTS" },
    });
    for (const [method, path] of [
      ["PATCH", "/c.example"],
      ["DELETE", "/c.example"],
      ["POST", "/c.example/refresh"],
    ] as const) {
      const answer = await bench.send(method, `${URL}${path}`, method === "PATCH" ? {} : undefined);
      expect(answer).toMatchObject({ status: 404, body: { code: "RELATIONSHIP_NOT_FOUND" } });
    }
  });

  it("fetch a bundle out of turn, and say why it could not be fetched", async () => {
    await bench.send("POST", URL, WEB);
    const relationship = {
      trustDomain: B,
      bundleEndpointUrl: "https://b.example/",
      profile: { type: "https_web" },
    } as const;
    const facts = { relationship, at: 0, elapsed: 1, nextAttemptAt: 2 };
    const error = new AssayError("BUNDLE_NOT_FETCHED", "b.example answered with status 500, expected 200");
    bench.refreshed.set(B, { ...facts, outcome: "failed", error });
    expect(await bench.send("POST", `${URL}/${B}/refresh`)).toMatchObject({
      status: 502,
      body: { code: "BUNDLE_NOT_FETCHED", detail: error.detail },
    });
    const bundle = emptyBundle(B);
    bench.refreshed.set(B, { ...facts, outcome: "changed", bundle, address: "192.0.2.1", redirects: 0 });
    expect((await bench.send("POST", `${URL}/${B}/refresh`)).status).toBe(200);
    expect(bench.audit.slice(1).map(({ event, reasons }) => [event, reasons])).toEqual([
      ["federation.refreshed", ["failed"]],
      ["federation.refreshed", ["changed"]],
    ]);
  });
});
