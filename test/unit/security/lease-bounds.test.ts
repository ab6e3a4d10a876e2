import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readCertificate } from "../../../src/crypto/certificate-reader.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { makeCsr } from "../../fakes/issuance-csr.ts";
import { GRANTS, type Job, TYPES } from "../../fakes/job.ts";
import { API, TaskServer } from "../../fakes/task-server.ts";

// Nothing that a task is given is good for longer than its lease and a little more, whatever is asked for and when: seen
// from outside, at a real server whose clock is the test's.

const LEASE = 60;
const GRACE = 30;
const MAX_DURATION = 600;

const clock = new FakeClock("2026-11-22T12:00:00Z");
let server: TaskServer;

beforeAll(async () => {
  server = await TaskServer.start({
    clock,
    server: {
      tasks: { lease: LEASE, maxDuration: MAX_DURATION, grace: GRACE },
      // Everything else would let them live for a day.
      defaultX509SvidTtl: 86_400,
      defaultJwtSvidTtl: 86_400,
      defaultWitSvidTtl: 86_400,
      caTtl: 30 * 86_400,
    },
  });
  await server.taskEntry("/ci/app", { x509SvidTtl: 80_000, jwtSvidTtl: 80_000 });
});
afterAll(() => server?.[Symbol.asyncDispose]());

const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("pass" as const), seconds: fc.integer({ min: 0, max: 70 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("jump" as const), seconds: fc.integer({ min: 0, max: 90 }) }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("heartbeat" as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom("x509" as const, "jwt" as const, "wit" as const, "token" as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("resume" as const) }) },
);

/** A task as somebody knows it who only counts. */
class Model {
  readonly opened = server.now;
  lease = server.now + LEASE;
  readonly hardEnd: number;

  constructor(cap: number) {
    this.hardEnd = server.now + Math.min(cap, MAX_DURATION);
  }

  get end(): number {
    return Math.min(this.lease, this.hardEnd);
  }

  get isAlive(): boolean {
    return server.now < this.end;
  }
}

/** Until when what was asked for is good, or `undefined` where it was refused. */
async function asked(job: Job, kind: "x509" | "jwt" | "wit" | "token"): Promise<number | undefined> {
  switch (kind) {
    case "x509": {
      const csr = Buffer.from(makeCsr()).toString("base64");
      const { status, json } = await job.call("POST", "/v1/task/x509-svid", { csr });
      if (status !== 200) return undefined;
      const [leaf = ""] = json["x509_svid"] as string[];
      return readCertificate(Buffer.from(leaf, "base64")).notAfter;
    }
    case "jwt": {
      const { status, json } = await job.call("POST", "/v1/task/jwt-svid", {
        audience: ["db"],
        status: true,
      });
      return status === 200 ? expOf(json["jwt_svid"]) : undefined;
    }
    case "wit": {
      const order = { public_key: Buffer.from(job.spki).toString("base64"), signing_algorithm: "ES256" };
      const { status, json } = await job.call("POST", "/v1/task/wit-svid", order);
      return status === 200 ? expOf(json["wit_svid"]) : undefined;
    }
    case "token": {
      const form = {
        grant_type: GRANTS.exchange,
        subject_token: job.accessToken ?? "",
        subject_token_type: TYPES.accessToken,
        audience: API,
      };
      const answer = await job.form("/oauth2/token", form);
      return answer.status === 200 ? expOf(answer.json["access_token"]) : undefined;
    }
  }
}

function expOf(token: unknown): number {
  const payload = Buffer.from(String(token).split(".")[1] ?? "", "base64url").toString();
  return (JSON.parse(payload) as { readonly exp: number }).exp;
}

describe("what a task is given", () => {
  it("never outlives its lease and the grace, nor is given after the end", { timeout: 120_000 }, async () => {
    let given = 0;
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), async (steps) => {
        const run = server.claims();
        const job = server.job();
        const fresh = () =>
          server.platform.token({
            ...run,
            jti: `${Math.random()}`,
            iat: server.now,
            nbf: server.now,
            exp: server.now + 300,
          });
        expect((await job.open(fresh())).status).toBe(200);
        const model = new Model(MAX_DURATION);
        for (const one of steps) {
          switch (one.kind) {
            case "pass":
              await clock.advance(one.seconds * 1000);
              break;
            case "jump":
              clock.step(one.seconds * 1000);
              break;
            case "heartbeat": {
              const { status, json } = await job.call("POST", "/v1/task/heartbeat", {});
              expect(status === 200).toBe(model.isAlive);
              if (status !== 200) break;
              model.lease = Math.min(server.now + LEASE, model.hardEnd);
              expect(Date.parse(String(json["lease_expires_at"]))).toBe(model.end * 1000);
              break;
            }
            case "resume": {
              const wasAlive = model.isAlive;
              const { status } = await job.open(fresh());
              expect(status === 200).toBe(wasAlive);
              if (wasAlive) model.lease = Math.min(server.now + LEASE, model.hardEnd);
              break;
            }
            default: {
              const until = await asked(job, one.kind);
              if (!model.isAlive) expect(until).toBeUndefined();
              if (until === undefined) {
                refused += 1;
                break;
              }
              given += 1;
              expect(until).toBeLessThanOrEqual(model.end + GRACE);
              expect(until).toBeGreaterThan(server.now);
            }
          }
        }
        // All that was issued is written down, and is revoked when the end comes.
        await clock.advance((LEASE + 10) * 1000);
        expect((await job.call("GET", "/v1/task")).status).not.toBe(200);
      }),
      { numRuns: 25, seed: 20_261_122 },
    );
    expect(given).toBeGreaterThan(10);
    expect(refused).toBeGreaterThan(5);
  });
});
