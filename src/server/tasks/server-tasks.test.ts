import { generateKeyPairSync, randomUUID } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { makeCsr } from "../../../test/fakes/issuance-csr.ts";
import { ServerBench } from "../../../test/fakes/server-bench.ts";
import { createDpopProof } from "../../crypto/jose/dpop.ts";
import { readCrl } from "../../crypto/crl.ts";
import { readCertificate } from "../../crypto/certificate-reader.ts";
import { systemClock, unixSeconds } from "../../clock.ts";
import type { ServerOptions } from "../options.ts";

const ISSUER = "https://assay.example.org";
const folder = mkdtempSync(join(tmpdir(), "task-attestor-"));
const module = join(folder, "word.mjs");
const source = new URL("../../../test/fakes/task-attestor.ts", import.meta.url);
writeFileSync(module, `export { wordAttestor as default } from ${JSON.stringify(source.href)};\n`);
const OPTIONS: Partial<ServerOptions> = {
  jwtIssuer: ISSUER,
  taskAttestors: [{ name: "word-1", type: "word", module }],
};

afterAll(() => rmSync(folder, { recursive: true }));

const benches: AsyncDisposable[] = [];
afterEach(async () => {
  for (const bench of benches.splice(0)) await bench[Symbol.asyncDispose]();
});

async function start(options: Partial<ServerOptions> = {}): Promise<ServerBench> {
  const bench = await ServerBench.start({ ...OPTIONS, ...options });
  benches.push(bench);
  await bench.entries.batchCreateEntry({
    entries: [
      {
        parentId: { trustDomain: "example.org", path: "/spire/task/word-1" },
        spiffeId: { trustDomain: "example.org", path: "/ci/team-one" },
        selectors: [{ type: "word", value: "team:one" }],
      },
    ],
  });
  return bench;
}

/** A job that has nothing but a key and its platform's word. */
class Job {
  readonly #bench: ServerBench;
  readonly #key = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
  #nonce: string | undefined;
  token: string | undefined;

  constructor(bench: ServerBench) {
    this.#bench = bench;
  }

  /** Sends a request, and again with the nonce where one is asked for. */
  async send(method: string, path: string, body?: string, form = false): Promise<Answer> {
    const answer = await this.#once(method, path, body, form);
    const asked = answer.status === 400 || answer.status === 401;
    return asked && /nonce/.test(answer.text) ? this.#once(method, path, body, form) : answer;
  }

  open(word: string): Promise<Answer> {
    const form = new URLSearchParams({
      grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
      subject_token: word,
      subject_token_type: "urn:ietf:params:oauth:token-type:jwt",
    });
    return this.send("POST", "/oauth2/token", form.toString(), true);
  }

  async opened(word: string): Promise<void> {
    const answer = await this.open(word);
    expect(answer.text).toContain("access_token");
    this.token = String(answer.json["access_token"]);
    this.#nonce = undefined;
  }

  #once(method: string, path: string, body: string | undefined, form: boolean): Promise<Answer> {
    const proof = createDpopProof(this.#key, {
      method,
      url: `${ISSUER}${path}`,
      jti: randomUUID(),
      now: unixSeconds(systemClock),
      ...(this.#nonce !== undefined && { nonce: this.#nonce }),
      ...(this.token !== undefined && { accessToken: this.token }),
    });
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const { host, port } = this.#bench.addresses.web;
    const sent = request(
      {
        host,
        port,
        method,
        path,
        rejectUnauthorized: false,
        headers: {
          host: "assay.example.org",
          dpop: proof,
          ...(this.token !== undefined && { authorization: `DPoP ${this.token}` }),
          ...(body !== undefined && {
            "content-type": form ? "application/x-www-form-urlencoded" : "application/json",
          }),
        },
      },
      (answer) => {
        const chunks: Buffer[] = [];
        answer.on("data", (chunk: Buffer) => void chunks.push(chunk));
        answer.on("end", () => {
          const nonce = answer.headers["dpop-nonce"];
          if (typeof nonce === "string") this.#nonce = nonce;
          resolve(new Answer(answer.statusCode ?? 0, Buffer.concat(chunks)));
        });
      },
    );
    sent.on("error", reject);
    sent.end(body);
    return promise;
  }
}

class Answer {
  readonly status: number;
  readonly bytes: Buffer;

  constructor(status: number, bytes: Buffer) {
    this.status = status;
    this.bytes = bytes;
  }

  get text(): string {
    return this.bytes.toString("utf8");
  }

  get json(): Readonly<Record<string, unknown>> {
    return JSON.parse(this.text) as Readonly<Record<string, unknown>>;
  }
}

describe("a task of a real server", () => {
  it("begins with a platform's word, gets SVIDs, and takes them along when it ends", async () => {
    const bench = await start({ metricsReaders: "anyone" });
    const job = new Job(bench);
    await job.opened("run1.a");
    const csr = Buffer.from(makeCsr()).toString("base64");
    const x509 = await job.send("POST", "/v1/task/x509-svid", JSON.stringify({ csr }));
    expect(x509.json).toMatchObject({ spiffe_id: "spiffe://example.org/ci/team-one" });
    const [leaf = ""] = x509.json["x509_svid"] as string[];
    const { serial, authorityKeyId } = readCertificate(Buffer.from(leaf, "base64"));
    const jwt = await job.send("POST", "/v1/task/jwt-svid", '{"audience":["db"],"status":true}');
    expect(jwt.json).toHaveProperty("jwt_svid");

    expect((await job.send("POST", "/v1/task/end")).json).toMatchObject({ state: "ending" });
    expect((await job.send("POST", "/v1/task/heartbeat")).status).toBe(409);

    const list = `/crl/${Buffer.from(authorityKeyId ?? []).toString("hex")}.crl`;
    const stranger = new Job(bench);
    await expect
      .poll(async () => (await stranger.send("GET", list)).status, { timeout: 5000, interval: 20 })
      .toBe(200);
    const crl = readCrl((await stranger.send("GET", list)).bytes, "INVALID_CRL");
    expect([...crl.revoked]).toEqual([
      Buffer.from(serial)
        .toString("hex")
        .replace(/^(00)+/, ""),
    ]);
    await expect
      .poll(() => bench.audit().map(({ event }) => event))
      .toEqual(
        expect.arrayContaining([
          "task.opened",
          "token.issued",
          "svid.x509.issued",
          "svid.jwt.issued",
          "task.ended",
        ]),
      );
    const metrics = async () => (await stranger.send("GET", "/metrics")).text;
    await expect.poll(metrics).toMatch(/^assay_task_end_published_seconds_count 1$/m);
    expect(await metrics()).toMatch(/^assay_tasks_total\{event="opened",attestor="word-1"\} 1$/m);
    expect(await metrics()).toMatch(/^assay_tasks_ended_total\{attestor="word-1",reason="job"\} 1$/m);
    expect(await metrics()).toMatch(/^assay_tasks_live 0$/m);
  });

  it("is refused to a second key and to evidence that comes again, and the log says so", async () => {
    const bench = await start();
    await new Job(bench).opened("run1.a");
    const thief = await new Job(bench).open("run1.b");
    expect(thief.status).toBe(400);
    const replay = await new Job(bench).open("run1.a");
    expect(replay.status).toBe(400);
    expect(bench.audit().filter(({ event }) => event === "task.alarm")).toHaveLength(2);
    expect(bench.lines.filter((line) => line.includes("another's task"))).toHaveLength(2);
  });

  it("goes on after a restart of the server, by the same token", async () => {
    const bench = await start();
    const job = new Job(bench);
    await job.opened("run1.a");
    await bench.stop();
    await bench.start();
    expect((await job.send("POST", "/v1/task/heartbeat")).json).toMatchObject({ state: "active" });
    expect((await job.send("POST", "/v1/task/end")).status).toBe(200);
  });
});

describe("a server without task attestors", () => {
  it("opens no tasks, and says so", async () => {
    const bench = await start({ taskAttestors: [] });
    const job = new Job(bench);
    expect((await job.open("run1.a")).json).toMatchObject({ error: "invalid_request" });
    expect((await job.send("GET", "/v1/task")).status).toBe(404);
  });

  it("has no OAuth endpoints without an issuer", async () => {
    const bench = await start({ taskAttestors: [], jwtIssuer: undefined });
    expect((await new Job(bench).open("run1.a")).status).toBe(404);
  });
});

describe("starting a server with task attestors", () => {
  it("needs an issuer, and settings that the plugin takes", async () => {
    await expect(ServerBench.start({ ...OPTIONS, jwtIssuer: undefined })).rejects.toThrowCode(
      "CONFIG_INVALID",
      /jwtIssuer/,
    );
    const [attestor] = OPTIONS.taskAttestors ?? [];
    if (attestor === undefined) throw new Error("no attestor");
    const taskAttestors = [{ ...attestor, config: { lifetime: 1 } }];
    await expect(ServerBench.start({ ...OPTIONS, taskAttestors })).rejects.toThrowCode(
      "CONFIG_INVALID",
      /task attestor "word-1"/,
    );
    await expect(ServerBench.start({ ...OPTIONS, taskAttestors: [attestor, attestor] })).rejects.toThrowCode(
      "CONFIG_INVALID",
      /"word-1" is named twice/,
    );
  });
});
