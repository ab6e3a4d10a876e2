import { importJWK, jwtVerify, SignJWT } from "jose";
import { describe, expect, it } from "vitest";
import { makeKey, TEST_NOW } from "../../../test/fakes/certificates.ts";
import { sampleBundle, webBench, withSvid } from "../../../test/fakes/web-app.ts";
import type { Caller } from "../../issuance/caller.ts";
import { generateRsaKeyPair } from "../../crypto/keys.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";

const stranger: Caller = { address: "192.0.2.9" };
const local: Caller = { address: "", process: { pid: 1, uid: 0, gid: 0 } };
const monitor = parseSpiffeId("spiffe://example.org/monitor");
const oidc = { issuer: "https://issuer.example/path/", domains: ["Other.example"] };

describe("OIDC discovery", () => {
  it("names the configured issuer byte for byte, and the keys below it", async () => {
    await using bench = await webBench({ oidc });
    bench.caller = stranger;
    const answer = await bench.send("GET", "/.well-known/openid-configuration", undefined, {
      host: "issuer.example:8443",
    });
    expect(answer.headers["content-type"]).toMatch(/^application\/json/);
    expect(answer.headers["access-control-allow-origin"]).toBe("*");
    expect(answer.body).toEqual({
      issuer: "https://issuer.example/path/",
      jwks_uri: "https://issuer.example/path/keys",
      authorization_endpoint: "",
      response_types_supported: ["id_token"],
      subject_types_supported: ["public"],
      id_token_signing_alg_values_supported: ["RS256", "ES256", "ES384"],
    });
  });

  it.each([
    "/.well-known/openid-configuration",
    "/path/.well-known/openid-configuration",
    "/.well-known/oauth-authorization-server",
    "/.well-known/oauth-authorization-server/path",
  ])("is at %s, the same but for the endpoint that nobody has", async (url) => {
    await using bench = await webBench({ oidc });
    bench.caller = stranger;
    const host = { host: "issuer.example" };
    const first = await bench.send("GET", "/.well-known/openid-configuration", undefined, host);
    const answer = await bench.send("GET", url, undefined, host);
    const { authorization_endpoint: _, ...common } = first.body as { authorization_endpoint?: string };
    // RFC 8414's clients take an empty address for a wrong one.
    const expected = url.includes("oauth") ? common : first.body;
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual(expected);
    expect(answer.headers["access-control-allow-origin"]).toBe("*");
    expect(await bench.send("POST", url, {}, host)).toMatchObject({ status: 405 });
    expect(first.body).toMatchObject({ jwks_uri: "https://issuer.example/path/keys" });
    expect((await bench.send("GET", "/path/keys", undefined, host)).body).toEqual(
      (await bench.send("GET", "/keys", undefined, host)).body,
    );
  });

  it("is its own issuer under the name that was asked for where none is configured", async () => {
    await using bench = await webBench({
      oidc: { domains: ["a.example"], jwksUri: "https://keys.example/k" },
    });
    const ask = async (host: string) =>
      (await bench.send("GET", "/.well-known/openid-configuration", undefined, { host })).body;
    expect(await ask("a.example:8443")).toMatchObject({
      issuer: "https://a.example:8443",
      jwks_uri: "https://keys.example/k",
    });
    expect(await ask("A.EXAMPLE:443")).toMatchObject({ issuer: "https://a.example" });
  });

  it("serves keys with which a stranger verifies a token, and no X.509 authority", async () => {
    await using bench = await webBench({ oidc });
    const key = makeKey();
    const rsa = await generateRsaKeyPair(2048);
    const p384 = makeKey("ec-p384");
    bench.bundle = {
      ...sampleBundle(),
      jwtAuthorities: [
        { keyId: "ec", publicKey: key.spki, expiresAt: 0, tainted: false },
        { keyId: "p384", publicKey: p384.spki, expiresAt: 0, tainted: false },
        { keyId: "rsa", publicKey: rsa.spki, expiresAt: 0, tainted: false },
      ],
    };
    const { body, headers } = await bench.send("GET", "/keys", undefined, { host: "other.example" });
    expect(headers).toMatchObject({
      "cache-control": "no-cache, no-store, must-revalidate",
      pragma: "no-cache",
      expires: "0",
      "access-control-allow-origin": "*",
    });
    expect(body.keys).toMatchObject([
      { kid: "ec", kty: "EC", use: "sig", alg: "ES256" },
      { kid: "p384", kty: "EC", use: "sig", alg: "ES384" },
      { kid: "rsa", kty: "RSA", use: "sig", alg: "RS256" },
    ]);
    expect(JSON.stringify(body)).not.toMatch(/x5c|x509/);
    const token = await new SignJWT({ sub: "spiffe://example.org/db" })
      .setProtectedHeader({ alg: "ES256", kid: "ec" })
      .setExpirationTime(TEST_NOW + 60)
      .sign(key.privateKey);
    const verified = await jwtVerify(token, await importJWK(body.keys[0] ?? {}), {
      currentDate: new Date(TEST_NOW * 1000),
    });
    expect(verified.payload.sub).toBe("spiffe://example.org/db");
  });

  it.each(["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/keys"])(
    "answers %s under no other name",
    async (url) => {
      await using bench = await webBench({ oidc });
      for (const host of [
        "evil.example",
        "issuer.example.evil.example",
        "issuer.example@evil.example",
        "localhost",
        "",
      ]) {
        const headers = { host, "x-forwarded-host": "issuer.example" };
        expect(await bench.send("GET", url, undefined, headers)).toMatchObject({
          status: 400,
          body: { code: "INVALID_REQUEST" },
        });
      }
    },
  );

  it.each(["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/keys"])(
    "has no %s where it is not configured",
    async (url) => {
      await using bench = await webBench();
      expect(await bench.send("GET", url)).toMatchObject({ status: 404, body: { code: "NOT_FOUND" } });
    },
  );

  it("serves no key for WIT-SVIDs, and tainted JWT keys until they are revoked", async () => {
    await using bench = await webBench({ oidc });
    const keyOf = (keyId: string, tainted = false) => ({
      keyId,
      publicKey: makeKey().spki,
      expiresAt: 0,
      tainted,
    });
    bench.bundle = {
      ...sampleBundle(),
      jwtAuthorities: [keyOf("old", true), keyOf("new")],
      witAuthorities: [keyOf("wit")],
    };
    const { body } = await bench.send("GET", "/keys", undefined, { host: "issuer.example" });
    expect(body.keys.map(({ kid }) => kid)).toEqual(["old", "new"]);
  });

  it("serves no empty key set", async () => {
    await using bench = await webBench({ oidc });
    bench.bundle = { ...bench.bundle, jwtAuthorities: [] };
    expect(await bench.send("GET", "/keys", undefined, { host: "issuer.example" })).toMatchObject({
      status: 503,
      body: { code: "NOT_READY" },
    });
  });

  it("refuses other methods", async () => {
    await using bench = await webBench({ oidc });
    expect(await bench.send("POST", "/keys", {}, { host: "issuer.example" })).toMatchObject({ status: 405 });
  });
});

describe("health", () => {
  it.each([
    [true, true, 200, 200],
    [true, false, 200, 503],
    [false, false, 503, 503],
  ])("answers probes where live is %s and ready %s", async (live, ready, liveStatus, readyStatus) => {
    await using bench = await webBench();
    bench.caller = stranger;
    bench.health = { live, ready, checks: [] };
    expect((await bench.send("GET", "/live")).status).toBe(liveStatus);
    expect((await bench.send("GET", "/ready")).status).toBe(readyStatus);
  });

  it("tells everybody which part fails, and operators why", async () => {
    await using bench = await webBench();
    bench.health = {
      live: true,
      ready: false,
      checks: [
        { name: "store", ok: false, detail: "disk /dev/sda1 is full" },
        { name: "signing", ok: true },
      ],
    };
    expect((await bench.send("GET", "/ready")).body).toEqual({
      status: "unavailable",
      checks: [
        { name: "store", ok: false, detail: "disk /dev/sda1 is full" },
        { name: "signing", ok: true },
      ],
    });
    bench.caller = stranger;
    const answer = await bench.send("GET", "/ready");
    expect(answer.body.checks).toEqual([
      { name: "store", ok: false },
      { name: "signing", ok: true },
    ]);
  });
});

describe("GET /metrics", () => {
  it.each<[string, Caller, "anyone" | ReadonlySet<typeof monitor>, number]>([
    ["an operator", withSvid(), new Set(), 200],
    ["a local caller", local, new Set(), 200],
    ["a monitor that is named", withSvid(monitor), new Set([monitor]), 200],
    ["a monitor that is not named", withSvid(monitor), new Set(), 403],
    ["a named monitor whose SVID has expired", withSvid(monitor, TEST_NOW), new Set([monitor]), 401],
    ["a stranger", stranger, new Set([monitor]), 401],
    ["a stranger where anyone may", stranger, "anyone", 200],
  ])("answers %s", async (_, caller, metricsReaders, status) => {
    await using bench = await webBench({ metricsReaders });
    bench.caller = caller;
    const answer = await bench.send("GET", "/metrics");
    expect(answer.status).toBe(status);
    if (status === 200) {
      expect(answer.headers["content-type"]).toBe("text/plain; version=0.0.4");
      expect(answer.body).toBe("assay_up 1\n");
    } else expect(answer.headers["content-type"]).toBe("application/problem+json");
  });
});

describe("GET /v1/decisions/{id}", () => {
  it("gives the record of a decision", async () => {
    await using bench = await webBench();
    const record = {
      seq: 3,
      prev: "0".repeat(64),
      time: "2026-09-21T14:13:20.000Z",
      event: "svid.denied",
      outcome: "denied",
      decision_id: "d-1",
      code: "NO_IDENTITY_ISSUED",
      selectors: ["unix:uid:1"],
    } as const;
    bench.decisions.set("d-1", record);
    expect((await bench.send("GET", "/v1/decisions/d-1")).body).toEqual(record);
  });

  it.each([
    ["/v1/decisions/none", 404, "DECISION_NOT_FOUND"],
    ["/v1/decisions/a%2Fb", 400, "INVALID_REQUEST"],
    ["/v1/decisions/a%22b", 400, "INVALID_REQUEST"],
    [`/v1/decisions/${"x".repeat(129)}`, 400, "INVALID_REQUEST"],
  ])("answers %s by %i", async (url, status, code) => {
    await using bench = await webBench();
    expect(await bench.send("GET", url)).toMatchObject({ status, body: { code } });
  });
});
