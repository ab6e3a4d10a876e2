import { beforeEach, describe, expect, it } from "vitest";
import { FakeAuthority } from "../../../test/fakes/agent-authority.ts";
import { completeUpdate, FakeServerApi } from "../../../test/fakes/agent-server-api.ts";
import { fakeEntry } from "../../../test/fakes/agent-server.ts";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { silentLog } from "../../observe/log.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import type { SyncUpdate } from "../cache/sync-update.ts";
import { Syncer } from "./syncer.ts";

const one = fakeEntry(parseSpiffeId("spiffe://example.org/web"), 1, { id: "1" });
const lost = new AssayError("SERVER_UNAVAILABLE", "lost");
const none = new AssayError("UNIMPLEMENTED", "unknown service");

let clock: FakeClock;
let server: FakeServerApi;
let syncer: Syncer;
let stop: AbortController;
let updates: SyncUpdate[];
let connected: number;
let needy: boolean;
let unheard: number;

beforeEach(async () => {
  clock = new FakeClock();
  const authority = await FakeAuthority.create(parseTrustDomain("example.org"), clock);
  server = new FakeServerApi(authority, parseSpiffeId("spiffe://example.org/spire/agent/x/1"));
  stop = new AbortController();
  updates = [];
  connected = 0;
  needy = false;
  unheard = 0;
  syncer = new Syncer({
    server: () => server,
    known: () => server.entries,
    apply: (update) => updates.push(update),
    onConnected: () => (connected += 1),
    onUnheard: () => (unheard += 1),
    isNeedy: () => needy,
    clock,
    spread: () => 0.5,
    log: silentLog,
    pollInterval: 5000,
  });
});

/** A watch that says this and then fails, or stays open until it is aborted where there is no error. */
function watchOf(said: readonly SyncUpdate[], error?: AssayError): () => AsyncIterable<SyncUpdate> {
  return async function* () {
    yield* said;
    if (error !== undefined) throw error;
    await new Promise<void>((resolve) => {
      opened.push(resolve);
    });
  };
}
let opened: (() => void)[] = [];

async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
}

describe("following by the stream", () => {
  it("takes over what it hears and says how it hears it", async () => {
    server.watches = [watchOf([completeUpdate([one])])];
    const running = syncer.run(stop.signal);
    await settle();
    expect(updates).toEqual([completeUpdate([one])]);
    expect(syncer.state).toBe("stream");
    expect(syncer.lastSyncAt).toBe(clock.now());
    expect(connected).toBe(1);
    stop.abort();
    for (const end of opened) end();
    await running;
    expect(syncer.state).toBe("disconnected");
  });

  it("connects again within a moment where a stream that has served ends", async () => {
    server.watches = [watchOf([completeUpdate([one])], lost), watchOf([completeUpdate([one])])];
    void syncer.run(stop.signal);
    await settle();
    expect(syncer.state).toBe("disconnected");
    clock.step(1);
    await clock.advance(50);
    await settle();
    expect(syncer.state).toBe("stream");
    expect(connected).toBe(2);
    expect(unheard).toBe(0);
    stop.abort();
  });

  it("comes back more and more slowly to a server that cannot be reached, never as slowly as half a minute", async () => {
    let attempts = 0;
    server.watches = new Proxy([], {
      get: (target, name) =>
        name === "shift"
          ? () => {
              attempts += 1;
              return () => watchOf([], lost)();
            }
          : (Reflect.get(target, name) as unknown),
    });
    const running = syncer.run(stop.signal);
    await settle();
    await clock.advance(10_000);
    const early = attempts;
    expect(early).toBeGreaterThan(4);
    await clock.advance(300_000);
    expect(attempts - early).toBeGreaterThan(9);
    expect(attempts - early).toBeLessThan(30);
    // Of all but the first of them, and no oftener.
    expect(unheard).toBe(attempts - 1);
    stop.abort();
    await clock.advance(1);
    await running;
  });

  it("comes back within a moment where it is hurried, and leaves an attempt under way alone", async () => {
    let attempts = 0;
    let answer = watchOf([], lost);
    server.watches = new Proxy([], {
      get: (target, name) =>
        name === "shift"
          ? () => {
              attempts += 1;
              return answer;
            }
          : (Reflect.get(target, name) as unknown),
    });
    const running = syncer.run(stop.signal);
    await settle();
    await clock.advance(120_000);
    const before = attempts;
    answer = watchOf([completeUpdate([one])]);
    for (let n = 0; n < 3; n++) syncer.hurry();
    expect(attempts).toBe(before);
    await clock.advance(200);
    await settle();
    expect(attempts).toBe(before + 1);
    expect(syncer.state).toBe("stream");
    syncer.hurry();
    await clock.advance(1000);
    await settle();
    expect([attempts, connected]).toEqual([before + 1, 1]);
    stop.abort();
    for (const end of opened) end();
    await running;
  });

  it.each([
    "AGENT_BANNED",
    "AGENT_EXPIRED",
    "AGENT_NOT_ACTIVE",
    "AGENT_NOT_ATTESTED",
    "AGENT_MUST_REATTEST",
  ] as const)("ends with the server's %s", async (code) => {
    server.watches = [watchOf([], new AssayError(code, "denied"))];
    await expect(syncer.run(stop.signal)).rejects.toThrowCode(code);
  });

  it("ends with a denial that another call met", async () => {
    server.watches = [watchOf([completeUpdate([])])];
    const running = syncer.run(stop.signal);
    await settle();
    syncer.deny(new AssayError("AGENT_BANNED", "denied"));
    for (const end of opened) end();
    await expect(running).rejects.toThrowCode("AGENT_BANNED");
    opened = [];
  });
});

describe("following by asking", () => {
  it("asks at intervals where the server has no stream, and looks for one again later", async () => {
    server.entries.set("1", one);
    server.watches = [watchOf([], none)];
    void syncer.run(stop.signal);
    await settle();
    expect(syncer.state).toBe("polling");
    expect(updates[0]).toMatchObject({
      complete: true,
      upserted: [one],
      bundle: { trustDomain: "example.org" },
    });
    await clock.advance(50_000);
    expect(server.polls).toBe(11);
    expect(connected).toBe(1);
    server.watches = [watchOf([completeUpdate([])])];
    await clock.advance(600_000);
    await settle();
    expect(syncer.state).toBe("stream");
    stop.abort();
  });

  it("asks less often while the server fails, and at the usual interval while workloads lack something", async () => {
    server.watches = [watchOf([], none)];
    void syncer.run(stop.signal);
    await settle();
    server.failure = lost;
    await clock.advance(5000);
    const before = server.polls;
    await clock.advance(120_000);
    const patient = server.polls - before;
    expect(patient).toBeLessThan(12);
    needy = true;
    // The pause that has begun is still a long one.
    await clock.advance(240_000);
    const start = server.polls;
    await clock.advance(120_000);
    expect(server.polls - start).toBeGreaterThan(20);
    stop.abort();
  });
});
