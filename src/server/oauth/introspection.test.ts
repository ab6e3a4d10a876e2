import { createHash, sign } from "node:crypto";
import { decodeJwt } from "jose";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeKey, type TestKey } from "../../../test/fakes/certificates.ts";
import { API, ISSUER, OAuthWorld, OPERATOR, Prover, REVOKE_URL } from "../../../test/fakes/oauth-world.ts";

const EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT = "urn:ietf:params:oauth:token-type:jwt";
const ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token";
const CLIENT = { client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe" };
const WEB = "spiffe://example.org/web";

let world: OAuthWorld;
let prover: Prover;

beforeEach(async () => {
  world = await OAuthWorld.open();
  prover = await world.prover();
  await world.entry("web");
});
afterEach(() => world[Symbol.asyncDispose]());

/** An access token of {@link WEB} for {@link API}. */
async function accessToken(form: Record<string, string> = {}, by = prover): Promise<string> {
  const answer = await world.send(
    "/oauth2/token",
    {
      grant_type: EXCHANGE,
      subject_token: await world.jwtSvid("web"),
      subject_token_type: JWT,
      audience: API,
      ...form,
    },
    { dpop: by.proof() },
  );
  expect(answer.body.error_description).toBeUndefined();
  return answer.body.access_token;
}

async function taskToken(run = "run:7:a"): Promise<string> {
  await world.entry("ci", {
    parentId: "spiffe://example.org/spire/task/ci",
    selectors: [{ type: "ci", value: "repository:1" }],
  });
  const form = { grant_type: EXCHANGE, subject_token: run, subject_token_type: JWT };
  return (await world.send("/oauth2/token", form, { dpop: prover.proof() })).body.access_token;
}

async function introspect(token: string, form: Record<string, string> = {}, headers = {}) {
  const client = { ...CLIENT, client_assertion: await world.jwtSvid("web") };
  return world.send("/oauth2/introspect", { token, ...client, ...form }, headers);
}

/** Signs a JWT of any type as a client. */
function signed(key: TestKey, header: object, payload: object): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const input = `${part({ alg: "ES256", ...header })}.${part(payload)}`;
  const signature = sign("sha256", Buffer.from(input), { key: key.privateKey, dsaEncoding: "ieee-p1363" });
  return `${input}.${signature.toString("base64url")}`;
}

describe("introspection (RFC 7662)", () => {
  it("says what an access token is and is bound to", async () => {
    const token = await accessToken();
    const claims = decodeJwt(token);
    const answer = await introspect(token);
    expect(answer).toMatchObject({ status: 200, headers: { "cache-control": "no-store" } });
    expect(answer.body).toEqual({
      active: true,
      iss: ISSUER,
      sub: WEB,
      client_id: WEB,
      aud: API,
      exp: claims.exp,
      iat: claims.iat,
      jti: claims.jti,
      cnf: { jkt: prover.jkt },
      status: claims["status"],
      token_type: "DPoP",
    });
  });

  it("says who acts", async () => {
    await world.entry("backend");
    const actor = { actor_token: await world.jwtSvid("backend"), actor_token_type: JWT };
    expect((await introspect(await accessToken(actor))).body).toMatchObject({
      client_id: "spiffe://example.org/backend",
      act: { sub: "spiffe://example.org/backend" },
    });
  });

  it("knows JWT-SVIDs for any audience, and WIT-SVIDs", async () => {
    expect((await introspect(await world.jwtSvid("web", ["a", "b"]))).body).toMatchObject({
      active: true,
      sub: WEB,
      aud: ["a", "b"],
    });
    const key = makeKey();
    const { body } = await introspect(await world.witSvid("web", key));
    expect(body).toMatchObject({ active: true, sub: WEB, cnf: { jwk: { kty: "EC" } } });
    expect(body).not.toHaveProperty("token_type");
  });

  it.each<[string, () => Promise<string> | string]>([
    ["what is no token", () => "x"],
    [
      "a token of somebody else",
      () => signed(makeKey(), { typ: "at+jwt", kid: "k" }, { iss: ISSUER, sub: WEB }),
    ],
    [
      "an access token that was never written down",
      async () => {
        const { token } = await world.signing.mintAccessToken({
          subject: WEB,
          clientId: WEB,
          audience: API,
          ttl: 60,
          jti: "unwritten",
          confirmation: { jkt: prover.jkt },
        });
        return token;
      },
    ],
    ["a proof", () => prover.proof()],
    ["an access token with a broken signature", async () => `${(await accessToken()).slice(0, -4)}AAAA`],
  ])("says of %s only that it is not active", async (_, token) => {
    const answer = await introspect(await token());
    expect(answer).toMatchObject({ status: 200 });
    expect(answer.body).toEqual({ active: false });
  });

  it("says so of a token from the second on in which it ends", async () => {
    const token = await accessToken();
    world.clock.step(299_000);
    const form = { ...CLIENT, client_assertion: await world.jwtSvid("web") };
    expect((await introspect(token, form)).body).toMatchObject({ active: true });
    world.clock.step(1000);
    expect((await introspect(token)).body).toEqual({ active: false });
  });

  it("follows the life of a task", async () => {
    const token = await taskToken();
    const answer = await introspect(token);
    expect(answer.body).toMatchObject({ active: true, scope: "task", task: { platform: "fake-ci" } });
    world.clock.step(121_000);
    // The lease is over by the clock, though nobody has written it down yet.
    expect((await introspect(token)).body).toEqual({ active: false });
  });

  it("lets operators and clients in, and nobody else", async () => {
    const token = await accessToken();
    expect(await world.send("/oauth2/introspect", { token })).toMatchObject({
      status: 401,
      body: { error: "invalid_client" },
    });
    expect(
      await world.send("/oauth2/introspect", { token, client_id: "x" }, { dpop: prover.proof() }),
    ).toMatchObject({
      status: 401,
    });
    const foreign = { ...CLIENT, client_assertion: await world.jwtSvid("web", ["other"]) };
    expect(await world.send("/oauth2/introspect", { token, ...foreign })).toMatchObject({ status: 401 });
    const { notAfter, serial } = await world.svidOf("resource");
    expect((await world.send("/oauth2/introspect", { token })).body).toMatchObject({ active: true });
    world.caller = { address: "", svid: { spiffeId: OPERATOR, serial, notAfter } };
    expect((await world.send("/oauth2/introspect", { token })).body).toMatchObject({ active: true });
    expect(await world.send("/oauth2/introspect", {})).toMatchObject({
      status: 400,
      body: { error: "invalid_request" },
    });
  });

  it("refuses a client whose SVID was revoked or has expired", async () => {
    const token = await accessToken();
    const { spiffeId, serial, notAfter } = await world.svidOf("resource");
    world.clock.step((notAfter - world.now) * 1000);
    expect(await world.send("/oauth2/introspect", { token })).toMatchObject({ status: 401 });
    await world.svidOf("resource");
    const revoked = { kind: "x509", id: serial } as const;
    await world.store.credentials.revoke(revoked, "operator", world.now - 10, {
      authorityId: "a",
      spiffeId,
      entryId: "",
      taskId: "",
      parent: "",
      issuedAt: world.now,
      expiresAt: world.now + 100,
    });
    world.caller = { address: "", svid: { spiffeId, serial, notAfter: world.now + 100 } };
    expect(await world.send("/oauth2/introspect", { token })).toMatchObject({ status: 401 });
  });
});

describe("clients with a WIT-SVID (draft-ietf-oauth-attestation-based-client-auth)", () => {
  const key = makeKey();
  const pop = (change: object = {}, header: object = {}, by = key) =>
    signed(
      by,
      { typ: "oauth-client-attestation-pop+jwt", ...header },
      { iss: WEB, aud: ISSUER, jti: `${Math.random()}`, iat: world.now, ...change },
    );
  const ask = async (proof: string, more: Record<string, string> = {}) =>
    world.send(
      "/oauth2/introspect",
      { token: await accessToken(), ...more },
      { "oauth-client-attestation": await world.witSvid("web", key), "oauth-client-attestation-pop": proof },
    );

  it("are let in with a proof of its key, each proof once", async () => {
    const proof = pop();
    expect(await ask(proof)).toMatchObject({ status: 200, body: { active: true } });
    expect(await ask(proof)).toMatchObject({ status: 401, body: { error: "invalid_client" } });
    expect(await ask(pop({ iss: undefined }), { client_id: WEB })).toMatchObject({ status: 200 });
  });

  it.each<[string, () => string, Record<string, string>?]>([
    ["for another server", () => pop({ aud: "https://other.example" })],
    ["for two servers", () => pop({ aud: [ISSUER, "https://other.example"] })],
    ["of another client", () => pop({ iss: "spiffe://example.org/other" })],
    ["that is too old", () => pop({ iat: world.now - 61 })],
    ["from the future", () => pop({ iat: world.now + 6 })],
    ["that has expired", () => pop({ exp: world.now })],
    ["without jti", () => pop({ jti: undefined })],
    ["of another type", () => pop({}, { typ: "JWT" })],
    ["by another key", () => pop({}, {}, makeKey())],
    ["with another client_id", () => pop(), { client_id: "spiffe://example.org/other" }],
  ])("are refused with a proof %s", async (_, proof, more) => {
    expect(await ask(proof(), more)).toMatchObject({ status: 401, body: { error: "invalid_client" } });
  });

  it("are refused with half of it, or with two of one", async () => {
    const wit = await world.witSvid("web", key);
    const send = (headers: Record<string, string>) =>
      world.send("/oauth2/introspect", { token: "x" }, headers);
    expect(await send({ "oauth-client-attestation": wit })).toMatchObject({ status: 401 });
    expect(await send({ "oauth-client-attestation-pop": pop() })).toMatchObject({ status: 401 });
    const twice = { "oauth-client-attestation": `${wit}, ${wit}`, "oauth-client-attestation-pop": pop() };
    expect(await send(twice)).toMatchObject({ status: 400, body: { error: "invalid_request" } });
  });
});

describe("revocation (RFC 7009)", () => {
  const revoke = (token: string, headers: Record<string, string> = {}, form: Record<string, string> = {}) =>
    world.send("/oauth2/revoke", { token, ...form }, headers);
  const provedBy = (by: Prover) => ({ dpop: by.proof({ url: REVOKE_URL }) });
  const isActive = async (token: string) => (await introspect(token)).body.active;

  it("is for who proves the key, and takes with it what was exchanged", async () => {
    const first = await accessToken();
    const child = await accessToken({ subject_token: first, subject_token_type: ACCESS_TOKEN });
    const answer = await revoke(first, provedBy(prover), { token_type_hint: "refresh_token" });
    expect(answer).toMatchObject({ status: 200, headers: { "cache-control": "no-store" } });
    expect([await isActive(first), await isActive(child)]).toEqual([false, false]);
    expect(world.audit.records.at(-1)).toMatchObject({
      event: "token.revoked",
      outcome: "done",
      method: "POST /oauth2/revoke",
      spiffe_id: WEB,
      jti: decodeJwt(first).jti,
      audience: [API],
      reason: "holder",
      reasons: [`with it access_token:${decodeJwt(child).jti ?? ""}`],
    });
  });

  it("is for the subject, by whatever credential", async () => {
    const byAssertion = await accessToken();
    const client = { ...CLIENT, client_assertion: await world.jwtSvid("web") };
    expect(await revoke(byAssertion, {}, client)).toMatchObject({ status: 200 });
    const byConnection = await accessToken();
    await world.svidOf("web");
    expect(await revoke(byConnection)).toMatchObject({ status: 200 });
    expect([await isActive(byAssertion), await isActive(byConnection)]).toEqual([false, false]);
  });

  it("revokes a JWT-SVID of which nothing was written, and what was exchanged for it", async () => {
    const subject_token = await world.jwtSvid("web");
    const child = await accessToken({ subject_token });
    const client = { ...CLIENT, client_assertion: await world.jwtSvid("web") };
    expect(await revoke(subject_token, {}, client)).toMatchObject({ status: 200 });
    expect([await isActive(subject_token), await isActive(child)]).toEqual([false, false]);
  });

  it("is for operators", async () => {
    const token = await accessToken();
    const { serial, notAfter } = await world.svidOf("x");
    world.caller = { address: "192.0.2.1", svid: { spiffeId: OPERATOR, serial, notAfter } };
    expect(await revoke(token)).toMatchObject({ status: 200 });
    expect(world.audit.records.at(-1)).toMatchObject({ reason: "operator", caller_id: OPERATOR });
    expect(await isActive(token)).toBe(false);
  });

  it("is for nobody else", async () => {
    const token = await accessToken();
    expect(await revoke(token)).toMatchObject({ status: 401, body: { error: "invalid_client" } });
    expect(await revoke(token, provedBy(new Prover(world)))).toMatchObject({
      status: 400,
      body: { error: "unauthorized_client" },
    });
    await world.svidOf("other");
    expect(await revoke(token)).toMatchObject({ status: 400, body: { error: "unauthorized_client" } });
    expect(await isActive(token)).toBe(true);
    expect(world.audit.records.map(({ event }) => event)).not.toContain("token.revoked");
  });

  it("does not take a proof that was made for the token endpoint", async () => {
    expect(await revoke("x", { dpop: prover.proof() })).toMatchObject({
      body: { error: "invalid_dpop_proof" },
    });
  });

  it("ends the task whose access token it is", async () => {
    const token = await taskToken();
    const child = await accessToken({ subject_token: token, subject_token_type: ACCESS_TOKEN });
    expect(await revoke(token, provedBy(prover))).toMatchObject({ status: 200 });
    expect(world.audit.records.at(-1)).toMatchObject({ event: "task.ended", reason: "job" });
    expect([await isActive(token), await isActive(child)]).toEqual([false, false]);
  });

  it.each([["x"], ["a.b.c"], [""]])("is content with %o, which it does not know", async (token) => {
    const answer = await revoke(token, provedBy(prover));
    expect(answer.status).toBe(token === "" ? 400 : 200);
  });

  it("is content with a token that is revoked or has expired already", async () => {
    const token = await accessToken();
    await revoke(token, provedBy(prover));
    const records = world.audit.records.length;
    expect(await revoke(token, provedBy(prover))).toMatchObject({ status: 200 });
    world.clock.step(299_000);
    const late = await accessToken();
    world.clock.step(300_000);
    await world.send("/oauth2/revoke", { token: late });
    expect(await revoke(late, provedBy(prover))).toMatchObject({ status: 200 });
    expect(world.audit.records.filter(({ event }) => event === "token.revoked")).toHaveLength(1);
    expect(records).toBeGreaterThan(0);
  });

  it("is for who shows the certificate that a token is bound to", async () => {
    await world.svidOf("other");
    const answer = await world.send("/oauth2/token", {
      grant_type: EXCHANGE,
      subject_token: await world.jwtSvid("web"),
      subject_token_type: JWT,
      audience: API,
    });
    const token = answer.body.access_token;
    expect(decodeJwt(token)["cnf"]).toEqual({
      "x5t#S256": createHash("sha256")
        .update(world.certificate ?? "")
        .digest("base64url"),
    });
    expect((await world.send("/oauth2/introspect", { token })).body).toMatchObject({ token_type: "Bearer" });
    expect(await revoke(token)).toMatchObject({ status: 200 });
    expect(await isActive(token)).toBe(false);
  });
});
