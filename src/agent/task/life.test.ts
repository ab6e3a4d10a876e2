import { createPrivateKey, randomUUID } from "node:crypto";
import { beforeEach, describe, expect, it } from "vitest";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { FakeTaskApi } from "../../../test/fakes/task-api.ts";
import type { JobPlatform } from "../../attestation/task/platforms/job-platform.ts";
import { generateEcKeyPair } from "../../crypto/keys.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { silentLog } from "../../observe/log.ts";
import { TaskClient } from "./client.ts";
import { endTask } from "./end-task.ts";
import { keepLease } from "./lease-keeper.ts";
import { openTask } from "./open-task.ts";
import { persist } from "./persist.ts";
import type { TaskFacts } from "./task-answers.ts";

const never = new AbortController().signal;
const spread = () => 0.5;
const log = silentLog;
let clock: FakeClock;
let api: FakeTaskApi;
let client: TaskClient;

beforeEach(async () => {
  clock = new FakeClock();
  api = await FakeTaskApi.create(clock);
  const { pkcs8 } = generateEcKeyPair("ec-p256");
  const key = createPrivateKey({ key: Buffer.from(pkcs8), format: "der", type: "pkcs8" });
  client = new TaskClient({ server: FakeTaskApi.URL, web: api, key, clock, newId: randomUUID });
});

/** Lets whatever was begun come to rest, moving time on. */
async function pass(milliseconds: number): Promise<void> {
  for (let passed = 0; passed < milliseconds; passed += 100) {
    await clock.advance(100);
    do await new Promise((resolve) => setImmediate(resolve));
    while (api.busy > 0);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function platform(tokens: readonly (string | AssayError)[]): JobPlatform {
  let next = 0;
  return {
    name: "github",
    title: "GitHub Actions",
    secrets: [],
    signs: [],
    recognises: () => true,
    async token() {
      const token = tokens[Math.min(next++, tokens.length - 1)] ?? "";
      if (token instanceof AssayError) throw token;
      return token;
    },
  };
}

describe("opening a task", () => {
  const open = (tokens: readonly (string | AssayError)[], signal = never) =>
    openTask(
      { client, platform: platform(tokens), job: {} as never, audience: "x", clock, spread, log },
      signal,
    );

  it("tries again with a fresh token after an answer that was lost", async () => {
    api.plan("/oauth2/token", "no answer");
    const opening = open(["a.a.a", "b.b.b"]);
    await pass(1000);
    expect((await opening).id).toBe(FakeTaskApi.ID);
    expect(api.tokens).toEqual(["a.a.a", "b.b.b"]);
  });

  it("says it clearly where the only token was used up by an answer that was lost", async () => {
    api.plan("/oauth2/token", "no answer", {
      status: 400,
      body: { error: "invalid_request", error_description: "the token was used before" },
    });
    const opening = open(["a.a.a"]);
    opening.catch(() => {});
    await pass(1000);
    await expect(opening).rejects.toThrowCode(
      "NO_IDENTITY_ISSUED",
      /gives one token for a job, and the answer to it was lost: run the job again \(the token was used before/,
    );
  });

  it("does not blame an answer that was lost for the refusal of a fresh token", async () => {
    api.plan("/oauth2/token", "no answer", { status: 400, body: { error: "invalid_request" } });
    const opening = open(["a.a.a", "b.b.b"]);
    opening.catch(() => {});
    await pass(1000);
    await expect(opening).rejects.toThrowCode("NO_IDENTITY_ISSUED", /^invalid_request$/);
  });

  it("gives up at once where the server refuses, and after a minute where there is none", async () => {
    api.plan("/oauth2/token", { status: 400, body: { error: "invalid_request" } });
    await expect(open(["a.a.a"])).rejects.toThrowCode("NO_IDENTITY_ISSUED");
    const opening = open([new AssayError("REMOTE_UNAVAILABLE", "the platform is away")]);
    opening.catch(() => {});
    await pass(61_000);
    await expect(opening).rejects.toThrowCode("REMOTE_UNAVAILABLE", /the platform is away/);
  });

  it("stops when it is told to", async () => {
    const stop = new AbortController();
    const opening = open([new AssayError("REMOTE_UNAVAILABLE", "away")], stop.signal);
    opening.catch(() => {});
    await pass(100);
    stop.abort(new AssayError("CANCELLED", "stopped"));
    await expect(opening).rejects.toThrowCode("CANCELLED");
  });
});

describe("a lease", () => {
  const keep = (signal = never) => {
    const applied: TaskFacts[] = [];
    const over = keepLease(
      { client, clock, spread, log, apply: (facts) => void applied.push(facts), signal },
      120,
    );
    return { applied, over };
  };

  it("is kept by a heartbeat at each third of it, and what the server says then is taken over", async () => {
    await client.open("a.b.c", never);
    const stop = new AbortController();
    const { applied, over } = keep(stop.signal);
    await pass(39_000);
    expect(beats()).toBe(0);
    await pass(2000);
    expect(beats()).toBe(1);
    api.lease = 60;
    await pass(41_000);
    expect(beats()).toBe(2);
    await pass(21_000);
    expect(beats()).toBe(3);
    expect(applied).toHaveLength(3);
    stop.abort();
    expect(await over).toBeUndefined();
  });

  it("is asked for again and again within it where the server is away", async () => {
    await client.open("a.b.c", never);
    api.plan("/v1/task/heartbeat", ...Array.from({ length: 5 }, () => "no answer" as const));
    const { applied } = keep();
    await pass(60_000);
    expect(beats()).toBeGreaterThanOrEqual(6);
    expect(applied.length).toBeGreaterThanOrEqual(1);
  });

  it("ends with the server's word that the task is over", async () => {
    await client.open("a.b.c", never);
    const { over } = keep();
    api.ended = true;
    await pass(41_000);
    expect((await over)?.code).toBe("TASK_OVER");
    await pass(200_000);
    expect(beats()).toBe(1);
  });

  function beats(): number {
    return api.calls.filter((call) => call === "POST /v1/task/heartbeat").length;
  }
});

describe("ending a task", () => {
  const end = () => endTask({ client, clock, spread, log });

  it("is told to the server again where it was away", async () => {
    await client.open("a.b.c", never);
    api.plan("/v1/task/end", "no answer", { status: 503, body: {} });
    const ending = end();
    await pass(2000);
    await ending;
    expect(api.ended).toBe(true);
  });

  it("is nothing where the task is over already", async () => {
    await client.open("a.b.c", never);
    api.ended = true;
    await end();
    expect(api.calls.filter((call) => call === "POST /v1/task/end")).toHaveLength(1);
  });

  it("is left to the lease after some seconds", async () => {
    await client.open("a.b.c", never);
    api.plan("/v1/task/end", ...Array.from({ length: 50 }, () => "no answer" as const));
    const ending = end();
    let done = false;
    void ending.then(() => (done = true));
    await pass(7000);
    expect(done).toBe(false);
    await pass(2000);
    await ending;
    expect(api.ended).toBe(false);
  });
});

describe("what a command cannot begin without", () => {
  const bundles = () => persist(() => client.bundles(never), { clock, spread, log }, never);

  it("is asked for again where the server was away for a moment", async () => {
    await client.open("a.b.c", never);
    api.plan("/v1/task/bundles", "no answer", { status: 503, body: {} });
    const asking = bundles();
    await pass(2000);
    expect((await asking).bundles.size).toBe(1);
  });

  it("is given up after 20 s, and at once where the server refuses", async () => {
    await client.open("a.b.c", never);
    api.plan("/v1/task/bundles", ...Array.from({ length: 50 }, () => "no answer" as const));
    const asking = bundles();
    asking.catch(() => {});
    await pass(20_000);
    await expect(asking).rejects.toThrowCode("SERVER_UNAVAILABLE");
    api.plan("/v1/task/bundles");
    api.ended = true;
    await expect(bundles()).rejects.toThrowCode("TASK_OVER");
  });
});
