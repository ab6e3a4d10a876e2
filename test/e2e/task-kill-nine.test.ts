import { randomUUID } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { systemClock, unixSeconds } from "../../src/clock.ts";
import { readCertificate } from "../../src/crypto/certificate-reader.ts";
import { readCrl } from "../../src/crypto/crl.ts";
import { serialToHex } from "../../src/crypto/random.ts";
import { verifyAuditLog } from "../../src/observe/audit-verify.ts";
import { CiIssuer, ciClaims, jwksOf } from "../fakes/ci-tokens.ts";
import { makeCsr } from "../fakes/issuance-csr.ts";
import { Job, type JobAnswer, JOB_ISSUER, sendTo, type WebDoor } from "../fakes/job.ts";
import { placeServer, type ServerPlace, startServer } from "./harness.ts";
import { makeScratch, type Scratch } from "./scratch.ts";

const ROUNDS = 10;
const JOBS = 16;
const SEED = 20_261_122;
const INSTANCE = "github-acme";
const PARENT = `spiffe://example.org/spire/task/${INSTANCE}`;

let scratch: Scratch;
let place: ServerPlace;
let flags: readonly string[];
let door: WebDoor;
const platform = new CiIssuer();

beforeAll(async () => {
  scratch = await makeScratch();
  place = await placeServer(scratch);
  const [host = "", port = ""] = place.webAddress.split(":");
  door = { host, port: Number(port) };
  await writeFile(scratch.at("jwks.json"), jwksOf(platform.jwk()));
  const attestor = {
    name: INSTANCE,
    config: {
      preset: "github-actions",
      allow: { repository_owner_id: ["1000"] },
      jwks_file: scratch.at("jwks.json"),
    },
  };
  const config = { jwt_issuer: JOB_ISSUER, task_attestors: [attestor], tasks: { lease: "5m" } };
  await writeFile(scratch.at("server.yaml"), JSON.stringify(config));
  flags = [`--config=${scratch.at("server.yaml")}`];
});

afterAll(async () => {
  await scratch?.[Symbol.asyncDispose]();
});

/** One run of a job, and what it heard. */
class Run {
  readonly job = new Job(door);
  readonly claims: Record<string, unknown>;
  /** The token that its first request carried. */
  readonly token: string;
  /** The task that an answer named. */
  task: string | undefined;
  /** Of the X509-SVIDs that reached it, by authority. */
  readonly serials: { readonly serial: string; readonly authority: string }[] = [];

  constructor(number: number) {
    const run = String(1_000_000 + number);
    const now = unixSeconds(systemClock);
    this.claims = ciClaims("github-actions", { aud: JOB_ISSUER, run_id: run, check_run_id: run }, now);
    this.token = this.fresh();
  }

  /** Another token of the same run. */
  fresh(): string {
    return platform.token({ ...this.claims, jti: randomUUID() });
  }

  async open(token: string): Promise<JobAnswer> {
    const answer = await this.job.open(token);
    if (answer.status === 200) this.task = (answer.json["task"] as { readonly id: string }).id;
    return answer;
  }

  async work(answered: () => void): Promise<void> {
    await this.open(this.token);
    answered();
    await this.svid();
  }

  async svid(): Promise<void> {
    const csr = Buffer.from(makeCsr()).toString("base64");
    const { json } = await this.job.call("POST", "/v1/task/x509-svid", { csr });
    const [leaf = ""] = json["x509_svid"] as string[];
    const { serial, authorityKeyId } = readCertificate(Buffer.from(leaf, "base64"));
    const authority = Buffer.from(authorityKeyId ?? []).toString("hex");
    this.serials.push({ serial: serialToHex(serial), authority });
  }
}

describe("a server that is killed while jobs open tasks", () => {
  it(`tells every job clearly and issues nothing twice, ${ROUNDS} times`, async () => {
    await using cleanup = new AsyncDisposableStack();
    const random = seededRandom(SEED);
    const runs: Run[] = [];
    const outcomes = { answered: 0, notTaken: 0, takenUnanswered: 0 };
    let server = await startServer(place, flags);
    cleanup.defer(() => server[Symbol.asyncDispose]());
    await server.createEntry({
      parentId: PARENT,
      spiffeId: "spiffe://example.org/ci",
      selectors: ["github:repository-id:2000"],
      flags: ["--id-template=/ci/{repository_id}/run/{run_id}"],
    });

    for (let round = 0; round < ROUNDS; round++) {
      const now = Array.from({ length: JOBS }, (_, i) => new Run(round * JOBS + i));
      runs.push(...now);
      await Promise.all(now.map(({ job }) => job.ready("/oauth2/token")));
      // The kill comes some turns after an answer, while the others are anywhere between their token and the disk.
      const wanted = 1 + Math.floor(random() * (JOBS - 1));
      const turns = Math.floor(random() * 20);
      let answers = 0;
      const { program } = server;
      const answered = () => {
        if (++answers === wanted) void afterTurns(turns).then(() => program.signal("SIGKILL"));
      };
      await Promise.allSettled(now.map((run) => run.work(answered)));
      await program.ended;

      server = await startServer(place, flags);
      for (const run of now) {
        const known = run.task;
        if (known !== undefined) {
          // What was answered holds.
          outcomes.answered += 1;
          const { status, json } = await run.job.call("GET", "/v1/task");
          expect({ status, id: json["id"] }).toEqual({ status: 200, id: known });
          continue;
        }
        const retried = await run.open(run.token);
        if (retried.status === 200) {
          outcomes.notTaken += 1;
          continue;
        }
        // Its token was taken, and the answer went down with the server.
        outcomes.takenUnanswered += 1;
        expect(retried).toMatchObject({
          status: 400,
          json: {
            error: "invalid_request",
            error_description: "the token was used before; ask the platform for a fresh one",
          },
        });
        expect((await run.open(run.fresh())).status).toBe(200);
      }
      // And whoever else comes with the run's name gets nothing, however the round went.
      const [some] = now;
      expect((await new Job(door).open(some?.fresh() ?? "")).status).toBe(400);
    }

    const tasks = await server.ask<readonly { id: string; key?: string; claims: Record<string, string> }[]>(
      "tasks",
      "list",
      "--limit=10000",
    );
    const names = tasks.map(({ claims }) => claims["run_id"]);
    expect(new Set(names).size).toBe(names.length);
    expect(names).toHaveLength(ROUNDS * JOBS);
    for (const { task } of runs) expect(tasks.some(({ id }) => id === task)).toBe(true);

    // Whatever reached a job was written down before: the end takes all of it.
    await Promise.all(runs.map((run) => run.svid()));
    await Promise.all(runs.map(({ job }) => job.call("POST", "/v1/task/end", {})));
    const serials = runs.flatMap((run) => run.serials);
    for (const authority of new Set(serials.map((one) => one.authority))) {
      const missing = async () => {
        const list = await sendTo(door, "GET", `/crl/${authority}.crl`);
        if (list.status !== 200) return serials.length;
        const { revoked } = readCrl(list.bytes, "INVALID_CRL");
        return serials.filter((one) => one.authority === authority && !revoked.has(one.serial)).length;
      };
      await expect.poll(missing, { timeout: 10_000, interval: 100 }).toBe(0);
    }

    const audit = join(place.dataDir, "audit.jsonl");
    expect(await verifyAuditLog(audit)).toMatchObject({ ok: true });
    const records = (await readFile(audit, "utf8"))
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, string>);
    const opened = records.filter(({ event }) => event === "task.opened").map((record) => record["task_id"]);
    expect(new Set(opened).size).toBe(opened.length);
    const issued = new Set(
      records.filter(({ event }) => event === "svid.x509.issued").map((record) => record["serial"]),
    );
    expect(serials.filter(({ serial }) => !issued.has(serial))).toEqual([]);
    process.stdout.write(`of ${runs.length} jobs: ${JSON.stringify(outcomes)}\n`);
    // Otherwise every kill came too early or too late, and the test has shown nothing.
    expect(outcomes.answered).toBeGreaterThan(0);
    expect(outcomes.notTaken + outcomes.takenUnanswered).toBeGreaterThan(0);
    expect((await server.program.stop()).code).toBe(0);
  }, 240_000);
});

async function afterTurns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** Numbers from 0 up to 1 that are the same on every run (mulberry32). */
function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
