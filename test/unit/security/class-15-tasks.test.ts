import { randomBytes, randomUUID } from "node:crypto";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { IssuerKeys } from "../../../src/attestation/task/oidc/issuer-keys.ts";
import { RateLimiter } from "../../../src/issuance/rate-limiter.ts";
import { takeFrom } from "../../../src/server/limits.ts";
import { DpopNonces } from "../../../src/server/oauth/dpop-nonces.ts";
import { ReplayMemory } from "../../../src/server/oauth/replay-memory.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { type Job, sendTo } from "../../fakes/job.ts";
import { INSTANCE, TaskServer } from "../../fakes/task-server.ts";

const RATES = { attestation: 10, signing: 10, bundle: 10, token: 30, task: 10 };
const FORM = { "content-type": "application/x-www-form-urlencoded" };

let server: TaskServer;

beforeAll(async () => {
  server = await TaskServer.start({ server: { rateLimit: RATES } });
  await server.taskEntry("/ci/app");
});
afterAll(() => server?.[Symbol.asyncDispose]());

const from = (last: number): Job => server.job({ ...server.door, localAddress: `127.0.0.${last}` });

describe("the limit of the OAuth endpoints", () => {
  it("is by the network that a caller comes from, in whatever way its address is written", () => {
    const clock = new FakeClock();
    const taken = (...addresses: string[]) => {
      const limiter = new RateLimiter({ perSecond: 1, burst: 1 }, clock);
      for (const address of addresses) {
        try {
          takeFrom(limiter, { address });
        } catch {
          return "one bucket";
        }
      }
      return "several";
    };
    expect(taken("2001:db8::1", "2001:db8::2")).toBe("one bucket");
    expect(taken("2001:db8::1", "2001:0DB8:0:0:ffff:ffff:ffff:ffff")).toBe("one bucket");
    expect(taken("192.0.2.1", "::ffff:192.0.2.1")).toBe("one bucket");
    expect(taken("2001:db8::1", "2001:db8:0:1::1")).toBe("several");
    expect(taken("192.0.2.1", "192.0.2.2")).toBe("several");
  });

  it("is by nothing that a request says", async () => {
    const spellings = ["/oauth2/token", "/oauth2/introspect", "/oauth2/revoke", "/oauth2/token?a=1"];
    await using slow = await TaskServer.start({ server: { rateLimit: { ...RATES, token: 1 } } });
    const door = (last: number) => ({ ...slow.door, localAddress: `127.0.0.${last}` });
    const statuses: number[] = [];
    for (let n = 0; n < 80; n++) {
      const headers = {
        ...FORM,
        "x-forwarded-for": `198.51.100.${n % 250}`,
        forwarded: `for=198.51.100.${n % 250}`,
        "x-real-ip": `198.51.100.${n % 250}`,
        host: n % 2 === 0 ? "assay.example.org" : `h${n}.example`,
        "user-agent": randomUUID(),
        "oauth-client-attestation": randomUUID(),
      };
      const body = `client_id=spiffe://example.org/${n}&grant_type=${n}`;
      statuses.push((await sendTo(door(9), "POST", spellings[n % 4] ?? "", { headers, body })).status);
    }
    expect(statuses.slice(0, 10)).not.toContain(429);
    expect(statuses.filter((status) => status === 429).length).toBeGreaterThan(30);
    // And nobody else pays for it.
    expect((await sendTo(door(10), "POST", "/oauth2/token", { headers: FORM, body: "a=b" })).status).toBe(
      400,
    );
  });
});

describe("the audit log", () => {
  it("cannot be filled by who has no good token, and still hears of everybody else", async () => {
    const denied = () => server.bench.audit().filter(({ event }) => String(event).endsWith("denied")).length;
    const before = denied();
    const flood = from(20);
    await flood.ready("/oauth2/token");
    const statuses: number[] = [];
    for (let n = 0; n < 250; n++) statuses.push((await flood.open(`x.${n}.y`)).status);
    expect(new Set(statuses)).toEqual(new Set([400, 429]));
    expect(denied() - before).toBeLessThan(120);
    expect(denied() - before).toBeGreaterThanOrEqual(100);

    // From the same address: what is good is opened, and somebody with another key for it is alarmed about.
    const good = server.claims();
    const token = server.platform.token(good);
    expect((await from(20).open(token)).status).toBe(200);
    expect((await from(20).open(token)).status).toBe(400);
    expect(server.bench.audit().at(-1)).toMatchObject({ event: "task.alarm", caller_address: "127.0.0.20" });
    // From another: what is bad is written down.
    const last = denied();
    expect((await from(21).open("x.y.z")).status).toBe(400);
    expect(denied()).toBe(last + 1);
  });

  it("cannot be filled by who has somebody's used token, and hears of every task that this happens to", async () => {
    const alarms = () => server.bench.audit().filter(({ event }) => event === "task.alarm").length;
    const [token, other] = [server.token(), server.token()];
    for (const one of [token, other]) expect((await server.job().open(one)).status).toBe(200);
    const before = alarms();
    const thief = from(35);
    const statuses: number[] = [];
    for (let n = 0; n < 200; n++) statuses.push((await thief.open(token)).status);
    expect(new Set(statuses)).toEqual(new Set([400, 429]));
    expect(alarms() - before).toBeGreaterThanOrEqual(100);
    expect(alarms() - before).toBeLessThan(130);
    expect((await thief.open(other)).status).toBe(400);
    expect(server.bench.audit().at(-1)).toMatchObject({ event: "task.alarm", code: "EVIDENCE_REPLAYED" });
  });

  it("cannot be filled by forged messages of platforms", async () => {
    const denied = () => server.bench.audit().filter(({ event }) => event === "webhook.denied").length;
    const { door } = from(30);
    const statuses: number[] = [];
    for (let n = 0; n < 60; n++) {
      statuses.push((await sendTo(door, "POST", `/v1/webhooks/${INSTANCE}`, { body: "{}" })).status);
    }
    expect(new Set(statuses)).toEqual(new Set([401, 429]));
    expect(denied()).toBeLessThan(30);
  });
});

describe("the labels of metrics", () => {
  it("come from the configuration, whatever names strangers bring along", async () => {
    for (let n = 0; n < 20; n++) {
      const { door } = from(40 + n);
      const job = from(40 + n);
      await job.open(server.token({ iss: `https://evil-${n}.example`, repository: `evil/${n}` }));
      await job.open(server.token({ repository: `evil/evil-${n}`, repository_id: "666" }));
      await sendTo(door, "POST", `/v1/webhooks/evil-${n}`, { body: "{}" });
      await sendTo(door, "GET", `/v1/evil-${n}`);
      const body = `grant_type=evil-${n}&audience=evil-${n}&token=evil-${n}`;
      await sendTo(door, "POST", "/oauth2/token", { headers: { ...FORM, "user-agent": `evil-${n}` }, body });
    }
    const { text } = await sendTo(from(70).door, "GET", "/metrics");
    expect(text).not.toContain("evil");
    const names = new Set([...text.matchAll(/attestor="([^"]*)"/g)].map(([, name]) => name));
    expect([...names].filter((name) => name !== INSTANCE && name !== "none")).toEqual([]);
    expect(names.has(INSTANCE)).toBe(true);
  });
});

describe("memory", () => {
  it("of proofs has an end, at which no more are taken", () => {
    const memory = new ReplayMemory();
    let kept = 0;
    expect(() => {
      for (; kept < 200_000; kept++) memory.remember(kept % 5, `${kept}`);
    }).toThrowCode("OVERLOADED");
    expect(kept).toBe(131_072);
    expect(memory.size).toBe(kept);
    memory.forgetBefore(5);
    expect(memory.size).toBe(0);
  });

  it("holds nothing for a nonce, be it ours or made up", () => {
    const nonces = new DpopNonces(new FakeClock(), randomBytes(32));
    const good = nonces.current();
    const before = heapUsed();
    for (let n = 0; n < 100_000; n++) nonces.stepOf(`${good.split(".")[0] ?? ""}.${n}`);
    expect(heapUsed() - before).toBeLessThan(8 * 1024 * 1024);
    expect(nonces.stepOf(good)).toBeDefined();
  });

  it("holds nothing for a kid that nobody has, and the issuer is asked once a minute", async () => {
    const clock = new FakeClock();
    let asked = 0;
    const load = async () => {
      asked += 1;
      return new Map<string, never>();
    };
    const log = { debug() {}, info() {}, warn() {}, error() {} };
    using keys = new IssuerKeys({ load, clock, log });
    const { signal } = new AbortController();
    const before = heapUsed();
    for (let n = 0; n < 100_000; n++) {
      await keys.keysOf(`kid-${n}`, signal).catch(() => undefined);
      if (n % 10_000 === 9999) clock.step(6000);
    }
    expect(asked).toBeLessThanOrEqual(2);
    expect(heapUsed() - before).toBeLessThan(8 * 1024 * 1024);
  });

  it("of callers has an end", () => {
    const limiter = new RateLimiter({ perSecond: 1, burst: 2 }, new FakeClock());
    for (let n = 0; n < 100_000; n++) {
      takeFrom(limiter, { address: `2001:db8:${(n >> 8).toString(16)}:${(n & 255).toString(16)}::1` });
    }
    expect(limiter.size).toBeLessThanOrEqual(65_536);
  });
});

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

function heapUsed(): number {
  collect();
  return process.memoryUsage().heapUsed;
}
