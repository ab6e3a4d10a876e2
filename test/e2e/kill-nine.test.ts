import { cp, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { verifyAuditLog } from "../../src/observe/audit-verify.ts";
import { Bundle } from "../../src/proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import { Entry as EntryService } from "../../src/proto/gen/spire/api/server/entry/v1/entry_pb.ts";
import { LocalAuthority } from "../../src/proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts";
import type { RpcClient } from "../../src/rpc/client.ts";
import { parseTrustDomain } from "../../src/spiffe/trust-domain.ts";
import type { ChangeRecord } from "../../src/store/records.ts";
import { openSqliteStore } from "../../src/store/sqlite/open.ts";
import { adminClient, allEntries, entryInit } from "./admin-rpc.ts";
import { placeServer, type ServerPlace, startServer, TRUST_DOMAIN } from "./harness.ts";
import { Program } from "./program.ts";
import { makeScratch, type Scratch } from "./scratch.ts";

const ROUNDS = 20;
const WRITERS = 8;
/** More than one statement of the store takes, so that a batch that is cut in two would show. */
const BATCH = 64;
const SEED = 20_261_122;

describe("a server that is killed while entries are created", () => {
  let scratch: Scratch;
  let place: ServerPlace;

  beforeAll(async () => {
    scratch = await makeScratch();
    place = await placeServer(scratch);
  });

  afterAll(async () => {
    await scratch?.[Symbol.asyncDispose]();
  });

  it(`keeps what it acknowledged and nothing by halves, ${ROUNDS} times`, async () => {
    const random = seededRandom(SEED);
    const acknowledged = new Map<string, readonly string[]>();
    const sent = new Set<string>();
    let authorities: unknown;
    let lastSequence = 0;

    for (let round = 1; round <= ROUNDS; round++) {
      const server = await startServer(place);
      {
        using client = adminClient(place);
        const found = await authoritiesOf(client);
        authorities ??= found;
        expect(found, `authorities in round ${round}`).toEqual(authorities);
        checkEntries(await allEntries(client), acknowledged, sent);

        // The kill comes right after an acknowledgement, or some turns of the event loop later, while the other
        // writers' batches are anywhere between the socket and the disk.
        await burst(client, {
          tag: `round-${round}`,
          stopAfter: 1 + Math.floor(random() * 12),
          turns: Math.floor(random() * 40),
          sent,
          acknowledged,
          kill: () => server.program.signal("SIGKILL"),
        });
      }
      expect(await server.program.ended).toEqual({ code: null, signal: "SIGKILL" });

      const changes = await changesOnDisk(place, scratch.at(`copy-${round}`));
      const sequences = changes.map(({ sequence }) => sequence);
      expect(sequences.every((sequence, i) => i === 0 || sequence > (sequences[i - 1] ?? 0))).toBe(true);
      const puts = changes.filter(({ kind, operation }) => kind === "entry" && operation === "put");
      const logged = new Set(puts.map(({ key }) => key));
      expect(logged.size, "one change for each entry").toBe(puts.length);
      expect([...acknowledged.values()].flat().filter((id) => !logged.has(id))).toEqual([]);
      const newest = sequences.at(-1) ?? 0;
      expect(newest).toBeGreaterThan(lastSequence);
      lastSequence = newest;
    }

    await using server = await startServer(place);
    using client = adminClient(place);
    expect(await authoritiesOf(client)).toEqual(authorities);
    checkEntries(await allEntries(client), acknowledged, sent);
    // Otherwise every kill came when nothing was under way, and the test has shown nothing.
    expect(sent.size).toBeGreaterThan(acknowledged.size);
    expect(acknowledged.size).toBeGreaterThanOrEqual(ROUNDS);

    const audit = join(place.dataDir, "audit.jsonl");
    expect(await verifyAuditLog(audit)).toMatchObject({ ok: true });
    const audited = (await readFile(audit, "utf8")).split("\n");
    const created = new Set(
      audited.flatMap((line) => (line.includes('"entry.created"') ? [entryIdOf(line)] : [])),
    );
    expect([...acknowledged.values()].flat().filter((id) => !created.has(id))).toEqual([]);
    expect((await server.program.stop()).code).toBe(0);
  }, 120_000);

  it.each([
    ["its X.509 authority is prepared", /"kind":"x509".*"authority prepared"/],
    ["its X.509 authority is activated", /"kind":"x509".*"authority activated"/],
    ["its JWT authority is prepared", /"kind":"jwt".*"authority prepared"/],
    ["its JWT authority is activated", /"kind":"jwt".*"authority activated"/],
    ["it is ready", /"msg":"ready"/],
  ])("starts again after a first start that ended when %s", async (name, moment) => {
    const fresh = await placeServer(scratch, name.replaceAll(/\W+/g, "-"));
    const first = Program.start("first start", process.execPath, [
      join("src", "main.ts"),
      "server",
      `--trust-domain=${TRUST_DOMAIN}`,
      `--data-dir=${fresh.dataDir}`,
      `--listen=${fresh.address}`,
      `--web-listen=${fresh.webAddress}`,
      `--admin-socket=${fresh.adminSocket}`,
    ]);
    await first.line((line) => moment.test(line));
    await first.kill();

    await using server = await startServer(fresh);
    using client = adminClient(fresh);
    const { x509, jwt, bundle } = await authoritiesOf(client);
    expect(x509.active?.authorityId).toMatch(/^[0-9a-f]{40}$/);
    expect(jwt.active?.authorityId).not.toBe("");
    expect(bundle.x509Authorities.length).toBeGreaterThanOrEqual(1);
    expect(bundle.jwtAuthorities.map(({ keyId }) => keyId)).toContain(jwt.active?.authorityId);
    await server.program.kill();

    // And what it made then is what it keeps.
    await using again = await startServer(fresh);
    using later = adminClient(fresh);
    expect(await authoritiesOf(later)).toEqual({ x509, jwt, bundle });
    expect(again.program.pid).not.toBe(server.program.pid);
  });
});

interface Burst {
  readonly tag: string;
  /** Acknowledged batches before the end comes near. */
  readonly stopAfter: number;
  /** Turns of the event loop between the last counted acknowledgement and the kill. */
  readonly turns: number;
  readonly sent: Set<string>;
  readonly acknowledged: Map<string, readonly string[]>;
  kill(): void;
}

/** Several writers send batch after batch until the server is gone. */
async function burst(client: RpcClient, { tag, stopAfter, turns, sent, acknowledged, kill }: Burst) {
  const service = client.service(EntryService);
  let batches = 0;
  let acks = 0;
  const isOver = () => acks >= stopAfter + WRITERS * 4;
  const writer = async () => {
    while (!isOver()) {
      const batch = `${tag}-batch-${++batches}`;
      sent.add(batch);
      const entries = Array.from({ length: BATCH }, (_, i) => entryInit(`/${batch}/${i}`, { hint: batch }));
      const { results } = await service.batchCreateEntry({ entries });
      const ids = results.flatMap(({ entry, status }) => (status?.code === 0 ? [entry?.id ?? ""] : []));
      expect(ids).toHaveLength(BATCH);
      acknowledged.set(batch, ids);
      if (++acks === stopAfter) void afterTurns(turns).then(kill);
    }
  };
  const endings = await Promise.allSettled(Array.from({ length: WRITERS }, writer));
  for (const ending of endings) {
    if (ending.status === "rejected") expect(ending.reason).toMatchObject({ code: "SERVER_UNAVAILABLE" });
  }
  // Writers that ran out of work first have not been cut off; the kill is on its way all the same.
  await afterTurns(turns);
}

/** Every acknowledged batch is there, every other one wholly or not at all. */
function checkEntries(
  entries: readonly { id: string; hint: string }[],
  acknowledged: ReadonlyMap<string, readonly string[]>,
  sent: ReadonlySet<string>,
): void {
  const found = new Map<string, Set<string>>();
  for (const { id, hint } of entries) {
    const ids = found.get(hint) ?? new Set();
    found.set(hint, ids.add(id));
  }
  for (const [batch, ids] of acknowledged) {
    const there = found.get(batch) ?? new Set();
    expect(
      ids.filter((id) => !there.has(id)),
      batch,
    ).toEqual([]);
  }
  for (const [batch, ids] of found) {
    expect(sent.has(batch), `${batch} was sent`).toBe(true);
    expect(ids.size, batch).toBe(BATCH);
  }
}

async function authoritiesOf(client: RpcClient) {
  const authority = client.service(LocalAuthority);
  const bundle = await client.service(Bundle).getBundle({});
  return {
    x509: await authority.getX509AuthorityState({}),
    jwt: await authority.getJWTAuthorityState({}),
    bundle,
  };
}

/** The whole change log of a store that no process has open, read from a copy so that the original stays as it was left. */
async function changesOnDisk(place: ServerPlace, copy: string): Promise<readonly ChangeRecord[]> {
  await cp(place.dataDir, copy, { recursive: true });
  await using store = await openSqliteStore({
    folder: copy,
    trustDomain: parseTrustDomain(TRUST_DOMAIN),
    clock: systemClock,
  });
  const changes: ChangeRecord[] = [];
  for (;;) {
    const more = await store.changes.since(changes.at(-1)?.sequence ?? 0, 10_000);
    if (more === undefined) throw new Error("the change log has forgotten its beginning");
    if (more.length === 0) return changes;
    changes.push(...more);
  }
}

async function afterTurns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}

function entryIdOf(line: string): string {
  return (JSON.parse(line) as { entry_id: string }).entry_id;
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
