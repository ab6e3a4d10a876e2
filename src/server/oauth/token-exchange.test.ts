import { createHash } from "node:crypto";
import { decodeJwt } from "jose";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeKey } from "../../../test/fakes/certificates.ts";
import { API, ISSUER, OAuthWorld, Prover, TOKEN_URL } from "../../../test/fakes/oauth-world.ts";

const EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT = "urn:ietf:params:oauth:token-type:jwt";
const ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token";
const JWT_SPIFFE = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";

let world: OAuthWorld;
let prover: Prover;

beforeEach(async () => {
  world = await OAuthWorld.open();
  prover = await world.prover();
});
afterEach(() => world[Symbol.asyncDispose]());

const post = (form: Record<string, string | string[]>, headers: Record<string, string> = {}) =>
  world.send("/oauth2/token", form, headers);
const proved = (form: Record<string, string | string[]>, by = prover) => post(form, { dpop: by.proof() });
const exchange = (token: string, more: Record<string, string | string[]> = {}) => ({
  grant_type: EXCHANGE,
  subject_token: token,
  subject_token_type: JWT,
  audience: API,
  ...more,
});
const without = (form: Record<string, string | string[]>, name: string) =>
  Object.fromEntries(Object.entries(form).filter(([key]) => key !== name));
const eventsOf = () => world.audit.records.map(({ event }) => event);

describe("token exchange of an SVID", () => {
  it("gives an access token of the one audience that the entry lists", async () => {
    const entry = await world.entry("web");
    const answer = await proved(exchange(await world.jwtSvid("web")));
    expect(answer).toMatchObject({
      status: 200,
      body: { token_type: "DPoP", issued_token_type: ACCESS_TOKEN, expires_in: 300 },
    });
    expect(Object.keys(answer.body).toSorted()).toEqual([
      "access_token",
      "expires_in",
      "issued_token_type",
      "token_type",
    ]);
    expect(decodeJwt(answer.body.access_token)).toMatchObject({
      iss: ISSUER,
      sub: "spiffe://example.org/web",
      client_id: "spiffe://example.org/web",
      aud: API,
      cnf: { jkt: prover.jkt },
      exp: world.now + 300,
    });
    expect(world.audit.records).toMatchObject([
      {
        event: "token.issued",
        outcome: "issued",
        spiffe_id: "spiffe://example.org/web",
        entry_id: entry.id,
        audience: [API],
        jti: decodeJwt(answer.body.access_token).jti,
      },
    ]);
  });

  it("ends with what it was exchanged for", async () => {
    await world.entry("web");
    const token = await world.jwtSvid("web", [ISSUER], 100);
    world.clock.step(40_000);
    expect((await proved(exchange(token))).body).toMatchObject({ expires_in: 60 });
    world.clock.step(60_000);
    expect(await proved(exchange(token))).toMatchObject({ status: 400, body: { error: "invalid_request" } });
  });

  it.each<[string, Record<string, string | string[]>, string]>([
    ["an audience that the entry does not list", { audience: "https://other.example" }, "invalid_target"],
    ["an audience that begins like one", { audience: `${API}/` }, "invalid_target"],
    ["several audiences", { audience: [API, API] }, "invalid_target"],
    ["a resource that is no URI", { audience: "", resource: "api" }, "invalid_target"],
    ["a resource with a fragment", { audience: "", resource: `${API}#x` }, "invalid_target"],
    ["a scope", { scope: "read" }, "invalid_scope"],
    ["a token type that is not issued", { requested_token_type: JWT }, "invalid_request"],
    ["an unknown subject_token_type", { subject_token_type: "urn:x" }, "invalid_request"],
    ["a JWT-SVID that is called an access token", { subject_token_type: ACCESS_TOKEN }, "invalid_request"],
    ["actor_token_type alone", { actor_token_type: JWT }, "invalid_request"],
    ["an actor of another type", { actor_token: "x", actor_token_type: ACCESS_TOKEN }, "invalid_request"],
  ])("refuses %s", async (_, more, error) => {
    await world.entry("web");
    const answer = await proved(exchange(await world.jwtSvid("web"), more));
    expect(answer).toMatchObject({ status: 400, body: { error } });
    expect(eventsOf()).not.toContain("token.issued");
  });

  it("answers everything that is wrong with a subject token in one way", async () => {
    const entry = await world.entry("web");
    const good = await world.jwtSvid("web");
    const foreign = await world.jwtSvid("web", ["https://other.example"]);
    const both = await world.jwtSvid("web", [ISSUER, "https://other.example"]);
    const unknown = await world.jwtSvid("nobody");
    const revoked = await world.jwtSvid("web");
    await world.store.credentials.revoke(
      { kind: "jwt", id: decodeJwt(revoked).jti ?? "" },
      "operator",
      world.now,
      {
        authorityId: "a",
        spiffeId: entry.spiffeId,
        entryId: "",
        taskId: "",
        parent: "",
        issuedAt: world.now,
        expiresAt: world.now + 300,
      },
    );
    const bad = [foreign, both, unknown, revoked, `${good.slice(0, -4)}AAAA`, "x", "a.b.c"];
    for (const token of bad) {
      const { status, body } = await proved(exchange(token));
      expect({ status, ...body }).toEqual({
        status: 400,
        error: "invalid_request",
        error_description: expect.stringMatching(/^no identity issued \(decision decision-\d+\)$/) as unknown,
      });
    }
    expect(new Set(eventsOf())).toEqual(new Set(["token.denied"]));
    expect(world.audit.records.every(({ reasons }) => (reasons?.length ?? 0) > 0)).toBe(true);
    expect(await proved(exchange(good))).toMatchObject({ status: 200 });
  });

  it("gives nothing by entries that expired, or are of tasks", async () => {
    await world.entry("web", { expiresAt: world.now + 10 });
    await world.entry("web", {
      parentId: "spiffe://example.org/spire/task/ci",
      selectors: [{ type: "ci", value: "repository:1" }],
    });
    const token = await world.jwtSvid("web");
    expect((await proved(exchange(token))).body).toMatchObject({ expires_in: 10 });
    world.clock.step(10_000);
    expect(await proved(exchange(token))).toMatchObject({ status: 400, body: { error: "invalid_request" } });
  });

  it("binds to the certificate of the connection where there is no proof", async () => {
    await world.entry("web");
    await world.svidOf("other");
    const answer = await post(exchange(await world.jwtSvid("web")));
    expect(answer).toMatchObject({ status: 200, body: { token_type: "Bearer" } });
    const x5t = createHash("sha256")
      .update(world.certificate ?? "")
      .digest("base64url");
    expect(decodeJwt(answer.body.access_token)["cnf"]).toEqual({ "x5t#S256": x5t });
  });

  it("does not bind to a certificate whose SVID has expired on the connection", async () => {
    await world.entry("web");
    const { notAfter } = await world.svidOf("other");
    world.clock.step((notAfter - world.now) * 1000);
    expect(await post(exchange(await world.jwtSvid("web")))).toMatchObject({
      body: { error: "invalid_dpop_proof" },
    });
  });

  it("takes a WIT-SVID from who proves its key", async () => {
    await world.entry("web");
    const token = await world.witSvid("web", prover.key);
    expect(await proved(exchange(token))).toMatchObject({ status: 200 });
    expect(await proved(exchange(token), new Prover(world, makeKey()))).toMatchObject({
      status: 400,
      body: { error: "invalid_request" },
    });
  });

  it("takes no WIT-SVID where they are switched off", async () => {
    await using other = await OAuthWorld.open({ wit: false });
    await other.entry("web");
    await world.entry("web");
    const by = await other.prover();
    const token = await world.witSvid("web", by.key);
    expect(await other.send("/oauth2/token", exchange(token), { dpop: by.proof() })).toMatchObject({
      status: 400,
    });
  });
});

describe("exchange of access tokens, and delegation", () => {
  const BACKEND = "spiffe://example.org/backend";

  beforeEach(async () => {
    await world.entry("web", { exchangeAudiences: [API, BACKEND] });
    await world.entry("backend");
  });

  it("exchanges a token for who holds its key, and nobody else", async () => {
    const first = (await proved(exchange(await world.jwtSvid("web"), { audience: BACKEND }))).body
      .access_token;
    const again = exchange(first, { subject_token_type: ACCESS_TOKEN });
    expect(await proved(again)).toMatchObject({ status: 200 });
    expect(await proved(again, new Prover(world))).toMatchObject({
      status: 400,
      body: { error: "invalid_request" },
    });
  });

  it("lets the service that a token is for go on as its actor, bound to that service's key", async () => {
    const first = (await proved(exchange(await world.jwtSvid("web"), { audience: BACKEND }))).body
      .access_token;
    const service = new Prover(world);
    const form = exchange(first, {
      subject_token_type: ACCESS_TOKEN,
      actor_token: await world.jwtSvid("backend"),
      actor_token_type: JWT,
    });
    const answer = await proved(form, service);
    expect(answer.status).toBe(200);
    expect(decodeJwt(answer.body.access_token)).toMatchObject({
      sub: "spiffe://example.org/web",
      client_id: BACKEND,
      act: { sub: BACKEND },
      cnf: { jkt: service.jkt },
    });
    expect(world.audit.records.at(-1)).toMatchObject({ event: "token.issued", act: [BACKEND] });
    // Whoever has the token but is not whom it is for.
    await world.entry("other");
    const thief = { ...form, actor_token: await world.jwtSvid("other") };
    expect(await proved(thief, service)).toMatchObject({ status: 400, body: { error: "invalid_request" } });
  });

  it("keeps who acted before within, and ends with what comes first", async () => {
    await world.entry("second");
    const first = await proved(
      exchange(await world.jwtSvid("web"), {
        actor_token: await world.jwtSvid("backend", [ISSUER], 90),
        actor_token_type: JWT,
      }),
    );
    expect(first.body).toMatchObject({ expires_in: 90 });
    const second = await proved(
      exchange(first.body.access_token, {
        subject_token_type: ACCESS_TOKEN,
        actor_token: await world.jwtSvid("second"),
        actor_token_type: JWT,
      }),
    );
    expect(decodeJwt(second.body.access_token)["act"]).toEqual({
      sub: "spiffe://example.org/second",
      act: { sub: BACKEND },
    });
    // Without an actor nobody is added, and nobody is left out.
    const third = await proved(exchange(second.body.access_token, { subject_token_type: ACCESS_TOKEN }));
    expect(decodeJwt(third.body.access_token)["act"]).toEqual(decodeJwt(second.body.access_token)["act"]);
    expect(decodeJwt(third.body.access_token)["client_id"]).toBe("spiffe://example.org/second");
  });

  it("lets nobody act where his own entry does not list the audience", async () => {
    await world.entry("weak", { exchangeAudiences: [] });
    const form = exchange(await world.jwtSvid("web"), {
      actor_token: await world.jwtSvid("weak"),
      actor_token_type: JWT,
    });
    expect(await proved(form)).toMatchObject({ status: 400, body: { error: "invalid_target" } });
  });

  it("lets nobody who acts go on to an audience that his own entry does not list", async () => {
    const weak = await world.entry("weak", { exchangeAudiences: [BACKEND] });
    const first = await proved(
      exchange(await world.jwtSvid("web"), {
        audience: BACKEND,
        actor_token: await world.jwtSvid("weak"),
        actor_token_type: JWT,
      }),
    );
    expect(first.status).toBe(200);
    // The subject's entry lists it; what counts for who acts is the actor's.
    const further = exchange(first.body.access_token, { subject_token_type: ACCESS_TOKEN });
    expect(await proved(further)).toMatchObject({ status: 400, body: { error: "invalid_target" } });
    expect(await proved({ ...further, audience: BACKEND })).toMatchObject({ status: 200 });
    await world.registry.entries.delete([weak.id]);
    expect(await proved({ ...further, audience: BACKEND })).toMatchObject({
      status: 400,
      body: { error: "invalid_request" },
    });
  });

  it("bounds how many act", async () => {
    let { access_token: token } = (await proved(exchange(await world.jwtSvid("web")))).body;
    const actor_token = await world.jwtSvid("backend");
    const once = async () =>
      proved(exchange(token, { subject_token_type: ACCESS_TOKEN, actor_token, actor_token_type: JWT }));
    for (let n = 0; n < 8; n++) {
      const answer = await once();
      expect(answer.status).toBe(200);
      token = answer.body.access_token;
    }
    expect(await once()).toMatchObject({ status: 400, body: { error: "invalid_request" } });
  });
});

describe("tokens of tasks", () => {
  const asTask = async () => {
    await world.entry("ci", {
      parentId: "spiffe://example.org/spire/task/ci",
      selectors: [{ type: "ci", value: "repository:1" }],
    });
    const { body } = await proved({
      grant_type: EXCHANGE,
      subject_token: "run:7:a",
      subject_token_type: JWT,
    });
    return body;
  };

  it("are exchanged by the task's key, for an identity of the task, until its lease and grace", async () => {
    const { access_token: token, task } = await asTask();
    const form = exchange(token, { subject_token_type: ACCESS_TOKEN });
    const answer = await proved(form);
    expect(answer).toMatchObject({ status: 200, body: { expires_in: 150 } });
    expect(decodeJwt(answer.body.access_token)).toMatchObject({
      sub: "spiffe://example.org/ci",
      aud: API,
      task: { id: task.id, platform: "fake-ci" },
    });
    expect(world.audit.records.at(-1)).toMatchObject({ task_id: task.id, platform: "fake-ci" });
    expect(await proved(form, new Prover(world))).toMatchObject({ status: 400 });
  });

  it("are worth nothing when the task is over, nor is what was exchanged for them", async () => {
    const { access_token: token, task } = await asTask();
    const form = exchange(token, { subject_token_type: ACCESS_TOKEN });
    const first = await proved(form);
    await world.serverTasks.issuance.end({ address: "" }, task.id, "job");
    expect(await proved(form)).toMatchObject({ status: 400, body: { error: "invalid_request" } });
    const again = exchange(first.body.access_token, { subject_token_type: ACCESS_TOKEN });
    expect(await proved(again)).toMatchObject({ status: 400, body: { error: "invalid_request" } });
    const { jti = "" } = decodeJwt(first.body.access_token);
    expect(await world.store.credentials.get("access_token", jti)).toMatchObject({ revokedAt: world.now });
  });
});

describe("assertions and clients for themselves", () => {
  const CLIENT = { client_assertion_type: JWT_SPIFFE };
  const own = { grant_type: "client_credentials", audience: API };

  beforeEach(() => world.entry("web"));

  it("takes a JWT-SVID as grant, as often as it is shown", async () => {
    const assertion = await world.jwtSvid("web");
    const form = { grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer", assertion, audience: API };
    expect(await proved(form)).toMatchObject({ status: 200, body: { token_type: "DPoP" } });
    expect(await proved(form)).toMatchObject({ status: 200 });
    const wrong = { ...form, assertion: await world.jwtSvid("web", [TOKEN_URL]) };
    expect(await proved(wrong)).toMatchObject({ status: 400, body: { error: "invalid_grant" } });
    expect(await proved(without(form, "audience"))).toMatchObject({ body: { error: "invalid_target" } });
    expect(await proved(without(form, "assertion"))).toMatchObject({ body: { error: "invalid_request" } });
  });

  it("takes a client by its JWT-SVID", async () => {
    const form = { ...own, ...CLIENT, client_assertion: await world.jwtSvid("web") };
    expect(await proved(form)).toMatchObject({ status: 200 });
    expect(await proved({ ...form, client_id: "spiffe://example.org/web" })).toMatchObject({ status: 200 });
  });

  it("takes a client by the X509-SVID of its connection, which it names", async () => {
    await world.svidOf("web");
    const form = { ...own, client_id: "spiffe://example.org/web" };
    expect(await post(form)).toMatchObject({ status: 200, body: { token_type: "Bearer" } });
    expect(await proved(form)).toMatchObject({ status: 200, body: { token_type: "DPoP" } });
    await world.svidOf("other");
    expect(await post(form)).toMatchObject({ status: 401, body: { error: "invalid_client" } });
  });

  it.each<[string, () => Promise<Record<string, string | string[]>>]>([
    ["no credential", async () => ({})],
    [
      "an assertion of another type",
      async () => ({
        client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        client_assertion: await world.jwtSvid("web"),
      }),
    ],
    ["a type without an assertion", async () => CLIENT],
    ["a secret", async () => ({ client_secret: "s" })],
    [
      "a JWT-SVID for others too",
      async () => ({ ...CLIENT, client_assertion: await world.jwtSvid("web", [ISSUER, API]) }),
    ],
    [
      "a JWT-SVID of another client",
      async () => ({
        ...CLIENT,
        client_assertion: await world.jwtSvid("web"),
        client_id: "spiffe://example.org/other",
      }),
    ],
    [
      "a WIT-SVID as assertion",
      async () => ({ ...CLIENT, client_assertion: await world.witSvid("web", prover.key) }),
    ],
    [
      "the name of an SVID that the connection does not show",
      async () => ({ client_id: "spiffe://example.org/web" }),
    ],
  ])("refuses %s", async (_, form) => {
    const answer = await proved({ ...own, ...(await form()) });
    expect(answer).toMatchObject({
      status: 401,
      headers: { "www-authenticate": "SPIFFE", "cache-control": "no-store" },
      body: { error: "invalid_client" },
    });
  });

  it("refuses a client without an entry as one that is not known", async () => {
    const form = { ...own, ...CLIENT, client_assertion: await world.jwtSvid("nobody") };
    expect(await proved(form)).toMatchObject({ status: 401, body: { error: "invalid_client" } });
  });

  it("refuses Basic credentials, and two methods at once", async () => {
    const headers = { dpop: prover.proof(), authorization: "Basic YTpi" };
    expect(await post(own, headers)).toMatchObject({ status: 401, body: { error: "invalid_client" } });
    const both = { ...own, ...CLIENT, client_assertion: await world.jwtSvid("web") };
    const attested = {
      dpop: prover.proof(),
      "oauth-client-attestation": "a",
      "oauth-client-attestation-pop": "b",
    };
    expect(await post(both, attested)).toMatchObject({ status: 400, body: { error: "invalid_request" } });
  });
});
