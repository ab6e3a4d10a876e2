import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { verifyAuditLog } from "../../src/observe/audit-verify.ts";
import {
  Health,
  HealthCheckResponse_ServingStatus as Serving,
} from "../../src/proto/gen/grpc/health/v1/health_pb.ts";
import { Agent } from "../../src/proto/gen/spire/api/server/agent/v1/agent_pb.ts";
import { Entry as EntryService } from "../../src/proto/gen/spire/api/server/entry/v1/entry_pb.ts";
import { SVID } from "../../src/proto/gen/spire/api/server/svid/v1/svid_pb.ts";
import type { RpcClient } from "../../src/rpc/client.ts";
import { makeKey } from "../fakes/certificates.ts";
import { makeCsr } from "../fakes/issuance-csr.ts";
import { attestOnce, joinTokenParams } from "../fakes/server-agent.ts";
import { adminClient, allEntries, entryInit, tlsClient } from "./admin-rpc.ts";
import { assay, placeServer, startServer, TRUST_DOMAIN } from "./harness.ts";
import { run } from "./program.ts";
import { makeScratch, type Scratch } from "./scratch.ts";

/** A file system of its own, small enough to be filled. */
interface TinyDisk extends AsyncDisposable {
  readonly path: string;
  /** Fills it to the last byte. */
  fill(): Promise<void>;
  /** Takes what filled it away. */
  free(): Promise<void>;
  /** Mounts it anew without the right to write; nobody may use it meanwhile. */
  freeze(): Promise<void>;
}

let scratch: Scratch;
let canMount = false;

beforeAll(async () => {
  scratch = await makeScratch();
  const probe = scratch.at("probe");
  await mkdir(probe);
  canMount = (await run("mount", ["-t", "tmpfs", "-o", "size=64k", "assay-test", probe])).code === 0;
  if (canMount) await run("umount", [probe]);
});

afterAll(async () => {
  await scratch?.[Symbol.asyncDispose]();
});

describe("a disk that is full", () => {
  it("below the store: changes are Unavailable and leave nothing, what needs no store goes on, and all works again", async (context) => {
    context.skip(!canMount, MOUNTLESS);
    await using disk = await tinyDisk("store-disk");
    const place = { ...(await placeServer(scratch, "full-store")), dataDir: disk.path };
    const config = scratch.at("full-store.yaml");
    const audit = scratch.at("full-store-audit.jsonl");
    await writeFile(config, `audit: { path: ${audit} }\n`);
    await using server = await startServer(place, [`--config=${config}`]);
    using client = adminClient(place);
    using anonymous = await tlsClient(place);
    const { value: token } = await client.service(Agent).createJoinToken({ ttl: 600 });
    await client.service(EntryService).batchCreateEntry({ entries: batch("before") });
    using watch = healthOf(client);
    expect(await watch.next()).toBe(Serving.SERVING);

    await disk.fill();
    const { acknowledged, refused } = await createUntilRefused(client);
    expect(await watch.next()).toBe(Serving.NOT_SERVING);
    // Nothing of a refused batch is there, in memory or on the disk.
    const hints = () =>
      allEntries(client).then((entries) => new Map(Map.groupBy(entries, ({ hint }) => hint)));
    const during = await hints();
    expect([...during.keys()].toSorted()).toEqual(["before", ...acknowledged].toSorted());
    for (const entries of during.values()) expect(entries).toHaveLength(BATCH);

    // Attesting a node writes; a token that could not be used up is not used up.
    await expect(attest(anonymous, token)).rejects.toMatchObject({ status: "UNAVAILABLE" });
    const { agents } = await client.service(Agent).listAgents({});
    expect(agents).toEqual([]);
    // Minting needs keys and the audit log, both of which are well.
    await expect(mint(client)).resolves.toMatch(/^eyJ/);

    await disk.free();
    expect(await watch.next()).toBe(Serving.SERVING);
    const retried = await client.service(EntryService).batchCreateEntry({ entries: batch(refused) });
    expect(retried.results.map(({ status }) => status?.code)).toEqual(Array(BATCH).fill(0));
    await attest(anonymous, token);
    const after = await hints();

    await server.program.stop();
    await using again = await startServer(place, [`--config=${config}`]);
    using later = adminClient(again.place);
    const restored = await allEntries(later);
    expect(new Map(Map.groupBy(restored, ({ hint }) => hint))).toEqual(after);
    expect(await verifyAuditLog(audit)).toMatchObject({ ok: true });
    await again.program.stop();
  });

  it("below the audit log: nothing is issued, and all works again", async (context) => {
    context.skip(!canMount, MOUNTLESS);
    await using disk = await tinyDisk("audit-disk");
    const place = await placeServer(scratch, "full-audit");
    const config = scratch.at("full-audit.yaml");
    const audit = join(disk.path, "audit.jsonl");
    await writeFile(config, `audit: { path: ${audit} }\n`);
    await using server = await startServer(place, [`--config=${config}`]);
    using client = adminClient(place);
    using anonymous = await tlsClient(place);
    const { value: token } = await client.service(Agent).createJoinToken({ ttl: 600 });
    await expect(mint(client)).resolves.toMatch(/^eyJ/);

    await disk.fill();
    // The file's last page may have room for a record or two.
    const failure = await failureOf(async () => {
      for (let n = 0; n < 1000; n++) await mint(client);
    });
    expect(failure).toMatchObject({ status: "UNAVAILABLE" });
    expect(String(failure)).not.toContain(audit);
    const issued = (await verifyAuditLog(audit)) as { ok: boolean; records: number };
    expect(issued.ok).toBe(true);

    const csr = makeCsr({ uris: [`spiffe://${TRUST_DOMAIN}/minted`] }, makeKey());
    await expect(client.service(SVID).mintX509SVID({ csr })).rejects.toMatchObject({
      status: "UNAVAILABLE",
    });
    await expect(attest(anonymous, token)).rejects.toMatchObject({ status: "UNAVAILABLE" });
    expect(await verifyAuditLog(audit)).toMatchObject({ ok: true, records: issued.records });
    // No node stands in the registry whose agent never got its SVID.
    expect((await client.service(Agent).listAgents({})).agents).toEqual([]);

    await disk.free();
    await expect(mint(client)).resolves.toMatch(/^eyJ/);
    // The token was used up by an attestation whose record could not be written: fail-closed, a new one is needed.
    const fresh = await client.service(Agent).createJoinToken({ ttl: 600 });
    await attest(anonymous, fresh.value);
    expect(await verifyAuditLog(audit)).toMatchObject({ ok: true });
    expect((await server.program.stop()).code).toBe(0);
  });

  it("at the start: one line that names the folder, exit code 1, and no door opens", async (context) => {
    context.skip(!canMount, MOUNTLESS);
    await using disk = await tinyDisk("start-disk");
    await disk.fill();
    const place = { ...(await placeServer(scratch, "full-start")), dataDir: disk.path };
    const outcome = await assay(["server", ...flags(place)]);
    expect(outcome.stderr).toMatch(/^assay: .*start-disk.*(full|no space|ENOSPC|disk).*\n$/i);
    expect(outcome.code).toBe(1);

    await disk.free();
    await using server = await startServer(place);
    expect((await server.program.stop()).code).toBe(0);
  });
});

describe("a store that cannot be written", () => {
  it("is refused at the start in one line that names it, and is as it was afterwards", async (context) => {
    context.skip(!canMount, MOUNTLESS);
    await using disk = await tinyDisk("read-only-disk");
    const place = { ...(await placeServer(scratch, "read-only")), dataDir: disk.path };
    {
      await using server = await startServer(place);
      using client = adminClient(place);
      await client.service(EntryService).batchCreateEntry({ entries: batch("kept") });
      await server.program.stop();
    }
    await disk.freeze();
    const outcome = await assay(["server", ...flags(place)]);
    expect(outcome.stderr).toMatch(/^assay: .*read-only-disk.*read-only.*\n$/i);
    expect(outcome.code).toBe(1);

    await disk.free();
    await using server = await startServer(place);
    using client = adminClient(place);
    expect(await allEntries(client)).toHaveLength(BATCH);
    await server.program.stop();
  });
});

async function createUntilRefused(client: RpcClient) {
  const acknowledged: string[] = [];
  for (let n = 0; n < 500; n++) {
    const name = `during-${n}`;
    try {
      const { results } = await client.service(EntryService).batchCreateEntry({ entries: batch(name) });
      expect(results.every(({ status }) => status?.code === 0)).toBe(true);
      acknowledged.push(name);
    } catch (error) {
      expect(error).toMatchObject({ status: "UNAVAILABLE" });
      return { acknowledged, refused: name };
    }
  }
  return expect.unreachable("the disk never became full");
}

function batch(name: string) {
  return Array.from({ length: BATCH }, (_, n) => entryInit(`/${name}/${n}`, { hint: name }));
}

async function mint(client: RpcClient): Promise<string> {
  const { svid } = await client.service(SVID).mintJWTSVID({
    id: { trustDomain: TRUST_DOMAIN, path: "/minted" },
    audience: ["test"],
  });
  return svid?.token ?? "";
}

function attest(client: RpcClient, token: string) {
  return attestOnce(client, joinTokenParams(token, makeCsr({}, makeKey())));
}

function healthOf(client: RpcClient) {
  const abort = new AbortController();
  const states = client.service(Health).watch({}, { signal: abort.signal });
  return {
    next: async () => (await states.next()).value?.status,
    [Symbol.dispose]: () => abort.abort(),
  };
}

async function failureOf(action: () => Promise<void>): Promise<unknown> {
  try {
    await action();
    return undefined;
  } catch (error) {
    return error;
  }
}

async function tinyDisk(name: string): Promise<TinyDisk> {
  const path = scratch.at(name);
  await mkdir(path);
  const mount = async (options: string) => {
    const { code, stderr } = await run("mount", ["-t", "tmpfs", "-o", options, "assay-test", path]);
    if (code !== 0) throw new Error(`mount: ${stderr}`);
  };
  await mount("size=2m,mode=700");
  const ballast = join(path, "ballast");
  return {
    path,
    async fill() {
      // Ends with ENOSPC, having written what there was room for.
      await run("dd", ["if=/dev/zero", `of=${ballast}`, "bs=4k"]);
    },
    async free() {
      await run("mount", ["-o", "remount,rw", path]);
      await rm(ballast, { force: true });
    },
    async freeze() {
      const { code, stderr } = await run("mount", ["-o", "remount,ro", path]);
      if (code !== 0) throw new Error(`mount: ${stderr}`);
    },
    async [Symbol.asyncDispose]() {
      await run("umount", [path]);
    },
  };
}

function flags(place: Awaited<ReturnType<typeof placeServer>>): readonly string[] {
  return [
    `--trust-domain=${TRUST_DOMAIN}`,
    `--data-dir=${place.dataDir}`,
    `--listen=${place.address}`,
    `--web-listen=${place.webAddress}`,
    `--admin-socket=${place.adminSocket}`,
  ];
}

const BATCH = 50;
const MOUNTLESS = "a small file system cannot be mounted here";
