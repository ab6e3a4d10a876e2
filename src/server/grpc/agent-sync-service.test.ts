import { ENTRY_DEFAULTS } from "../../../test/fakes/entry-defaults.ts";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FakeClock } from "../../../test/fakes/clock.ts";
import type { Clock } from "../../clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { WatchAuthorizedEntriesResponseSchema } from "../../proto/gen/assay/api/server/v1/agent_sync_pb.ts";
import type { AffectedAgents } from "../../registry/affected.ts";
import type { RegistryChange } from "../../registry/registry-change.ts";
import type { RevokedToken } from "../../revocation/revoked-table.ts";
import { emptyBundle, type SpiffeBundle } from "../../spiffe/bundle.ts";
import { parseSpiffeId, type SpiffeId } from "../../spiffe/id.ts";
import { parseTrustDomain, type TrustDomain } from "../../spiffe/trust-domain.ts";
import type { EntryRecord } from "../../store/records.ts";
import type { ServerCall } from "../call.ts";
import { type AgentSyncService, agentSyncService } from "./agent-sync-service.ts";

type Message = MessageInitShape<typeof WatchAuthorizedEntriesResponseSchema>;
type Watch = ReturnType<typeof open>;

const own = parseTrustDomain("example.org");
const foreign = parseTrustDomain("other.org");
const AGENT = parseSpiffeId("spiffe://example.org/spire/agent/x509pop/one");
const OTHER = parseSpiffeId("spiffe://example.org/spire/agent/x509pop/two");

let clock: FakeClock;
let world: World;
let service: AgentSyncService;
beforeEach(() => {
  clock = new FakeClock();
  world = new World();
  service = serve(clock);
});
afterEach(() => service[Symbol.dispose]());

describe("the stream of changes", () => {
  it("begins with the complete state, even where there is nothing", async () => {
    const watch = open(AGENT);
    expect(await watch.next()).toMatchObject({
      complete: true,
      more: false,
      upserted: [],
      deleted: [],
      bundle: { trustDomain: own },
    });
  });

  it("then tells what changed and nothing else", async () => {
    world.put(AGENT, entry("a"), entry("b"));
    const watch = open(AGENT);
    expect(ids((await watch.next()).upserted)).toEqual(["a", "b"]);
    world.put(AGENT, entry("c"));
    world.tell({ agents: [AGENT] });
    expect(await watch.next()).toMatchObject({
      complete: false,
      upserted: [{ id: "c" }],
      deleted: [],
      federatedBundles: [],
    });
    world.put(AGENT, entry("a", { revision: 1, hint: "new" }));
    world.remove(AGENT, "b");
    world.tell({ agents: [AGENT] });
    const message = await watch.next();
    expect(message).toMatchObject({ upserted: [{ id: "a", hint: "new" }], deleted: ["b"] });
    expect(message).not.toHaveProperty("bundle");
  });

  it("carries the place in the log and tells many changes at once where the reader was slow", async () => {
    const watch = open(AGENT);
    await watch.next();
    for (let n = 0; n < 1000; n++) {
      world.put(AGENT, entry("busy", { revision: n }));
      world.tell({ agents: [AGENT] });
    }
    const message = await watch.next();
    expect(message).toMatchObject({ sequence: BigInt(world.sequence), upserted: [{ revisionNumber: 999n }] });
    expect(await isQuiet(watch)).toBe(true);
  });

  it("wakes only those whom a change concerns", async () => {
    const [one, two] = [open(AGENT), open(OTHER)];
    await Promise.all([one.next(), two.next()]);
    const looks = world.looks.get(OTHER);
    world.put(AGENT, entry("a"));
    world.tell({ agents: [AGENT] });
    await one.next();
    expect(await isQuiet(two)).toBe(true);
    expect(world.looks.get(OTHER)).toBe(looks);
  });

  it("says nothing where the change made no difference to the agent", async () => {
    const watch = open(AGENT);
    await watch.next();
    world.tell({ agents: [AGENT] });
    expect(await isQuiet(watch)).toBe(true);
  });

  it("tells everyone of the own bundle", async () => {
    const watches = [open(AGENT), open(OTHER)];
    for (const watch of watches) await watch.next();
    world.bundles.set(own, { ...emptyBundle(own), sequence: 2n });
    world.tell({ everyone: true });
    for (const watch of watches) {
      expect(await watch.next()).toMatchObject({ bundle: { sequenceNumber: 2n }, upserted: [] });
    }
  });

  it("tells everyone which tokens are revoked, first all of them and then those that are new", async () => {
    const watches = [open(AGENT), open(OTHER)];
    for (const watch of watches)
      expect((await watch.next()).revokedTokens).toEqual({ complete: true, tokens: [] });
    for (const id of ["j1", "j2"]) {
      world.revoke(id);
      for (const watch of watches) {
        const message = await watch.next();
        expect(message).toMatchObject({ complete: false, more: false });
        expect(message.revokedTokens).toEqual({ complete: false, tokens: [{ id, expiresAt: 100n }] });
      }
    }
    world.put(AGENT, entry("a"));
    world.tell({ agents: [AGENT] });
    expect(await (watches[0] as Watch).next()).not.toHaveProperty("revokedTokens");
    const again = await open(OTHER).next();
    expect(again).toMatchObject({ complete: true, revokedTokens: { complete: true } });
    expect(tokenIds(again)).toEqual(["j1", "j2"]);
  });

  it("tells a slow agent at once of all the tokens that were revoked since it was told last", async () => {
    const watch = open(AGENT);
    await watch.next();
    world.revoke("j1");
    world.revoke("j2", "j3");
    world.put(AGENT, entry("a"));
    world.tell({ agents: [AGENT] });
    world.revoke("j4");
    const message = await watch.next();
    expect(tokenIds(message)).toEqual(["j1", "j2", "j3", "j4"]);
    expect(message).toMatchObject({ upserted: [{ id: "a" }], revokedTokens: { complete: false } });
    expect(await isQuiet(watch)).toBe(true);
  });

  it("leaves out no token that is revoked between two messages of one state", async () => {
    world.revoke(...Array.from({ length: 10_001 }, (_, n) => `t${n}`));
    const watch = open(AGENT);
    await watch.next();
    world.revoke("late");
    expect(tokenIds(await watch.next())).not.toContain("late");
    const message = await watch.next();
    expect(tokenIds(message)).toEqual(["late"]);
    expect(message.revokedTokens?.complete).toBe(false);
  });

  it("tells an agent all of them anew that fell too far behind", async () => {
    world.revoke("before");
    const watch = open(AGENT);
    await watch.next();
    const batch = Array.from({ length: 1000 }, (_, n) => n);
    for (let round = 0; round < 30; round++) world.revoke(...batch.map((n) => `${round}/${n}`));
    const ids = new Set<string>();
    for (let more = true; more; ) {
      const message = await watch.next();
      expect(message).toMatchObject({ complete: false, revokedTokens: { complete: true } });
      for (const id of tokenIds(message)) ids.add(id);
      more = message.more === true;
    }
    expect(ids.size).toBe(30_001);
    world.revoke("after");
    expect(tokenIds(await watch.next())).toEqual(["after"]);
  });

  it("says of more revoked tokens than a message should hold in several that belong together", async () => {
    world.revoke(...Array.from({ length: 20_001 }, (_, n) => `t${n}`));
    const watch = open(AGENT);
    const messages = [await watch.next(), await watch.next(), await watch.next()];
    expect(messages.map(({ complete, more }) => [complete, more])).toEqual([
      [true, true],
      [true, true],
      [true, false],
    ]);
    expect(messages.every(({ revokedTokens }) => revokedTokens?.complete)).toBe(true);
    expect(new Set(messages.flatMap(tokenIds)).size).toBe(20_001);
    world.revoke(...Array.from({ length: 10_001 }, (_, n) => `u${n}`));
    const later = [await watch.next(), await watch.next()];
    expect(later.map(({ complete, more }) => [complete, more])).toEqual([
      [false, true],
      [false, false],
    ]);
    expect(later.map((message) => tokenIds(message).length).toSorted((a, b) => a - b)).toEqual([1, 10_000]);
  });

  it("sends a foreign bundle with the first entry that names it and takes it back with the last", async () => {
    world.bundles.set(foreign, { ...emptyBundle(foreign), sequence: 7n });
    const watch = open(AGENT);
    expect((await watch.next()).federatedBundles).toEqual([]);
    world.put(AGENT, entry("f", { federatesWith: [foreign] }));
    world.tell({ agents: [AGENT] });
    expect(await watch.next()).toMatchObject({
      federatedBundles: [{ trustDomain: foreign, sequenceNumber: 7n }],
    });
    world.bundles.set(foreign, { ...emptyBundle(foreign), sequence: 8n });
    world.tell({ agents: [AGENT] });
    expect(await watch.next()).toMatchObject({ upserted: [], federatedBundles: [{ sequenceNumber: 8n }] });
    world.put(AGENT, entry("f", { revision: 1 }));
    world.tell({ agents: [AGENT] });
    expect(await watch.next()).toMatchObject({ federatedBundles: [], deletedFederatedBundles: [foreign] });
  });

  it("takes a foreign bundle back when it is deleted, and sends it again when it is back", async () => {
    world.bundles.set(foreign, { ...emptyBundle(foreign), sequence: 7n });
    world.put(AGENT, entry("f", { federatesWith: [foreign] }));
    const watch = open(AGENT);
    await watch.next();
    world.bundles.delete(foreign);
    world.tell({ agents: [AGENT] });
    expect(await watch.next()).toMatchObject({ deletedFederatedBundles: [foreign] });
    world.bundles.set(foreign, { ...emptyBundle(foreign), sequence: 9n });
    world.tell({ agents: [AGENT] });
    expect(await watch.next()).toMatchObject({ federatedBundles: [{ sequenceNumber: 9n }] });
  });

  it("comes in pieces that a client accepts, all but the last with `more`", async () => {
    world.put(AGENT, ...Array.from({ length: 2500 }, (_, n) => entry(`e${n}`)));
    const watch = open(AGENT);
    const messages = [await watch.next(), await watch.next(), await watch.next()];
    expect(messages.map(({ more, complete, upserted }) => [more, complete, upserted?.length])).toEqual([
      [true, true, 1000],
      [true, true, 1000],
      [false, true, 500],
    ]);
    expect(messages[1]).not.toHaveProperty("bundle");
    expect(await isQuiet(watch)).toBe(true);
  });

  it("cuts by size too", async () => {
    const selectors = Array.from({ length: 1000 }, (_, n) => ({
      type: "t",
      value: `${n}${"x".repeat(200)}`,
    }));
    world.put(AGENT, ...Array.from({ length: 6 }, (_, n) => entry(`e${n}`, { selectors })));
    const watch = open(AGENT);
    const sizes = [];
    for (let more = true; more; ) {
      const message = await watch.next();
      sizes.push(message.upserted?.length);
      more = message.more === true;
    }
    expect(sizes.length).toBeGreaterThan(1);
    expect(sizes.reduce((sum = 0, size = 0) => sum + size)).toBe(6);
  });
});

describe("the end of the stream of changes", () => {
  it("comes when access is lost, with the reason, though no entry changed", async () => {
    const watch = open(AGENT);
    await watch.next();
    const ended = watch.next();
    world.denied = new AssayError("AGENT_BANNED", "banned");
    world.tell({ changes: [{ kind: "node", id: AGENT, before: undefined, after: undefined }] });
    await expect(ended).rejects.toThrowCode("AGENT_BANNED");
    expect(service.watchers).toBe(0);
  });

  it("comes when the connection's authority has left the bundle", async () => {
    const watch = open(AGENT);
    await watch.next();
    const ended = watch.next();
    world.untrusted = true;
    world.tell({ everyone: true });
    await expect(ended).rejects.toThrowCode("CALLER_NOT_IDENTIFIED");
  });

  it("comes when the SVID that opened it expires", async () => {
    const watch = open(AGENT, 60);
    await watch.next();
    const ended = watch.next();
    void ended.catch(() => undefined);
    await turn();
    await clock.advance(59_999);
    expect(service.watchers).toBe(1);
    await clock.advance(1);
    await expect(ended).rejects.toThrowCode("AGENT_EXPIRED");
  });

  it("comes at that time also where the timer fired too early", async () => {
    let early = 1;
    service[Symbol.dispose]();
    service = serve({
      now: () => clock.now(),
      schedule(milliseconds, callback) {
        const by = early;
        early = 0;
        return clock.schedule(milliseconds - by, callback);
      },
    });
    const watch = open(AGENT, 60);
    await watch.next();
    const ended = watch.next();
    void ended.catch(() => undefined);
    await turn();
    await clock.advance(60_000);
    await expect(ended).rejects.toThrowCode("AGENT_EXPIRED");
  });

  it("comes when the caller goes, and leaves nothing behind", async () => {
    const watch = open(AGENT);
    await watch.next();
    const ended = watch.next();
    watch.abort.abort(new AssayError("CANCELLED", "gone"));
    await expect(ended).rejects.toThrowCode("CANCELLED");
    expect(service.watchers).toBe(0);
    expect(clock.pending).toBe(0);
  });

  it("stops listening to the registry with the service", () => {
    expect(world.listeners.size).toBe(1);
    service[Symbol.dispose]();
    expect(world.listeners.size).toBe(0);
  });
});

/** A registry and its access control in the test's hands. */
class World {
  revoked: readonly RevokedToken[] = [];
  readonly revocations = new Set<(fresh: readonly RevokedToken[]) => void>();
  readonly entries = new Map<SpiffeId, Map<string, EntryRecord>>();
  readonly bundles = new Map<TrustDomain, SpiffeBundle>([[own, { ...emptyBundle(own), sequence: 1n }]]);
  readonly listeners = new Set<(changes: readonly RegistryChange[], sequence: number) => void>();
  /** How often each agent's entries were looked at. */
  readonly looks = new Map<SpiffeId, number>();
  sequence = 1;
  affected: AffectedAgents = { everyone: false, agents: new Set() };
  denied: AssayError | undefined;
  untrusted = false;

  put(agent: SpiffeId, ...entries: readonly EntryRecord[]): void {
    const all = this.entries.get(agent) ?? new Map<string, EntryRecord>();
    this.entries.set(agent, all);
    for (const one of entries) all.set(one.id, one);
  }

  remove(agent: SpiffeId, id: string): void {
    this.entries.get(agent)?.delete(id);
  }

  revoke(...tokens: readonly string[]): void {
    const fresh = tokens.map((id) => ({ id, expiresAt: 100 }));
    this.revoked = [...this.revoked, ...fresh];
    for (const listener of this.revocations) listener(fresh);
  }

  tell(what: {
    everyone?: boolean;
    agents?: readonly SpiffeId[];
    changes?: readonly RegistryChange[];
  }): void {
    this.sequence += 1;
    this.affected = { everyone: what.everyone ?? false, agents: new Set(what.agents) };
    for (const listener of this.listeners) listener(what.changes ?? [], this.sequence);
  }
}

function serve(serviceClock: Clock): AgentSyncService {
  return agentSyncService({
    clock: serviceClock,
    revoked: {
      revokedTokens: () => world.revoked,
      onRevokedTokens(listener) {
        world.revocations.add(listener);
        return { [Symbol.dispose]: () => void world.revocations.delete(listener) };
      },
    },
    access: {
      holds: () => false,
      authorize(_method, { svid }) {
        if (world.denied !== undefined) throw world.denied;
        if (svid !== undefined && svid.notAfter * 1000 <= clock.now()) {
          throw new AssayError("AGENT_EXPIRED", "expired");
        }
        return "agent";
      },
    },
    registry: {
      trustDomain: own,
      bundle: (name) => world.bundles.get(name),
      crls: () => [],
      agentsAffectedBy: () => world.affected,
      subscribe(listener) {
        world.listeners.add(listener);
        return { [Symbol.dispose]: () => void world.listeners.delete(listener) };
      },
      get sequence() {
        return world.sequence;
      },
      entries: {
        authorized(agent) {
          world.looks.set(agent, (world.looks.get(agent) ?? 0) + 1);
          return [...(world.entries.get(agent)?.values() ?? [])];
        },
      },
    },
  });
}

function open(spiffeId: SpiffeId, seconds = 3600) {
  const abort = new AbortController();
  const who = {
    address: "192.0.2.1",
    svid: { spiffeId, serial: "01", notAfter: clock.now() / 1000 + seconds },
  };
  const context: ServerCall = {
    method: "/assay.api.server.v1.AgentSync/WatchAuthorizedEntries",
    peer: {
      caller() {
        if (world.untrusted) throw new AssayError("CALLER_NOT_IDENTIFIED", "its authority is gone");
        return who;
      },
    },
    caller: { who, role: "agent" },
    deadline: undefined,
    signal: abort.signal,
    header: () => undefined,
  };
  const handler = service.handlers.watchAuthorizedEntries;
  if (handler === undefined) throw new Error("there is no handler");
  const messages: AsyncIterator<Message> = handler(
    { $typeName: "assay.api.server.v1.WatchAuthorizedEntriesRequest" },
    context,
  )[Symbol.asyncIterator]();
  return {
    abort,
    async next() {
      const next = await messages.next();
      if (next.done === true) throw new Error("the stream ended with OK");
      return next.value;
    },
  };
}

/** Whether nothing comes although everything that is under way has had its turn. */
async function isQuiet(watch: ReturnType<typeof open>): Promise<boolean> {
  const next = watch.next().then(
    () => false,
    () => false,
  );
  const turns = (async () => {
    for (let n = 0; n < 10; n++) await turn();
    return true;
  })();
  return Promise.race([next, turns]);
}

/** Lets everything that waits for nothing have its turn. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function tokenIds({ revokedTokens }: Message): readonly string[] {
  return revokedTokens?.tokens?.map(({ id }) => id ?? "") ?? [];
}

function ids(entries: readonly { id?: string }[] | undefined) {
  return entries?.map(({ id }) => id);
}

function entry(id: string, fields: Partial<EntryRecord> = {}): EntryRecord {
  return {
    id,
    revision: 0,
    createdAt: 0,
    ordinal: 1,
    spiffeId: parseSpiffeId(`spiffe://example.org/${id}`),
    parentId: AGENT,
    selectors: [{ type: "unix", value: "uid:1" }],
    ...ENTRY_DEFAULTS,
    ...fields,
  };
}
