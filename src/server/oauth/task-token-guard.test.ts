import { createHash } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { API, ISSUER, OAuthWorld, Prover } from "../../../test/fakes/oauth-world.ts";
import type { DpopRequest } from "../../crypto/jose/dpop.ts";

const EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT = "urn:ietf:params:oauth:token-type:jwt";
const URL = `${ISSUER}/v1/task/try`;

let world: OAuthWorld;
let prover: Prover;
let token: string;
let nonce: string;

beforeEach(async () => {
  world = await OAuthWorld.open();
  prover = await world.prover();
  await world.entry("ci", {
    parentId: "spiffe://example.org/spire/task/ci",
    selectors: [{ type: "ci", value: "repository:1" }],
  });
  const form = { grant_type: EXCHANGE, subject_token: "run:7:a", subject_token_type: JWT };
  token = (await world.send("/oauth2/token", form, { dpop: prover.proof() })).body.access_token;
  nonce = String((await world.request("GET", "/v1/task/try")).headers["dpop-nonce"]);
});
afterEach(() => world[Symbol.asyncDispose]());

const proof = (change: Partial<DpopRequest> = {}, by = prover) =>
  by.proof({ method: "GET", url: URL, accessToken: token, nonce, ...change });
const call = (headers: Record<string, string>) => world.request("GET", "/v1/task/try", undefined, headers);

describe("the guard of the task API", () => {
  it("admits a task that proves its key for the token and the request, whatever the scheme's letters", async () => {
    const answer = await call({ authorization: `dpop ${token}`, dpop: proof() });
    expect(answer).toMatchObject({ status: 200, headers: { "dpop-nonce": nonce } });
    const [task] = world.serverTasks.tasks.list();
    expect(answer.body).toEqual({ id: task?.id });
  });

  it("asks for a nonce of its own, not of the token endpoint", async () => {
    for (const other of ["none", world.nonce]) {
      const answer = await call({ authorization: `DPoP ${token}`, dpop: proof({ nonce: other }) });
      expect(answer).toMatchObject({ status: 401, headers: { "dpop-nonce": nonce } });
      expect(answer.headers["www-authenticate"]).toMatch(/^DPoP error="use_dpop_nonce", error_description="/);
      expect(answer.body).toMatchObject({ code: "DPOP_NONCE_REQUIRED" });
    }
  });

  it.each<[string, () => Record<string, string>, string]>([
    ["no token", () => ({ dpop: proof() }), "invalid_token"],
    ["the token as bearer", () => ({ authorization: `Bearer ${token}`, dpop: proof() }), "invalid_token"],
    ["no proof", () => ({ authorization: `DPoP ${token}` }), "invalid_dpop_proof"],
    [
      "two proofs",
      () => ({ authorization: `DPoP ${token}`, dpop: `${proof()}, ${proof()}` }),
      "invalid_dpop_proof",
    ],
    [
      "a proof without ath",
      () => {
        const { accessToken: _, ...rest } = { accessToken: "", method: "GET", url: URL, nonce };
        return { authorization: `DPoP ${token}`, dpop: prover.proof(rest) };
      },
      "invalid_dpop_proof",
    ],
    [
      "a proof for another token",
      () => ({
        authorization: `DPoP ${token}`,
        dpop: proof({ accessToken: "x" }),
      }),
      "invalid_dpop_proof",
    ],
    [
      "a proof for another method",
      () => ({
        authorization: `DPoP ${token}`,
        dpop: proof({ method: "POST" }),
      }),
      "invalid_dpop_proof",
    ],
    [
      "a proof for another resource",
      () => ({
        authorization: `DPoP ${token}`,
        dpop: proof({ url: `${ISSUER}/v1/task` }),
      }),
      "invalid_dpop_proof",
    ],
    [
      "another key",
      () => ({ authorization: `DPoP ${token}`, dpop: proof({}, new Prover(world)) }),
      "invalid_token",
    ],
    [
      "a broken token",
      () => ({ authorization: `DPoP ${token.slice(0, -4)}AAAA`, dpop: proof() }),
      "invalid_token",
    ],
    ["two tokens", () => ({ authorization: `DPoP ${token}, DPoP ${token}`, dpop: proof() }), "invalid_token"],
  ])("refuses %s", async (_, headers, error) => {
    const answer = await call(headers());
    expect(answer.status).toBe(401);
    expect(answer.headers["www-authenticate"]).toContain(`DPoP error="${error}"`);
    expect(answer.headers["www-authenticate"]).toContain(
      'resource_metadata="https://issuer.example/.well-known/oauth-protected-resource/assay/v1/task"',
    );
    expect(answer.headers["dpop-nonce"]).toBe(nonce);
  });

  it("takes a proof once", async () => {
    const headers = { authorization: `DPoP ${token}`, dpop: proof() };
    expect(await call(headers)).toMatchObject({ status: 200 });
    expect(await call(headers)).toMatchObject({ status: 401, body: { code: "INVALID_DPOP_PROOF" } });
  });

  it("refuses every other kind of token", async () => {
    await world.entry("web");
    const exchanged = await world.send(
      "/oauth2/token",
      {
        grant_type: EXCHANGE,
        subject_token: await world.jwtSvid("web"),
        subject_token_type: JWT,
        audience: API,
      },
      { dpop: prover.proof() },
    );
    const tokens = [
      exchanged.body.access_token,
      await world.jwtSvid("web"),
      await world.jwtSvid("web", [`${ISSUER}/v1/task`]),
      await world.witSvid("web", prover.key),
      prover.proof(),
    ];
    for (const accessToken of tokens) {
      const answer = await call({ authorization: `DPoP ${accessToken}`, dpop: proof({ accessToken }) });
      expect(answer).toMatchObject({ status: 401, body: { code: "INVALID_ACCESS_TOKEN" } });
    }
  });

  it("refuses a token of ours that names a task and is of another subject", async () => {
    const [task] = world.serverTasks.tasks.list();
    for (const subject of [
      `spiffe://example.org/ci/${task?.id ?? ""}`,
      `spiffe://example.org/spire/task/other/${task?.id ?? ""}`,
    ]) {
      const { token: accessToken } = await world.signing.mintAccessToken({
        subject,
        clientId: subject,
        audience: `${ISSUER}/v1/task`,
        ttl: 60,
        jti: subject,
        confirmation: { jkt: prover.jkt },
      });
      const answer = await call({ authorization: `DPoP ${accessToken}`, dpop: proof({ accessToken }) });
      expect(answer).toMatchObject({ status: 401, body: { code: "INVALID_ACCESS_TOKEN" } });
    }
  });

  it("refuses a task that is over, though its token is not", async () => {
    const [task] = world.serverTasks.tasks.list();
    await world.serverTasks.issuance.end({ address: "" }, task?.id ?? "", "operator");
    expect(await call({ authorization: `DPoP ${token}`, dpop: proof() })).toMatchObject({
      status: 409,
      body: { code: "TASK_OVER" },
    });
  });
});

describe("metadata", () => {
  it("names the endpoints in both documents, beside what was there before", async () => {
    const [openid, oauth] = await Promise.all(
      ["/assay/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/assay"].map(
        (url) => world.request("GET", url),
      ),
    );
    expect(openid?.body).toEqual({ ...(oauth?.body as object), authorization_endpoint: "" });
    expect(oauth?.body).toEqual({
      issuer: ISSUER,
      jwks_uri: `${ISSUER}/keys`,
      response_types_supported: ["id_token"],
      subject_types_supported: ["public"],
      id_token_signing_alg_values_supported: ["RS256", "ES256", "ES384"],
      token_endpoint: `${ISSUER}/oauth2/token`,
      token_endpoint_auth_methods_supported: ["none", "spiffe_jwt", "spiffe_x509", "spiffe_wit"],
      grant_types_supported: [EXCHANGE, "urn:ietf:params:oauth:grant-type:jwt-bearer", "client_credentials"],
      introspection_endpoint: `${ISSUER}/oauth2/introspect`,
      introspection_endpoint_auth_methods_supported: ["spiffe_jwt", "spiffe_x509", "spiffe_wit"],
      revocation_endpoint: `${ISSUER}/oauth2/revoke`,
      revocation_endpoint_auth_methods_supported: ["none", "spiffe_jwt", "spiffe_x509", "spiffe_wit"],
      dpop_signing_alg_values_supported: ["ES256", "ES384", "RS256", "PS256"],
      tls_client_certificate_bound_access_tokens: true,
      scopes_supported: ["task"],
      protected_resources: [`${ISSUER}/v1/task`],
    });
  });

  it("leaves out what is switched off", async () => {
    await using other = await OAuthWorld.open({ tasks: false, wit: false });
    const { body } = await other.request("GET", "/.well-known/openid-configuration");
    expect(body.token_endpoint_auth_methods_supported).toEqual(["none", "spiffe_jwt", "spiffe_x509"]);
    expect(body).not.toHaveProperty("scopes_supported");
    expect(await other.request("GET", "/.well-known/oauth-protected-resource/v1/task")).toMatchObject({
      status: 404,
    });
  });

  it("describes the task API as a protected resource (RFC 9728)", async () => {
    const answer = await world.request("GET", "/.well-known/oauth-protected-resource/assay/v1/task");
    expect(answer).toMatchObject({
      status: 200,
      headers: { "access-control-allow-origin": "*" },
      body: {
        resource: `${ISSUER}/v1/task`,
        authorization_servers: [ISSUER],
        dpop_bound_access_tokens_required: true,
      },
    });
  });

  it("has proofs hashed as RFC 9449 says", () => {
    const [, payload = ""] = proof().split(".");
    const { ath } = JSON.parse(Buffer.from(payload, "base64url").toString()) as { ath: string };
    expect(ath).toBe(createHash("sha256").update(token).digest("base64url"));
  });
});
