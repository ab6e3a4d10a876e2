import { createHmac, generateKeyPairSync, type KeyObject, randomUUID, sign } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeCsr } from "../../fakes/issuance-csr.ts";
import { type Job, type JobAnswer, JOB_ISSUER, openForm, sendTo } from "../../fakes/job.ts";
import { endMessage, GITLAB, INSTANCE, TaskServer, WEBHOOK_SECRET } from "../../fakes/task-server.ts";

// Proofs of possession that are misused, calls after the end, and platforms' messages, at a real server.

const FORM = { "content-type": "application/x-www-form-urlencoded" };

let server: TaskServer;
let job: Job;
let thief: Job;

beforeAll(async () => {
  server = await TaskServer.start();
  await server.taskEntry("/ci/app");
  await server.entry("/ci/shop", `/spire/task/${GITLAB}`, {
    selectors: [{ type: "gitlab", value: "project-id:20" }],
  });
  job = await opened();
  thief = server.job();
  await thief.ready("/oauth2/token");
  await thief.ready("/v1/task");
});
afterAll(() => server?.[Symbol.asyncDispose]());

async function opened(token = server.token()): Promise<Job> {
  const one = server.job();
  const answer = await one.open(token);
  if (answer.status !== 200) throw new Error(answer.text);
  await one.ready("/v1/task");
  return one;
}

/** A proof as asked in every member, by any key. */
function proofOf(key: KeyObject, header: object, payload: object): string {
  const encoded = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const input = `${encoded(header)}.${encoded(payload)}`;
  const signature = sign("sha256", Buffer.from(input), { key, dsaEncoding: "ieee-p1363" });
  return `${input}.${signature.toString("base64url")}`;
}

/** The parts of a proof of the job for `GET /v1/task`, good as they are. */
function parts(by: Job = job) {
  const [header = "", payload = ""] = by
    .proof("GET", "/v1/task", { accessToken: job.accessToken ?? "" })
    .split(".");
  const read = (part: string) =>
    JSON.parse(Buffer.from(part, "base64url").toString()) as Record<string, unknown>;
  return { header: read(header), payload: read(payload) };
}

function changed(header: object, payload: object = {}, key: KeyObject = job.key): string {
  const good = parts();
  return proofOf(key, { ...good.header, ...header }, { ...good.payload, ...payload });
}

function call(dpop: string | readonly string[] | undefined, scheme = "DPoP"): Promise<JobAnswer> {
  return job.send("GET", "/v1/task", {
    headers: { authorization: `${scheme} ${job.accessToken ?? ""}`, ...(dpop !== undefined && { dpop }) },
  });
}

const good = () => changed({});
const accessToken = () => job.accessToken ?? "";
const privateJwk = () => job.key.export({ format: "jwk" });

const MISUSES: Readonly<Record<string, () => string | readonly string[] | undefined>> = {
  "no proof": () => undefined,
  "two proofs": () => [good(), good()],
  "a proof for another URL": () => job.proof("GET", "/v1/task/bundles", { accessToken: accessToken() }),
  "a proof for another host": () =>
    job.proof("GET", "/v1/task", { accessToken: accessToken(), url: "https://other.example/v1/task" }),
  "a proof for the URL over http": () =>
    changed({}, { htu: `${JOB_ISSUER.replace("https", "http")}/v1/task` }),
  "a proof for another method": () => job.proof("POST", "/v1/task", { accessToken: accessToken() }),
  "a proof for the method in other letters": () => changed({}, { htm: "get" }),
  "a proof for another token": () => job.proof("GET", "/v1/task", { accessToken: "another" }),
  "a proof for no token": () => changed({}, { ath: undefined }),
  "a proof without a nonce": () => changed({}, { nonce: undefined }),
  "a proof with a made-up nonce": () => changed({}, { nonce: "abc.def" }),
  "a proof with a nonce of the token endpoint": () =>
    job.proof("GET", "/oauth2/token", { accessToken: accessToken(), url: `${JOB_ISSUER}/v1/task` }),
  "a proof without jti": () => changed({}, { jti: undefined }),
  "a proof without iat": () => changed({}, { iat: undefined }),
  "a proof that is an hour old": () => changed({}, { iat: server.now - 3600 }),
  "a proof from the future": () => changed({}, { iat: server.now + 3600 }),
  "a proof with a private jwk": () => changed({ jwk: privateJwk() }),
  "a proof with a symmetric jwk": () => changed({ jwk: { kty: "oct", k: "AAAA" } }),
  "a proof with alg none": () => `${changed({ alg: "none" }).split(".").slice(0, 2).join(".")}.`,
  "a proof with HS256": () => changed({ alg: "HS256" }),
  "a proof that is called a JWT": () => changed({ typ: "JWT" }),
  "a proof that another key signed": () => changed({}, {}, thief.key),
  "a proof of another key": () => thief.proof("GET", "/v1/task", { accessToken: accessToken() }),
  "a proof of a key on another curve": () => {
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-521" });
    return changed({ alg: "ES512", jwk: publicKey.export({ format: "jwk" }) }, {}, privateKey);
  },
  "a proof with a critical header": () => changed({ crit: ["x"], x: 1 }),
};

describe("a proof of possession", () => {
  it("is good as it should be, also with the path that names a query", async () => {
    expect((await call(good())).status).toBe(200);
    const query = { authorization: `DPoP ${accessToken()}`, dpop: good() };
    expect((await job.send("GET", "/v1/task?a=b", { headers: query })).status).toBe(200);
  });

  it.each(Object.entries(MISUSES))("is refused: %s", async (_what, make) => {
    const answer = await call(make());
    expect(answer.status).toBe(401);
    expect(String(answer.headers["www-authenticate"])).toMatch(
      /^DPoP error="(use_dpop_nonce|invalid_dpop_proof|invalid_token)"/,
    );
    expect(answer.headers["dpop-nonce"]).toBeDefined();
  });

  it("is refused when it is replayed, from 100 connections at once too", async () => {
    const proof = good();
    const headers = { authorization: `DPoP ${accessToken()}`, dpop: proof };
    const answers = await Promise.all(
      Array.from({ length: 100 }, () => sendTo(server.door, "GET", "/v1/task", { headers, alone: true })),
    );
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    expect(answers.filter(({ status }) => status === 401)).toHaveLength(99);
  });

  it("is refused with the access token as bearer, which is worth nothing without it", async () => {
    expect((await call(good(), "Bearer")).status).toBe(401);
    expect((await call(undefined, "Bearer")).status).toBe(401);
    const { door } = thief;
    const inQuery = `/v1/task?access_token=${accessToken()}`;
    expect((await sendTo(door, "GET", inQuery, { headers: { dpop: good() } })).status).toBe(401);
  });

  it("is for what the issuer is called, whatever Host and forwarding headers say", async () => {
    const disguises: Record<string, string>[] = [
      { host: "attacker.example" },
      { "x-forwarded-host": "attacker.example", "x-forwarded-proto": "http" },
      { forwarded: "host=attacker.example;proto=http" },
      { "x-original-url": "/v1/task/end", "x-rewrite-url": "/v1/task/end" },
      { "x-http-method-override": "POST" },
    ];
    for (const disguise of disguises) {
      const headers = { authorization: `DPoP ${accessToken()}`, ...disguise };
      const named = job.proof("GET", "/v1/task", {
        accessToken: accessToken(),
        url: "https://attacker.example/v1/task",
      });
      expect((await job.send("GET", "/v1/task", { headers: { ...headers, dpop: named } })).status).toBe(401);
      const answer = await job.send("GET", "/v1/task", { headers: { ...headers, dpop: good() } });
      expect(answer.status).toBe(200);
      expect(answer.text).not.toContain("attacker");
    }
  });

  it("opens nothing at the token endpoint when misused there", async () => {
    const bad: [string, (by: Job) => string][] = [
      ["for another URL", (by) => by.proof("POST", "/oauth2/revoke")],
      ["for another method", (by) => by.proof("GET", "/oauth2/token")],
      ["for a token", (by) => by.proof("POST", "/oauth2/token", { accessToken: "x" })],
      [
        "with a nonce of the task API",
        (by) => by.proof("POST", "/v1/task", { url: `${JOB_ISSUER}/oauth2/token` }),
      ],
    ];
    const before = server.bench.audit().length;
    for (const [, make] of bad) {
      const body = new URLSearchParams(openForm(server.token())).toString();
      const answer = await thief.send("POST", "/oauth2/token", {
        headers: { ...FORM, dpop: make(thief) },
        body,
      });
      expect(answer.status).toBe(400);
      expect(["invalid_dpop_proof", "use_dpop_nonce"]).toContain(answer.json["error"]);
    }
    expect(server.bench.audit()).toHaveLength(before);
  });
});

describe("a second key", () => {
  it("is refused and alarmed about for a run that has a task, and the first goes on", async () => {
    const run = server.claims();
    const first = await opened(server.platform.token(run));
    const other = await server.job().open(server.platform.token({ ...run, jti: randomUUID() }));
    expect(other).toMatchObject({ status: 400, json: { error: "invalid_request" } });
    expect(server.bench.audit().at(-1)).toMatchObject({ event: "task.alarm", code: "TASK_KEY_MISMATCH" });
    expect((await first.call("POST", "/v1/task/heartbeat", {})).status).toBe(200);
  });

  it("is refused for a run whose task has ended, and so is the first", async () => {
    const run = server.claims();
    const first = await opened(server.platform.token(run));
    await first.call("POST", "/v1/task/end", {});
    const fresh = () => server.platform.token({ ...run, jti: randomUUID() });
    expect((await first.open(fresh())).status).toBe(400);
    expect((await server.job().open(fresh())).status).toBe(400);
  });

  it("takes the task up again where it is the first, with a fresh token: one task all the same", async () => {
    const run = server.claims();
    const first = await opened(server.platform.token(run));
    const again = await first.open(server.platform.token({ ...run, jti: randomUUID() }));
    expect(again.status).toBe(200);
    expect(server.bench.audit().filter(({ event }) => event === "task.opened").length).toBeGreaterThan(0);
    expect(server.bench.audit().slice(-2)).toMatchObject([
      { event: "task.resumed" },
      { event: "token.issued" },
    ]);
  });
});

describe("a task that has ended", () => {
  it.each([
    ["GET", "/v1/task", undefined],
    ["POST", "/v1/task/heartbeat", {}],
    ["POST", "/v1/task/x509-svid", { csr: Buffer.from(makeCsr()).toString("base64") }],
    ["POST", "/v1/task/jwt-svid", { audience: ["db"] }],
    ["GET", "/v1/task/bundles", undefined],
    ["POST", "/v1/task/end", {}],
  ])("gets nothing by %s %s", async (method, path, body) => {
    const ended = await opened();
    expect((await ended.call("POST", "/v1/task/end", {})).status).toBe(200);
    const before = server.bench.audit().length;
    expect(await ended.call(method, path, body)).toMatchObject({ status: 409, json: { code: "TASK_OVER" } });
    expect(
      server.bench
        .audit()
        .slice(before)
        .filter(({ outcome }) => outcome === "issued"),
    ).toEqual([]);
  });
});

describe("a platform's message", () => {
  const post = (body: string, signature?: string, instance = INSTANCE) =>
    sendTo(server.door, "POST", `/v1/webhooks/${instance}`, {
      body,
      headers: {
        "content-type": "application/json",
        ...(signature !== undefined && { "x-hub-signature-256": signature }),
      },
    });
  const signatureOf = (body: string, secret = WEBHOOK_SECRET) =>
    `sha256=${createHmac("sha256", secret).update(body).digest("hex")}`;
  const isAlive = async (one: Job) => (await one.call("GET", "/v1/task")).status === 200;

  it("ends the task of its run, and no other", async () => {
    const [run, next] = [server.claims(), server.claims()];
    const meant = await opened(server.platform.token(run));
    const other = await opened(server.platform.token(next));
    // As a text the next number begins like this one.
    const longer = await opened(server.token({ run_id: `${String(run["run_id"])}0` }));
    const body = endMessage(run);
    expect((await post(body, signatureOf(body))).status).toBe(202);
    expect(await isAlive(meant)).toBe(false);
    expect(await isAlive(other)).toBe(true);
    expect(await isAlive(longer)).toBe(true);
  });

  it("ends nothing when it is forged", async () => {
    const run = server.claims();
    const live = await opened(server.platform.token(run));
    const body = endMessage(run);
    const forged = [
      undefined,
      "",
      "sha256=",
      `sha256=${"0".repeat(64)}`,
      signatureOf(body, "another secret that is long enough to be one"),
      signatureOf(`${body} `),
      signatureOf(body).toUpperCase(),
      signatureOf(body).replace("sha256=", "sha1="),
      `${signatureOf(body)}, ${signatureOf(body)}`,
    ];
    for (const signature of forged) expect((await post(body, signature)).status).toBe(401);
    expect((await post(body, signatureOf(body), GITLAB)).status).toBe(401);
    expect((await post(body, signatureOf(body), "no-such")).status).toBe(401);
    expect(await isAlive(live)).toBe(true);
  });

  it("ends nothing when it is replayed: not the next attempt, nor any task of another run", async () => {
    const run = server.claims();
    const body = endMessage(run);
    await opened(server.platform.token(run));
    expect((await post(body, signatureOf(body))).status).toBe(202);
    const attempt = await opened(
      server.platform.token({ ...run, jti: randomUUID(), run_attempt: "3", check_run_id: "99" }),
    );
    const ends = () => server.bench.audit().filter(({ event }) => event === "task.ended").length;
    const before = ends();
    for (let n = 0; n < 3; n++) expect((await post(body, signatureOf(body))).status).toBe(202);
    expect(await isAlive(attempt)).toBe(true);
    expect(ends()).toBe(before);
  });

  it("ends no task of another platform, whatever its numbers", async () => {
    const gitlab = await opened(server.gitlabToken({ job_id: "424242" }));
    const body = endMessage({ run_id: "424242", run_attempt: "1" });
    expect((await post(body, signatureOf(body))).status).toBe(202);
    expect(await isAlive(gitlab)).toBe(true);
  });
});
