import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CiIssuer } from "../../fakes/ci-tokens.ts";
import { openForm } from "../../fakes/job.ts";
import { makeJwk, makeToken } from "../../fakes/jose-factory.ts";
import { GITLAB, TaskServer } from "../../fakes/task-server.ts";

// What a job may show to a server, over its web port, to open a task. Every refusal must look the same from outside, open
// nothing, and not use up the good token that was in it.

const P256_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

let server: TaskServer;

beforeAll(async () => {
  server = await TaskServer.start();
  await server.taskEntry("/ci/app");
  await server.entry("/ci/shop", `/spire/task/${GITLAB}`, {
    selectors: [{ type: "gitlab", value: "project-id:20" }],
  });
});
afterAll(() => server?.[Symbol.asyncDispose]());

// A key of its own, and the name of the platform's.
const stranger = new CiIssuer("rsa-2048", "stranger");
const kid = { kid: "ci-key-1" };
const signed = (changes: Record<string, unknown> = {}, header: object = {}) => server.token(changes, header);

function hmacOfPublicKey(): string {
  return makeToken({
    key: server.platform.key,
    header: { alg: "HS256", kid: server.platform.keyId, typ: "JWT" },
    payload: server.claims(),
  });
}

function withAlgNone(): string {
  const header = { alg: "none", kid: server.platform.keyId, typ: "JWT" };
  return makeToken({ key: server.platform.key, header, payload: server.claims(), signAs: "none" });
}

/** By a key of the sender's own, which the header says to use. */
function bringing(member: object): string {
  return stranger.token(server.claims(), { ...kid, ...member });
}

const issuer = "https://token.actions.githubusercontent.com";

const REFUSED: Readonly<Record<string, () => string>> = {
  "alg none": withAlgNone,
  "alg none in other letters": () =>
    makeToken({
      key: server.platform.key,
      header: { alg: "nOnE", kid: server.platform.keyId },
      payload: server.claims(),
      signAs: "none",
    }),
  "HS256 with the public key as its secret": hmacOfPublicKey,
  "another alg than the key's": () => signed({}, { alg: "ES256" }),
  "an alg that the issuer may not sign by": () =>
    makeToken({
      key: server.platform.key,
      header: { alg: "RS512", kid: server.platform.keyId },
      payload: server.claims(),
    }),
  "an embedded jwk": () => bringing({ jwk: makeJwk(stranger.key) }),
  "an embedded jwk beside a good signature": () => signed({}, { jwk: makeJwk(stranger.key) }),
  "a jku": () => bringing({ jku: "https://attacker.example/jwks.json" }),
  "an x5u": () => bringing({ x5u: "https://attacker.example/key.pem" }),
  "an x5c": () => bringing({ x5c: ["AAAA"] }),
  "a kid that is a path": () => signed({}, { kid: "../../../../dev/null" }),
  "no kid": () => signed({}, { kid: undefined }),
  "a critical header": () => signed({}, { crit: ["b64"], b64: false }),
  "a good signature by a stranger's key of the same kid": () => stranger.token(server.claims(), kid),
  "a foreign issuer": () => stranger.token(server.claims({ iss: "https://issuer.attacker.example" }), kid),
  "a foreign issuer, signed by the platform": () => signed({ iss: "https://issuer.attacker.example" }),
  "the issuer in upper case": () => signed({ iss: issuer.replace("token", "TOKEN") }),
  "the issuer with a trailing slash": () => signed({ iss: `${issuer}/` }),
  "the issuer with its port": () => signed({ iss: `${issuer}:443` }),
  "the issuer over http": () => signed({ iss: issuer.replace("https", "http") }),
  "the issuer with a Cyrillic letter": () => signed({ iss: issuer.replace("o", "\u043e") }),
  "the issuer with a full-width dot": () => signed({ iss: issuer.replace(".", "\uff0e") }),
  "the issuer with a space after it": () => signed({ iss: `${issuer} ` }),
  "the issuer with a zero byte after it": () => signed({ iss: `${issuer}\u0000` }),
  "the issuer as a list": () => signed({ iss: [issuer] }),
  "the issuer as user information": () => signed({ iss: `${issuer}@attacker.example` }),
  "another enterprise's issuer below the platform's": () => signed({ iss: `${issuer}/evil` }),
  "several audiences, ours among them": () =>
    signed({ aud: ["https://assay.example.org", "https://b.example"] }),
  "our audience twice": () => signed({ aud: ["https://assay.example.org", "https://assay.example.org"] }),
  "no audience": () => signed({ aud: undefined }),
  "an audience that begins like ours": () => signed({ aud: "https://assay.example.org.attacker.example" }),
  "our audience with a trailing slash": () => signed({ aud: "https://assay.example.org/" }),
  "the audience that the platform gives unasked": () => signed({ aud: "https://github.com/octo-org" }),
  "a token that has expired": () => signed({ iat: server.now - 300, exp: server.now - 31 }),
  "a token without exp": () => signed({ exp: undefined }),
  "a token with exp as a text": () => signed({ exp: String(server.now + 300) }),
  "a token that is too old by its iat": () => signed({ iat: server.now - 700, exp: server.now + 300 }),
  "a token from the future": () => signed({ iat: server.now + 60, exp: server.now + 300 }),
  "a token that is not valid yet": () => signed({ nbf: server.now + 60 }),
  "a token that is good for a year": () => signed({ exp: server.now + 31_536_000 }),
  "an oversized token": () => signed({ filler: "a".repeat(16_000) }),
  "a sub that its author chose to look like ours": () =>
    signed({ sub: "repo:octo-org/octo-repo:ref:refs/heads/main", repository_id: "666" }),
  "the repository of another owner": () => signed({ repository_owner_id: "1001" }),
  "the owner as a list that has the right one": () => signed({ repository_owner_id: ["1000"] }),
  "the name of the right repository with the id of another": () =>
    signed({ repository: "octo-org/octo-repo", repository_id: "2001" }),
  "an event that strangers can cause": () => signed({ event_name: "pull_request_target" }),
  "an event that is not known yet": () => signed({ event_name: "from_tomorrow" }),
  "a pipeline of a fork's merge request": () =>
    server.gitlabToken({
      job_project_id: "666",
      job_namespace_id: "667",
      pipeline_source: "merge_request_event",
    }),
  "a pipeline that may be of a fork": () =>
    server.gitlabToken({ job_project_id: undefined, pipeline_source: "merge_request_event" }),
  "a claim twice": () =>
    server.platform.token(JSON.stringify(server.claims()).replace("{", '{"repository_owner_id":"1000",')),
  "a token that is none": () => "x.y.z",
};

describe("evidence that is no good", () => {
  it.each(Object.entries(REFUSED))("is refused like any other: %s", async (_what, make) => {
    const before = server.bench.audit().length;
    const answer = await server.job().open(make());
    expect(answer.status).toBe(400);
    expect(answer.json).toEqual({
      error: "invalid_request",
      error_description: expect.stringMatching(/^no identity issued \(decision [0-9a-f-]{36}\)$/) as unknown,
    });
    const records = server.bench.audit().slice(before);
    expect(records).toMatchObject([{ event: "task.denied", outcome: "denied" }]);
    // For the operator, and never any part of the token.
    const reasons = String(records[0]?.["reasons"] ?? records[0]?.["reason"]);
    expect(reasons.length).toBeGreaterThan(10);
    expect(reasons).not.toContain("attacker");
  });

  it("is too large for the endpoint at 64 KiB, and is not read", async () => {
    const answer = await server.job().open("a".repeat(70_000));
    expect(answer.status).toBe(413);
  });

  it("does not use the token up: refused for its entries, it opens a task when there is one", async () => {
    const token = signed({ repository_id: "3000", jti: "waits-for-its-entry" });
    expect((await server.job().open(token)).status).toBe(400);
    await server.taskEntry("/ci/later", { selectors: [{ type: "github", value: "repository-id:3000" }] });
    expect((await server.job().open(token)).status).toBe(200);
  });
});

describe("evidence that is good", () => {
  it("is good by either signature", async () => {
    expect((await server.job().open(signed())).status).toBe(200);
    expect((await server.job().open(server.platformEc.token(server.claims()))).status).toBe(200);
    expect((await server.job().open(server.gitlabToken())).status).toBe(200);
  });

  it("is not good again with its ECDSA signature written in the other way", async () => {
    for (const jti of ["malleated", undefined]) {
      const token = server.platformEc.token(server.claims({ jti }));
      const [header, payload, signature = ""] = token.split(".");
      const bytes = Buffer.from(signature, "base64url");
      const s = BigInt(`0x${bytes.subarray(32).toString("hex")}`);
      const other = (P256_ORDER - s).toString(16).padStart(64, "0");
      const twin = Buffer.concat([bytes.subarray(0, 32), Buffer.from(other, "hex")]).toString("base64url");
      expect((await server.job().open(token)).status).toBe(200);
      const again = await server.job().open([header, payload, twin].join("."));
      expect(again).toMatchObject({ status: 400 });
      expect(again.text).toMatch(/used before/);
    }
  });

  it.each([
    ["with the same key", true],
    ["each with a key of its own", false],
  ])("opens one task, of 100 connections that show it at once, %s", async (_how, isOneKey) => {
    const token = signed();
    const before = server.bench.audit().length;
    const first = server.job();
    await first.ready("/oauth2/token");
    const jobs = isOneKey ? [first] : await Promise.all(Array.from({ length: 100 }, () => readyJob()));
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, i) => (jobs[i % jobs.length] ?? first).open(token, {}, true)),
    );
    const won = answers.filter(({ status }) => status === 200);
    expect(won).toHaveLength(1);
    const others = answers.filter(({ status }) => status !== 200);
    expect(new Set(others.map(({ json }) => json["error"]))).toEqual(new Set(["invalid_request"]));
    for (const { json } of others) expect(String(json["error_description"])).toMatch(/used before/);
    const events = server.bench
      .audit()
      .slice(before)
      .map(({ event }) => event);
    expect(events.filter((event) => event === "task.opened")).toHaveLength(1);
    expect(events.filter((event) => event === "token.issued")).toHaveLength(1);
    // Others' keys are somebody at work; the own key again is a job that asks twice.
    expect(events.filter((event) => event === "task.alarm")).toHaveLength(isOneKey ? 0 : 99);
  });

  it("opens one task, of 100 fresh tokens of one run that come at once with different keys", async () => {
    const run = { run_id: "4711", check_run_id: "4711" };
    const before = server.bench.audit().length;
    const jobs = await Promise.all(Array.from({ length: 100 }, () => readyJob()));
    const answers = await Promise.all(jobs.map((job) => job.open(signed(run), {}, true)));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    const events = server.bench
      .audit()
      .slice(before)
      .map(({ event }) => event);
    expect(events.filter((event) => event === "task.opened")).toHaveLength(1);
    expect(events.filter((event) => event === "task.alarm")).toHaveLength(99);
  });

  it("opens nothing without a proof, and is not used up by trying", async () => {
    const token = signed();
    const job = server.job();
    const body = new URLSearchParams(openForm(token)).toString();
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    const answer = await job.send("POST", "/oauth2/token", { headers, body });
    expect(answer).toMatchObject({ status: 400, json: { error: "invalid_dpop_proof" } });
    expect((await job.open(token)).status).toBe(200);
  });
});

async function readyJob() {
  const job = server.job();
  await job.ready("/oauth2/token");
  return job;
}
