import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FakeClock } from "../../test/fakes/clock.ts";
import { sampleTask } from "../../test/fakes/task.ts";
import { unixSeconds } from "../clock.ts";
import { statusAt } from "../crypto/jose/status-list.ts";
import { parseSpiffeId } from "../spiffe/id.ts";
import { parseTrustDomain } from "../spiffe/trust-domain.ts";
import { openSqliteStore } from "../store/sqlite/open.ts";
import type { Store } from "../store/store.ts";
import type { CredentialKind, CredentialRecord } from "../store/task-store.ts";
import { openRevocation, type Revocation } from "./revocation.ts";

const trustDomain = parseTrustDomain("example.org");
const HOUR = 3_600_000;

let folder: string;
let clock: FakeClock;
let store: Store;
let revocation: Revocation;
const open: AsyncDisposable[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "revocation-"));
  clock = new FakeClock();
  store = await openSqliteStore({ folder, trustDomain, clock });
  revocation = await another();
});

afterEach(async () => {
  for (const one of open.splice(0)) await one[Symbol.asyncDispose]();
  await store[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

async function another(onFault?: (error: unknown) => void, revokedLists?: number): Promise<Revocation> {
  const opened = await openRevocation({ store, clock, onFault, revokedLists });
  open.push(opened);
  return opened;
}

type Facts = Omit<CredentialRecord, "revokedAt" | "reason" | "kind" | "id">;

function facts(change: Partial<Facts> = {}): Facts {
  return {
    authorityId: "aa",
    spiffeId: parseSpiffeId("spiffe://example.org/ci/1"),
    entryId: "e",
    taskId: "",
    parent: "",
    issuedAt: unixSeconds(clock),
    expiresAt: unixSeconds(clock) + 3600,
    ...change,
  };
}

const revoke = (kind: CredentialKind, id: string, change: Partial<Facts> = {}, by = revocation) =>
  by.revoke({ kind, id }, "keyCompromise", facts(change));

describe("status lists of before a restore", () => {
  it("say of every place that it is revoked, and later ones only of what is", async () => {
    const restored = await another(undefined, 3);
    for (const list of [0, 2]) {
      expect(restored.statusBits(list)).toHaveLength(2 ** 14);
      expect(restored.statusBits(list).every((octet) => octet === 0xff)).toBe(true);
      expect(restored.statusBits(list)).toBe(restored.statusBits(list));
    }
    expect(restored.statusBits(3).every((octet) => octet === 0)).toBe(true);
  });
});

describe("revocation", () => {
  it("shows what was revoked before the call returns, each kind where it belongs", async () => {
    expect(await revoke("x509", "01")).toMatchObject([{ id: "01", reason: "keyCompromise" }]);
    await revoke("jwt", "j", { expiresAt: 2_000_000_000 });
    await revoke("wit", "w");
    await revoke("access_token", "t");
    expect(revocation.isRevoked("x509", "01")).toBe(true);
    expect(revocation.isRevoked("jwt", "01")).toBe(false);
    expect(revocation.isRevoked("access_token", "t")).toBe(true);
    expect(revocation.revokedX509("aa").map(({ id }) => id)).toEqual(["01"]);
    expect(revocation.revokedX509("bb")).toEqual([]);
    expect(revocation.revokedTokens().map(({ id }) => id)).toEqual(["j", "w"]);
    expect(revocation.revokedTokens()[0]).toEqual({ id: "j", expiresAt: 2_000_000_000 });
  });

  it("gives the same views until something changes", async () => {
    await revoke("x509", "01");
    await revoke("jwt", "j", { status: { list: 0, index: 5 } });
    const views = () => [revocation.revokedX509("aa"), revocation.revokedTokens(), revocation.statusBits(0)];
    const before = views();
    expect(views().every((view, n) => view === before[n])).toBe(true);
    await revoke("jwt", "k", { status: { list: 0, index: 6 } });
    expect(revocation.revokedX509("aa")).toBe(before[0]);
    expect(revocation.revokedTokens()).not.toBe(before[1]);
    expect(revocation.statusBits(0)).not.toBe(before[2]);
  });

  it("revokes once, and what was exchanged for it with it", async () => {
    const parent = { kind: "jwt", id: "parent", ...facts() } as const;
    const child = { kind: "access_token", id: "child", ...facts({ parent: "jwt:parent" }) } as const;
    await store.credentials.record([parent, child]);
    let changes = 0;
    revocation.onChange(() => void changes++);
    const revoked = await revocation.revoke({ kind: "jwt", id: "parent" }, "unspecified");
    expect(revoked.map(({ id }) => id).toSorted()).toEqual(["child", "parent"]);
    expect(revocation.isRevoked("access_token", "child")).toBe(true);
    expect(await revocation.revoke({ kind: "jwt", id: "parent" }, "unspecified")).toEqual([]);
    expect(changes).toBe(1);
  });

  it("sets the bit of a revoked token's place and no other", async () => {
    await revoke("jwt", "j", { status: { list: 2, index: 131_071 } });
    await revoke("access_token", "t", { status: { list: 2, index: 9 } });
    const list = { bits: 1, octets: revocation.statusBits(2) } as const;
    expect(list.octets).toHaveLength(16_384);
    expect([8, 9, 10, 131_070, 131_071].map((place) => statusAt(list, place))).toEqual([0, 1, 0, 0, 1]);
    expect(list.octets.filter((octet) => octet !== 0)).toHaveLength(2);
    expect(revocation.statusBits(0).every((octet) => octet === 0)).toBe(true);
  });

  it("still knows everything after a restart, and at another server on the same store", async () => {
    const other = await another();
    const heard = Promise.withResolvers<void>();
    other.onChange(heard.resolve);
    await revoke("x509", "01");
    await heard.promise;
    expect(other.isRevoked("x509", "01")).toBe(true);
    await store[Symbol.asyncDispose]();
    store = await openSqliteStore({ folder, trustDomain, clock });
    expect((await another()).isRevoked("x509", "01")).toBe(true);
  });

  it("follows the end of a task", async () => {
    const now = unixSeconds(clock);
    await store.tasks.open(sampleTask("a", now), { replayKey: "r", until: now + 600 });
    const svid = { kind: "x509", id: "0a", ...facts({ taskId: "a" }) } as const;
    expect(await store.credentials.record([svid])).toBe(true);
    expect(revocation.isRevoked("x509", "0a")).toBe(false);
    await store.tasks.end("a", "job", now);
    await revocation.catchUp();
    expect(revocation.find("x509", "0a")).toMatchObject({ taskId: "a", revokedAt: now });
  });

  it("does not forget at once what a clock that jumps ahead says has expired", async () => {
    await revoke("jwt", "j", { expiresAt: unixSeconds(clock) + 60 });
    await revoke("x509", "01", { expiresAt: unixSeconds(clock) + 60 });
    clock.step(365 * 24 * HOUR);
    await clock.advance(60_000);
    expect(revocation.isRevoked("jwt", "j")).toBe(true);
    clock.step(-365 * 24 * HOUR);
    expect(revocation.revokedTokens()).toHaveLength(1);
    expect(revocation.revokedX509("aa")).toHaveLength(1);
  });

  it("keeps tokens for five minutes and X509-SVIDs for two hours after they expire", async () => {
    await revoke("x509", "01");
    await revoke("jwt", "j", { status: { list: 0, index: 5 } });
    await clock.advance(HOUR + 299_000);
    expect(revocation.isRevoked("jwt", "j")).toBe(true);
    await clock.advance(31_000);
    expect(revocation.isRevoked("jwt", "j")).toBe(false);
    expect(revocation.revokedTokens()).toEqual([]);
    expect(revocation.statusBits(0).every((octet) => octet === 0)).toBe(true);
    expect(revocation.revokedX509("aa")).toHaveLength(1);
    await clock.advance(2 * HOUR - 300_000);
    expect(revocation.revokedX509("aa")).toEqual([]);
  });

  it("tries again by itself where the store fails, and says so", async () => {
    const faults: unknown[] = [];
    const failing = {
      credentials: store.credentials,
      changes: { ...store.changes, since: store.changes.since.bind(store.changes) },
    };
    const since = failing.changes.since;
    const listening: (() => void)[] = [];
    failing.changes.latest = () => store.changes.latest();
    failing.changes.subscribe = (listener) => {
      listening.push(listener);
      return { [Symbol.dispose]: () => undefined };
    };
    const other = await openRevocation({
      store: failing,
      clock,
      onFault: (error) => void faults.push(error),
    });
    open.push(other);
    failing.changes.since = () => Promise.reject(new Error("gone"));
    await revoke("x509", "01");
    for (const listener of listening) listener();
    await expect.poll(() => faults).toHaveLength(1);
    failing.changes.since = since;
    await clock.advance(1000);
    await expect.poll(() => other.isRevoked("x509", "01")).toBe(true);
  });
});
