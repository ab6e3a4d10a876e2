import { describe, expect, it } from "vitest";
import type { CredentialRecord, StatusPlace } from "../../src/store/task-store.ts";
import { changesAfter, credential, id, task } from "./store-samples.ts";
import type { StoreUnderTest } from "./store-suite.ts";

export function credentialContract(subject: StoreUnderTest): void {
  const names = (list: readonly CredentialRecord[]) => list.map((one) => `${one.kind}:${one.id}`);

  describe("credentials", () => {
    it("gives back every field, before and after a restart", async () => {
      const full = credential("full", {
        kind: "jwt",
        authorityId: "kid",
        spiffeId: id("/ci/1"),
        entryId: "e1",
        parent: "wit:a:b",
        issuedAt: 7,
        status: { list: 3, index: 131_071 },
      });
      expect(await subject.store.credentials.record([full, credential("plain")])).toBe(true);
      const again = await subject.reopen();
      const stored = { ...full, revokedAt: 0, reason: "" };
      expect(await again.credentials.get("jwt", "full")).toEqual(stored);
      const plain = await again.credentials.get("x509", "plain");
      expect(plain).toEqual({ ...credential("plain"), revokedAt: 0, reason: "" });
      expect(await again.credentials.get("wit", "full")).toBeUndefined();
      expect(await again.credentials.get("jwt", "ful")).toBeUndefined();
    });

    it("writes nothing of a batch of which one's task is not active, unknown or over", async () => {
      const { tasks, credentials } = subject.store;
      await tasks.open(task("a"), { replayKey: "a", until: 1 });
      await tasks.open(task("b"), { replayKey: "b", until: 1 });
      await tasks.end("b", "job", 1);
      for (const taskId of ["b", "absent"]) {
        const batch = [credential("one", { taskId: "a" }), credential("two", { taskId })];
        expect(await credentials.record(batch)).toBe(false);
      }
      expect(await credentials.ofTask("a")).toEqual([]);
      expect(await credentials.record([credential("one", { taskId: "a" }), credential("two")])).toBe(true);
      expect(names(await credentials.ofTask("a"))).toEqual(["x509:one"]);
      expect(await credentials.ofTask("")).toEqual([]);
      expect(await credentials.record([])).toBe(true);
    });

    it("lets nothing through that races the end of its task: it is refused, or it is revoked", async () => {
      const { tasks, credentials } = subject.store;
      await tasks.open(task("a"), { replayKey: "a", until: 1 });
      const records = Array.from({ length: 100 }, (_, n) => {
        const ended = n === 50 ? tasks.end("a", "job", 5) : undefined;
        const written = credentials.record([credential(`c${n}`, { taskId: "a" })]);
        return Promise.all([written, ended]);
      });
      const outcomes = await Promise.all(records);
      const end = outcomes.find(([, ended]) => ended !== undefined)?.[1];
      const written = outcomes.flatMap(([isWritten], n) => (isWritten ? [`x509:c${n}`] : []));
      expect(written.length).toBeGreaterThan(0);
      expect(written.length).toBeLessThan(100);
      expect(names(end?.revoked ?? [])).toEqual(written);
      expect(names(await credentials.ofTask("a"))).toEqual(written);
    });

    it("refuses the same credential twice, and keeps the first", async () => {
      const { credentials } = subject.store;
      await credentials.record([credential("a")]);
      await expect(
        credentials.record([credential("b"), credential("a", { authorityId: "x" })]),
      ).rejects.toThrow();
      expect(await credentials.get("x509", "b")).toBeUndefined();
      expect((await credentials.get("x509", "a"))?.authorityId).toBe(credential("a").authorityId);
      expect(await credentials.record([credential("a", { kind: "jwt" })])).toBe(true);
    });

    it("notes no change for what is issued, and one for each that is revoked", async () => {
      const { credentials } = subject.store;
      await credentials.record([credential("a"), credential("b", { kind: "jwt" })]);
      expect(await subject.store.changes.latest()).toBe(0);
      const revoked = await credentials.revoke({ kind: "x509", id: "a" }, "operator", 70);
      expect(revoked).toEqual([{ ...credential("a"), revokedAt: 70, reason: "operator" }]);
      expect(await credentials.revoke({ kind: "x509", id: "a" }, "again", 80)).toEqual([]);
      expect(await changesAfter(subject.store, 0)).toEqual(["credential put x509:a"]);
      const again = await subject.reopen();
      expect(await again.credentials.revoked(0)).toEqual(revoked);
    });

    it("revokes what was exchanged, step by step, also round a circle, also of what was never written", async () => {
      const { credentials } = subject.store;
      await credentials.record([
        credential("a", { kind: "access_token", parent: "jwt:unwritten" }),
        credential("b", { kind: "access_token", parent: "access_token:a" }),
        credential("c", { kind: "access_token", parent: "access_token:b" }),
        credential("other", { kind: "access_token", parent: "jwt:another" }),
      ]);
      await credentials.record([
        credential("x", { parent: "x509:y" }),
        credential("y", { parent: "x509:x" }),
        credential("z", { parent: "x509:z" }),
      ]);
      const circle = await credentials.revoke({ kind: "x509", id: "x" }, "operator", 70);
      expect(names(circle)).toEqual(["x509:x", "x509:y"]);
      expect(names(await credentials.revoke({ kind: "x509", id: "z" }, "operator", 70))).toEqual(["x509:z"]);
      const all = await credentials.revoke({ kind: "jwt", id: "unwritten" }, "operator", 70);
      expect(names(all)).toEqual(["access_token:a", "access_token:b", "access_token:c"]);
      expect(await credentials.get("jwt", "unwritten")).toBeUndefined();
      expect((await credentials.get("access_token", "other"))?.revokedAt).toBe(0);
    });

    it("revokes what hangs below something that has expired already", async () => {
      const { credentials } = subject.store;
      await credentials.record([
        credential("parent", { kind: "jwt", expiresAt: 100 }),
        credential("child", { kind: "access_token", parent: "jwt:parent", expiresAt: 9000 }),
      ]);
      const revoked = await credentials.revoke({ kind: "jwt", id: "parent" }, "operator", 5000);
      expect(names(revoked)).toEqual(["access_token:child"]);
    });

    it("writes down what was never written when it is revoked, once", async () => {
      const { credentials } = subject.store;
      await credentials.record([credential("child", { kind: "access_token", parent: "x509:new" })]);
      const { kind, id: serial, ...unknown } = credential("new");
      const revoked = await credentials.revoke({ kind, id: serial }, "operator", 70, unknown);
      expect(names(revoked)).toEqual(["x509:new", "access_token:child"]);
      expect(revoked[0]).toEqual({ ...credential("new"), revokedAt: 70, reason: "operator" });
      expect(await credentials.revoke({ kind, id: serial }, "again", 80, unknown)).toEqual([]);
      const known = credential("known", { authorityId: "own" });
      await credentials.record([known]);
      const [own] = await credentials.revoke({ kind, id: "known" }, "operator", 70, unknown);
      expect(own?.authorityId).toBe("own");
    });

    it("writes nothing that was exchanged for something revoked", async () => {
      const { credentials } = subject.store;
      await credentials.record([credential("parent", { kind: "jwt" })]);
      expect(await credentials.record([credential("a", { parent: "jwt:parent" })])).toBe(true);
      await credentials.revoke({ kind: "jwt", id: "parent" }, "operator", 70);
      expect(await credentials.record([credential("b", { parent: "jwt:parent" })])).toBe(false);
      expect(await credentials.record([credential("c", { parent: "x509:a" })])).toBe(false);
      expect(await credentials.record([credential("d", { parent: "jwt:never-written" })])).toBe(true);
    });

    it("tells what is revoked and had not expired, and forgets what has", async () => {
      const { credentials } = subject.store;
      await credentials.record([
        credential("a", { expiresAt: 100 }),
        credential("b", { expiresAt: 101 }),
        credential("good", { expiresAt: 99 }),
      ]);
      for (const one of ["b", "a"]) await credentials.revoke({ kind: "x509", id: one }, "operator", 50);
      expect(names(await credentials.revoked(99))).toEqual(["x509:a", "x509:b"]);
      expect(names(await credentials.revoked(100))).toEqual(["x509:b"]);
      expect(await credentials.prune(100)).toBe(1);
      expect(await credentials.get("x509", "good")).toBeUndefined();
      expect(await credentials.prune(101)).toBe(1);
      expect(names(await credentials.revoked(0))).toEqual(["x509:b"]);
    });
  });

  describe("places in status lists", () => {
    const text = ({ list, index }: StatusPlace) => `${list}/${index}`;

    it("gives 500 parallel callers as many places, in no order that one could guess", async () => {
      const places = await Promise.all(
        Array.from({ length: 500 }, () => subject.store.credentials.reserveStatus(1000)),
      );
      expect(new Set(places.map(text)).size).toBe(500);
      expect(places.every(({ list, index }) => list === 0 && index >= 0 && index < 2 ** 17)).toBe(true);
      const indexes = places.map(({ index }) => index);
      expect(Math.max(...indexes) - Math.min(...indexes)).toBeGreaterThan(2 ** 16);
      expect(indexes).not.toEqual(indexes.toSorted((a, b) => a - b));
    });

    it("counts the lists that were begun", async () => {
      expect(await subject.store.credentials.statusLists()).toBe(0);
      await subject.store.credentials.reserveStatus(1000);
      await subject.store.credentials.reserveStatus(1000);
      expect(await subject.store.credentials.statusLists()).toBe(1);
      expect(await (await subject.reopen()).credentials.statusLists()).toBe(1);
    });

    it("remembers taken places over a restart, and frees them once they have expired", async () => {
      const first = await subject.store.credentials.reserveStatus(100);
      const again = await subject.reopen();
      const others = [];
      for (let n = 0; n < 50; n++) others.push(await again.credentials.reserveStatus(1000));
      expect(others.map(text)).not.toContain(text(first));
      await again.credentials.prune(100);
      await again.credentials.prune(101);
      expect((await again.credentials.reserveStatus(1000)).list).toBe(0);
    });
  });
}
