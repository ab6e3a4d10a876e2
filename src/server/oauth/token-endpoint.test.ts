import { decodeJwt } from "jose";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { API, ISSUER, OAuthWorld, Prover, REVOKE_URL } from "../../../test/fakes/oauth-world.ts";
import { AssayError } from "../../errors/assay-error.ts";

const EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT = "urn:ietf:params:oauth:token-type:jwt";
const ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token";
const TASK_API = `${ISSUER}/v1/task`;

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

describe("opening a task by token exchange", () => {
  const open = (run: string, more: Record<string, string | string[]> = {}, by = prover) =>
    proved({ grant_type: EXCHANGE, subject_token: run, subject_token_type: JWT, ...more }, by);

  beforeEach(async () => {
    await world.entry("", {
      spiffeId: "",
      parentId: "spiffe://example.org/spire/task/ci",
      selectors: [{ type: "ci", value: "repository:1" }],
      idTemplate: "/ci/run/{run}",
      hint: "run",
    });
  });

  it("gives an access token that is bound to the job's key, and the task", async () => {
    const answer = await open("run:7:a");
    expect(answer).toMatchObject({
      status: 200,
      headers: { "cache-control": "no-store", pragma: "no-cache" },
      body: {
        token_type: "DPoP",
        issued_token_type: ACCESS_TOKEN,
        expires_in: 21_600,
        scope: "task",
        task: {
          state: "active",
          lease: 120,
          identities: [{ spiffe_id: "spiffe://example.org/ci/run/7", hint: "run" }],
        },
      },
    });
    const { task, access_token: token } = answer.body;
    const subject = `spiffe://example.org/spire/task/ci/${task.id}`;
    expect(decodeJwt(token)).toEqual({
      iss: ISSUER,
      sub: subject,
      aud: TASK_API,
      client_id: subject,
      exp: world.now + 21_600,
      iat: world.now,
      jti: expect.any(String) as unknown,
      scope: "task",
      cnf: { jkt: prover.jkt },
      status: { status_list: { idx: expect.any(Number) as unknown, uri: `${ISSUER}/oauth2/status-lists/0` } },
    });
    expect(eventsOf()).toEqual(["task.opened", "token.issued"]);
    expect(world.audit.records[1]).toMatchObject({
      task_id: task.id,
      audience: [TASK_API],
      spiffe_id: subject,
    });
  });

  it.each([
    [{ audience: TASK_API }],
    [{ resource: TASK_API }],
    [{ scope: "task" }],
    [{ client_id: "a job" }],
  ])("takes %o besides", async (more) => expect(await open("run:7:a", more)).toMatchObject({ status: 200 }));

  it.each<[string, Record<string, string | string[]>, string]>([
    ["another scope", { scope: "task admin" }, "invalid_scope"],
    ["an actor", { actor_token: "x", actor_token_type: JWT }, "invalid_request"],
    ["an access token as evidence", { subject_token_type: ACCESS_TOKEN }, "invalid_request"],
    ["two audiences", { audience: [TASK_API, API] }, "invalid_target"],
    ["an audience and a resource", { audience: TASK_API, resource: TASK_API }, "invalid_target"],
  ])("refuses %s", async (_, more, error) => {
    expect(await open("run:7:a", more)).toMatchObject({ status: 400, body: { error } });
    expect(eventsOf()).not.toContain("task.opened");
  });

  it("answers failed evidence and missing entries alike", async () => {
    const failed = await open("no token");
    const [entry] = world.registry.entries.list({}, {}).items;
    await world.registry.entries.delete([entry?.id ?? ""]);
    const unmatched = await open("run:7:a");
    for (const answer of [failed, unmatched]) {
      expect(answer).toMatchObject({
        status: 400,
        body: {
          error: "invalid_request",
          error_description: expect.stringMatching(
            /^no identity issued \(decision decision-\d\)$/,
          ) as unknown,
        },
      });
    }
    expect(Object.keys(failed.body)).toEqual(Object.keys(unmatched.body));
  });

  it("refuses a token that comes again, and another key for the same run", async () => {
    await open("run:7:a");
    expect(await open("run:7:a")).toMatchObject({
      status: 400,
      body: { error: "invalid_request", error_description: expect.stringMatching(/used before/) as unknown },
    });
    expect(await open("run:7:b", {}, new Prover(world))).toMatchObject({
      status: 400,
      body: { error: "invalid_request" },
    });
    expect(eventsOf()).toContain("task.alarm");
    expect(await open("run:7:c")).toMatchObject({ status: 200 });
  });

  it("is not there where no task attestor is configured", async () => {
    await using other = await OAuthWorld.open({ tasks: false });
    const form = { grant_type: EXCHANGE, subject_token: "run:7:a", subject_token_type: JWT };
    const by = await other.prover();
    expect(await other.send("/oauth2/token", form, { dpop: by.proof() })).toMatchObject({
      body: { error: "invalid_request" },
    });
    expect(
      await other.send("/oauth2/token", { ...form, audience: TASK_API }, { dpop: by.proof() }),
    ).toMatchObject({
      body: { error: "invalid_target" },
    });
  });
});

describe("proofs of possession at the token endpoint", () => {
  let form: Record<string, string | string[]>;
  beforeEach(async () => {
    await world.entry("web");
    form = exchange(await world.jwtSvid("web"));
  });

  it("asks for a nonce, and gives one with every answer", async () => {
    const refused = await post(form, { dpop: prover.proof({ nonce: "none" }) });
    expect(refused).toMatchObject({
      status: 400,
      headers: { "dpop-nonce": world.nonce },
      body: { error: "use_dpop_nonce" },
    });
    expect(await post(form, { dpop: prover.proof() })).toMatchObject({
      status: 200,
      headers: { "dpop-nonce": world.nonce },
    });
  });

  it("takes a nonce for five minutes", async () => {
    const { nonce } = world;
    world.clock.step(299_000);
    expect(await post(form, { dpop: prover.proof({ nonce }) })).not.toMatchObject({
      body: { error: "use_dpop_nonce" },
    });
    world.clock.step(61_000);
    expect(await post(form, { dpop: prover.proof({ nonce }) })).toMatchObject({
      body: { error: "use_dpop_nonce" },
    });
  });

  it("takes a proof once", async () => {
    const dpop = prover.proof();
    expect(await post(form, { dpop })).toMatchObject({ status: 200 });
    expect(await post(form, { dpop })).toMatchObject({
      status: 400,
      body: { error: "invalid_dpop_proof", error_description: "the proof was used before" },
    });
  });

  it("takes one proof only, of ten that come at the same time", async () => {
    const dpop = prover.proof();
    const answers = await Promise.all(Array.from({ length: 10 }, () => post(form, { dpop })));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
  });

  it.each<[string, (by: Prover) => string]>([
    ["two proofs", (by) => `${by.proof()}, ${by.proof()}`],
    ["a proof for another endpoint", (by) => by.proof({ url: REVOKE_URL })],
    ["a proof for another host", (by) => by.proof({ url: "https://issuer.example:8443/assay/oauth2/token" })],
    ["a proof for another method", (by) => by.proof({ method: "GET" })],
    ["a proof that is too old", (by) => by.proof({ now: world.now - 301 })],
    ["a proof with the hash of a token", (by) => by.proof({ accessToken: "x" })],
    ["an empty proof", () => "x"],
  ])("refuses %s", async (_, dpop) => {
    expect(await post(form, { dpop: dpop(prover) })).toMatchObject({
      status: 400,
      body: { error: "invalid_dpop_proof" },
    });
  });

  it("refuses a request with neither a proof nor a certificate", async () => {
    expect(await post(form)).toMatchObject({ status: 400, body: { error: "invalid_dpop_proof" } });
  });

  it("does not take the nonces of the task API", async () => {
    const { headers } = await world.request("GET", "/v1/task/try");
    const nonce = String(headers["dpop-nonce"]);
    expect(nonce).not.toBe(world.nonce);
    expect(await post(form, { dpop: prover.proof({ nonce }) })).toMatchObject({
      body: { error: "use_dpop_nonce" },
    });
  });

  it("is at the issuer's path too, and knows it as one endpoint", async () => {
    expect(await world.send("/assay/oauth2/token", form, { dpop: prover.proof() })).toMatchObject({
      status: 200,
    });
    const dpop = prover.proof({ url: "https://issuer.example/oauth2/token" });
    expect(await post(form, { dpop })).toMatchObject({ body: { error: "invalid_dpop_proof" } });
  });
});

describe("what any request to the token endpoint is asked", () => {
  const jwtBearer = {
    grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer",
    assertion: "x",
    audience: API,
  };

  it.each<[string, Record<string, string | string[]> | string, string]>([
    ["nothing", "", "invalid_request"],
    ["no grant_type", { assertion: "x" }, "invalid_request"],
    ["an empty grant_type", { grant_type: "" }, "invalid_request"],
    ["an unknown grant", { grant_type: "password" }, "unsupported_grant_type"],
    ["a parameter twice", { ...jwtBearer, assertion: ["x", "x"] }, "invalid_request"],
    ["an unknown parameter twice", { ...jwtBearer, other: ["", ""] }, "invalid_request"],
    ["broken escapes", "grant_type=%zz", "invalid_request"],
    ["escapes that are no UTF-8", "grant_type=%ff", "invalid_request"],
    [
      "more parameters than are read",
      Array.from({ length: 33 }, (_, n) => `p${n}=1`).join("&"),
      "invalid_request",
    ],
    ["no subject_token", without(exchange("x"), "subject_token"), "invalid_request"],
    ["no subject_token_type", without(exchange("x"), "subject_token_type"), "invalid_request"],
  ])("refuses %s", async (_, form, error) => {
    const answer = await world.send("/oauth2/token", form, { dpop: prover.proof() });
    expect(answer).toMatchObject({
      status: 400,
      headers: {
        "content-type": expect.stringMatching(/^application\/json/) as unknown,
        "cache-control": "no-store",
      },
      body: { error, error_description: expect.any(String) as unknown },
    });
  });

  it("reads forms alone", async () => {
    const body = JSON.stringify(jwtBearer);
    const answer = await world.request("POST", "/oauth2/token", body, { "content-type": "application/json" });
    expect(answer).toMatchObject({ status: 400, body: { error: "invalid_request" } });
  });

  it("bounds what it reads", async () => {
    const answer = await post({ ...jwtBearer, assertion: "x".repeat(70_000) });
    expect(answer).toMatchObject({ status: 413, body: { error: "invalid_request" } });
  });

  it.each(["GET", "PUT", "DELETE"] as const)("refuses %s", async (method) => {
    expect(await world.request(method, "/oauth2/token")).toMatchObject({
      status: 405,
      headers: { allow: "POST" },
      body: { error: "invalid_request" },
    });
  });

  it("refuses a request that a web page sent", async () => {
    for (const headers of [{ origin: "https://evil.example" }, { "sec-fetch-site": "cross-site" }]) {
      expect(await post(jwtBearer, headers as Record<string, string>)).toMatchObject({
        status: 400,
        body: { error: "invalid_request", error_description: expect.stringMatching(/web pages/) as unknown },
      });
    }
  });

  it("lets nobody in beyond his rate, before anything is read", async () => {
    world.allowance = 0;
    expect(await post({ grant_type: "%" })).toMatchObject({
      status: 429,
      headers: { "retry-after": "1" },
      body: { error: "temporarily_unavailable" },
    });
  });

  it("refuses a connection whose SVID is trusted no longer, and does not say why", async () => {
    world.caller = new AssayError("CALLER_NOT_IDENTIFIED", "client SVID: no path to a root");
    const answer = await post(jwtBearer);
    expect(answer).toMatchObject({ status: 401, body: { error: "invalid_client" } });
    expect(JSON.stringify(answer.body)).not.toContain("no path");
  });

  it("gives nothing that could not be written to the audit log", async () => {
    await world.entry("web");
    world.audit.broken = true;
    const answer = await proved(exchange(await world.jwtSvid("web")));
    expect(answer).toMatchObject({ status: 503, body: { error: "temporarily_unavailable" } });
    expect(JSON.stringify(answer.body)).not.toContain("disk");
  });
});
