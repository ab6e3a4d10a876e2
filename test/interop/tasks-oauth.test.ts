import { writeFile } from "node:fs/promises";
import { setTimeout as wait } from "node:timers/promises";
import { decodeJwt } from "jose";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type JwtSource, openJwtSource } from "../../src/workload/jwt-source.ts";
import { output } from "../e2e/program.ts";
import { makeScratch, type Scratch } from "../e2e/scratch.ts";
import { Dialogue } from "./dialogue.ts";
import { BUILD_PATIENCE, describeWith } from "./peers.ts";
import { GITHUB_OWNER, GITHUB_TASKS, startTaskWorld, type TaskWorld } from "./task-world.ts";

const API = "https://api.example.org/orders";
/** Milliseconds until everybody has heard of an end. */
const REACHED = 5000;

let scratch: Scratch;
let world: TaskWorld;
let jwt: JwtSource;
let job: Dialogue;
/** Thumbprint of the job's key. */
let thumbprint: string;

describeWith(["python", "openssl", "curl"], "a job on requests-oauth2client 1.8.0", () => {
  let run: Awaited<ReturnType<TaskWorld["run"]>>;
  let task: Described;

  beforeAll(async () => {
    scratch = await makeScratch();
    world = await startTaskWorld(scratch, {});
    await world.server.createEntry({
      parentId: GITHUB_TASKS,
      spiffeId: "spiffe://example.org/ci/github",
      selectors: [GITHUB_OWNER],
      flags: [
        "--id-template=/ci/github/{repository_id}/run/{run_id}/{run_attempt}",
        `--exchange-audience=${API}`,
      ],
    });
    jwt = await openJwtSource({ address: world.agent.endpoint });
    const started = await Dialogue.start<{ readonly key: string }>("oauth-python", [
      world.issuer,
      world.caFile,
    ]);
    job = started.dialogue;
    thumbprint = started.first.key;
    run = await world.run();
  }, BUILD_PATIENCE);

  afterAll(async () => {
    await job?.[Symbol.asyncDispose]();
    await jwt?.[Symbol.asyncDispose]();
    await world?.[Symbol.asyncDispose]();
    await scratch?.[Symbol.asyncDispose]();
  });

  it("opens a task with a proof and the server's nonce, and has an access token that is bound to its key", async () => {
    task = await job.ask<Described>({ do: "open", token: run.token(world.issuer) });
    expect(task).toMatchObject({
      tokenType: "DPoP",
      scope: "task",
      header: { typ: "at+jwt", alg: "ES256" },
      claims: { iss: world.issuer, aud: `${world.issuer}/v1/task`, cnf: { jkt: thumbprint } },
    });
    expect(task.claims["client_id"]).toBe(task.claims["sub"]);
    expect(task.more.task.identities[0]?.spiffe_id).toContain(`/run/${run.runId}/1`);
  });

  it("is refused with a platform's token that was shown before, and with another key for its run", async () => {
    const token = run.token(world.issuer);
    expect(await job.ask<Described>({ do: "open", token })).toMatchObject({ tokenType: "DPoP" });
    expect(await job.ask({ do: "open", token })).toMatchObject({ error: "invalid_request" });
    const fresh = run.token(world.issuer);
    expect(await job.ask({ do: "open", token: fresh, otherKey: true })).toMatchObject({
      error: "invalid_request",
    });
    const mine = run.token(world.issuer);
    expect(await job.ask<Described>({ do: "open", token: mine })).toMatchObject({ tokenType: "DPoP" });
  });

  it("calls the task API with proofs, and gets nowhere with the token alone", async () => {
    const shown = await job.ask<Answer>({ do: "call", method: "GET" });
    expect(shown).toMatchObject({ status: 200, body: { id: task.more.task.id, state: "active" } });
    const bare = await job.ask<Answer>({ do: "call", method: "GET", asBearer: true });
    expect(bare.status).toBe(401);
    expect(bare.challenge).toMatch(/^DPoP /);
  });

  it("exchanges a JWT-SVID for a token that Authlib 1.9.9 accepts with a proof of its key", async () => {
    const subject = await svid([world.issuer]);
    const exchanged = await job.ask<Described>({ do: "exchange", token: subject, audience: API });
    expect(exchanged).toMatchObject({
      tokenType: "DPoP",
      header: { typ: "at+jwt" },
      claims: { iss: world.issuer, aud: API, cnf: { jkt: thumbprint } },
    });
    expect(exchanged.claims["sub"]).toContain(`/run/${run.runId}/1`);
    const judged = await job.ask({ do: "request", audience: API, method: "GET", url: API });
    expect(judged).toMatchObject({ accepted: { sub: exchanged.claims["sub"], aud: API } });
  });

  it.each([
    ["as a bearer", { spoil: "bearer" }, /^scheme/],
    ["with the proof of another key", { spoil: "key" }, /^key/],
    ["with a proof for another method", { spoil: "method" }, /^proof: .*htm/],
    ["with a proof for another URL", { spoil: "url" }, /^proof: .*htu/],
    ["with a proof for another token", { spoil: "hash" }, /^proof: .*ath/],
    ["with its signature altered", { spoil: "signature" }, /^token/],
    ["at a resource server of another audience", { audience: "https://other.example.org" }, /^token/],
  ])("is refused %s", async (_, change, reason) => {
    const request = { do: "request", audience: API, method: "GET", url: API, ...change };
    expect((await job.ask(request))["refused"]).toMatch(reason);
  });

  it("is refused an audience that its entry does not list", async () => {
    const token = await svid([world.issuer]);
    const answer = await job.ask({ do: "exchange", token, audience: "https://other.example.org" });
    expect(answer).toMatchObject({ error: "invalid_target" });
  });

  it("has tokens that a service looks up and its holder revokes, by the library's own calls", async () => {
    const subject = await svid([world.issuer]);
    const { token } = await job.ask<Described>({ do: "exchange", token: subject, audience: API });
    const service = { assertion: (await jwt.jwtSvid({ audience: [world.issuer] })).token };
    expect(await job.ask({ do: "introspect", token, ...service })).toMatchObject({
      active: true,
      aud: API,
      cnf: { jkt: thumbprint },
      token_type: "DPoP",
    });
    // Of somebody else, and revocation says nothing about what is not its caller's.
    await job.ask({ do: "revoke", token, ...service });
    expect(await job.ask({ do: "introspect", token, ...service })).toMatchObject({ active: true });
    expect(await job.ask({ do: "revoke", token, assertion: subject })).toEqual({ revoked: true });
    expect(await job.ask({ do: "introspect", token, ...service })).toEqual({ active: false });
  });

  it("is over everywhere when it ends its task", async () => {
    const watched = await svid(["https://watched.example.org"], true);
    const subject = await svid([world.issuer]);
    const { token } = await job.ask<Described>({ do: "exchange", token: subject, audience: API });
    const serial = await x509Svid();
    const shown = await world.server.ask<readonly Authority[]>("authority", "x509", "show");
    const active = shown.find(({ state }) => state === "active")?.authority_id ?? "";
    const service = { assertion: (await jwt.jwtSvid({ audience: [world.issuer] })).token };
    const valid = await job.ask({ do: "status", token: watched });
    expect(valid).toMatchObject({ status: 0 });
    expect(valid["type"]).toMatch(/^application\/statuslist\+jwt/);

    expect(await job.ask<Answer>({ do: "call", method: "POST", path: "/end", body: {} })).toMatchObject({
      status: 200,
    });
    const ended = performance.now();
    expect(await job.ask({ do: "introspect", token, ...service })).toEqual({ active: false });
    expect(await job.ask({ do: "introspect", token: task.token, ...service })).toEqual({ active: false });
    const beat = await job.ask<Answer>({ do: "call", method: "POST", path: "/heartbeat", body: {} });
    expect(beat.status).toBeGreaterThanOrEqual(400);
    await until(
      async () => (await job.ask<{ status: number }>({ do: "status", token: watched })).status === 1,
    );
    report("end → bit in the status list, as token-status-list reads it", performance.now() - ended);
    await until(async () => (await serials(`${world.issuer}/crl/${active}.crl`)).includes(serial));
    report("end → serial number in the CRL, as openssl verifies it", performance.now() - ended);
    expect(performance.now() - ended).toBeLessThan(REACHED);
  });

  async function svid(audience: readonly string[], status = false): Promise<string> {
    const body = { audience, status };
    const answer = await job.ask<Answer>({ do: "call", method: "POST", path: "/jwt-svid", body });
    const token = answer.body["jwt_svid"];
    if (typeof token !== "string") throw new Error(`no JWT-SVID: ${JSON.stringify(answer)}`);
    expect(decodeJwt(token)["task"]).toMatchObject({ id: task.more.task.id, run_id: run.runId });
    return token;
  }

  /** Gets an X509-SVID by a signing request of OpenSSL's, and gives its serial number as OpenSSL writes it. */
  async function x509Svid(): Promise<string> {
    const csr = scratch.at("job.csr");
    const request = "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=job -outform DER";
    await output("openssl", [...request.split(" "), "-keyout", scratch.at("job.key"), "-out", csr]);
    const body = { csr: (await output("base64", ["-w0", csr])).trim() };
    const answer = await job.ask<Answer>({ do: "call", method: "POST", path: "/x509-svid", body });
    const [leaf] = answer.body["x509_svid"] as readonly string[];
    const file = scratch.at("job.der");
    await writeFile(file, Buffer.from(leaf ?? "", "base64"));
    const text = await output("openssl", ["x509", "-inform", "DER", "-in", file, "-noout", "-serial"]);
    return text.trim().replace(/^serial=/, "");
  }

  /** Serial numbers of a CRL, fetched over HTTP and verified by OpenSSL. */
  async function serials(url: string): Promise<readonly string[]> {
    const file = scratch.at("assay.crl");
    const quiet = ["--silent", "--show-error", "--write-out", "%{http_code} %{content_type}"];
    const status = await output("curl", [...quiet, "--cacert", world.caFile, "--output", file, url]);
    if (status.startsWith("404")) return [];
    expect(status).toBe("200 application/pkix-crl");
    const verify = [
      "crl",
      "-inform",
      "DER",
      "-in",
      file,
      "-CAfile",
      world.caFile,
      "-verify",
      "-noout",
      "-text",
    ];
    const text = await output("openssl", verify);
    expect(text).toMatch(/X509v3 CRL Number/);
    return [...text.matchAll(/Serial Number: ([0-9A-F]+)/g)].map(([, serial = ""]) => serial);
  }
});

/** What the probe tells of a token. */
interface Described {
  readonly token: string;
  readonly tokenType: string;
  readonly scope: string | null;
  readonly header: Readonly<Record<string, unknown>>;
  readonly claims: Readonly<Record<string, unknown>>;
  readonly more: {
    readonly task: {
      readonly id: string;
      readonly identities: readonly { readonly spiffe_id: string }[];
    };
  };
}

/** An answer of the task API. */
interface Answer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
  readonly challenge: string | null;
}

interface Authority {
  readonly state: string;
  readonly authority_id: string;
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error("it did not come to pass in 30 s");
    await wait(20);
  }
}

function report(what: string, milliseconds: number): void {
  process.stdout.write(`${what}: ${Math.round(milliseconds)} ms\n`);
}
