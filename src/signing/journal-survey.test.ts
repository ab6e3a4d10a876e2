import fc from "fast-check";
import { expect, it } from "vitest";
import type { ManagedKey } from "../plugin/key-manager.ts";
import type { AuthorityRecord, AuthorityState } from "../store/records.ts";
import { surveyJournal } from "./journal-survey.ts";

const NOW = 1_800_000_000;
const states: readonly AuthorityState[] = ["prepared", "active", "old", "tainted", "revoked"];
const key = (id: string, publicKey: number): ManagedKey => ({
  id,
  type: "ec-p256",
  publicKey: Uint8Array.of(publicKey),
  sign: () => new Uint8Array(),
});
const record = fc.record<AuthorityRecord>({
  id: fc.uuid(),
  kind: fc.constant("x509"),
  state: fc.constantFrom(...states),
  serverId: fc.constant("one"),
  keyId: fc.constantFrom("A", "B"),
  publicKey: fc.integer({ min: 0, max: 3 }).map((n) => Uint8Array.of(n)),
  chain: fc.constant([]),
  notBefore: fc.integer({ min: NOW - 1000, max: NOW + 200 }),
  notAfter: fc.integer({ min: NOW - 500, max: NOW + 500 }),
  changedAt: fc.constant(NOW),
});
const keys = fc
  .record({ A: fc.option(fc.integer({ min: 0, max: 3 })), B: fc.option(fc.integer({ min: 0, max: 3 })) })
  .map(
    (made) =>
      new Map(Object.entries(made).flatMap(([id, n]) => (n === null ? [] : [[id, key(id, n)] as const]))),
  );

it("goes on only with what can sign now, and retires every other living authority with its reason", () => {
  fc.assert(
    fc.property(fc.array(record, { maxLength: 6 }), keys, (records, held) => {
      const { active, prepared, retired } = surveyJournal(records, held, NOW);
      for (const [state, found] of [
        ["active", active],
        ["prepared", prepared],
      ] as const) {
        if (found === undefined) continue;
        expect(found.record.state).toBe(state);
        expect(found.record.notAfter).toBeGreaterThan(NOW);
        expect(found.record.notBefore).toBeLessThanOrEqual(NOW + 60);
        expect(found.key).toBe(held.get(found.record.keyId));
        expect(found.key.publicKey).toEqual(found.record.publicKey);
      }
      const living = records.filter(({ state }) => state === "active" || state === "prepared");
      const going = [active, prepared].flatMap((found) => (found === undefined ? [] : [found.record]));
      expect(new Set([...going, ...retired.map((one) => one.record)])).toEqual(new Set(living));
      expect(going.length + retired.length).toBe(living.length);
      for (const { record: one, reason } of retired) {
        const fits = held.get(one.keyId)?.publicKey[0] === one.publicKey[0];
        const isAhead = one.notBefore > NOW + 60;
        const usable = fits ? "superseded" : "key-missing";
        const expected = one.notAfter <= NOW ? "expired" : isAhead ? "not-yet-valid" : usable;
        expect(reason).toBe(expected);
        if (expected !== "superseded") continue;
        const other = going.find(({ state }) => state === one.state);
        expect(other?.notBefore).toBeGreaterThanOrEqual(one.notBefore);
      }
    }),
    { numRuns: 2000 },
  );
});
