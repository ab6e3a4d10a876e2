import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fakeEntry } from "../../../test/fakes/agent-server.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { AuditRecord } from "../../observe/audit-record.ts";
import { SelectorIndex } from "../../registry/match.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import { WorkloadRecorder } from "./issuance-record.ts";
import { judge, withUniqueHints, type WorkloadQuestion } from "./verdict.ts";
import type { WorkloadEntry } from "./workload-entry.ts";

const web = parseSpiffeId("spiffe://example.org/web");
const db = parseSpiffeId("spiffe://example.org/db");
const now = 1_800_000_000;

function indexOf(...entries: WorkloadEntry[]): SelectorIndex<WorkloadEntry> {
  const index = new SelectorIndex<WorkloadEntry>();
  for (const entry of entries) index.put(entry);
  return index;
}

function question(changes: Partial<WorkloadQuestion> = {}): WorkloadQuestion {
  return {
    requestId: "r",
    method: "SpiffeWorkloadAPI/FetchX509SVID",
    at: now * 1000,
    event: "x509_svid.issue",
    process: { pid: 7, uid: 1, gid: 1 },
    evidence: { selectors: [{ type: "unix", value: "uid:1" }], answered: 1, faults: [] },
    ...changes,
  };
}

function ids(verdict: ReturnType<typeof judge>): readonly string[] {
  return verdict.granted ? verdict.entries.map(({ id }) => id) : [];
}

describe("the verdict", () => {
  it("grants what the selectors earn, the oldest first whatever the ids", () => {
    const entries = [
      fakeEntry(web, 1, { id: "z", createdAt: 1 }),
      fakeEntry(db, 1, { id: "a", createdAt: 2 }),
      fakeEntry(db, 1, { id: "b", createdAt: 2 }),
      fakeEntry(db, 2, { id: "c", createdAt: 0 }),
    ];
    fc.assert(
      fc.property(fc.shuffledSubarray(entries, { minLength: 4 }), (shuffled) => {
        expect(ids(judge(question(), indexOf(...shuffled)))).toEqual(["z", "a", "b"]);
      }),
    );
  });

  it("grants nothing by entries that have expired or that are served elsewhere", () => {
    expect(judge(question(), indexOf(fakeEntry(web, 1, { expiresAt: now })))).toMatchObject({
      granted: false,
      code: "NO_IDENTITY_ISSUED",
    });
    expect(judge(question(), indexOf(fakeEntry(web, 1, { storeSvid: true }))).granted).toBe(false);
    expect(judge(question(), indexOf(fakeEntry(web, 1, { expiresAt: now + 1 }))).granted).toBe(true);
  });

  it("grants the wanted identity alone, and denies it alike whether it exists or not", () => {
    const index = indexOf(fakeEntry(web, 1, { id: "1" }), fakeEntry(db, 2, { id: "2" }));
    expect(ids(judge(question({ wanted: web }), index))).toEqual(["1"]);
    const held = judge(question({ wanted: db }), index);
    const never = judge(question({ wanted: parseSpiffeId("spiffe://example.org/never") }), index);
    expect(held).toMatchObject({ granted: false, code: "NO_IDENTITY_ISSUED" });
    expect(never).toMatchObject({ granted: false, code: "NO_IDENTITY_ISSUED" });
  });

  it("says what kept the nearest entries from matching", () => {
    const near = fakeEntry(web, 1, {
      selectors: [
        { type: "unix", value: "gid:9" },
        { type: "unix", value: "uid:1" },
      ],
    });
    expect(judge(question(), indexOf(near))).toMatchObject({
      nearMisses: [{ entry: near, missing: [{ type: "unix", value: "gid:9" }] }],
    });
  });

  it("calls it trouble where no attestor could answer, whatever would match", () => {
    const evidence = { selectors: [], answered: 0, faults: [{ attestor: "unix", detail: "no /proc" }] };
    expect(judge(question({ evidence }), indexOf(fakeEntry(web, 1)))).toMatchObject({
      granted: false,
      code: "WORKLOAD_ATTESTATION_FAILED",
      detail: "every attestor failed: unix: no /proc",
    });
  });

  it("leaves a repeated hint to the first entry, and empty hints alone", () => {
    const entries = ["x", "", "x", "", "y"].map((hint, i) => fakeEntry(web, 1, { id: `${i}`, hint }));
    expect(withUniqueHints(entries).map(({ id }) => id)).toEqual(["0", "1", "3", "4"]);
  });
});

describe("the record of a decision", () => {
  it("is written before the error for the caller is there, which tells no reason", () => {
    const records: AuditRecord[] = [];
    const recorder = new WorkloadRecorder({
      append: (added) => records.push(...added),
      newId: () => "d-1",
      onDecision: () => undefined,
    });
    const error = recorder.refused(question({ wanted: db }), {
      code: "NO_IDENTITY_ISSUED",
      detail: "no registration entry matches the selectors",
      nearMisses: [{ entry: fakeEntry(web, 1, { id: "1" }), missing: [{ type: "unix", value: "gid:9" }] }],
    });
    expect(error.detail).toBe("no identity issued (decision d-1)");
    expect(records).toMatchObject([
      {
        event: "svid.denied",
        outcome: "denied",
        decision_id: "d-1",
        selectors: ["unix:uid:1"],
        reasons: [
          "no registration entry matches the selectors",
          "entry 1 (spiffe://example.org/web) also demands unix:gid:9",
        ],
      },
    ]);
  });

  it("that cannot be written is an error in place of the answer", () => {
    const recorder = new WorkloadRecorder({
      append: () => {
        throw new AssayError("AUDIT_UNAVAILABLE", "disk full");
      },
      newId: () => "d",
      onDecision: () => expect.unreachable(),
    });
    const delivered = { entry: fakeEntry(web, 1), authorityId: "a", serial: "1", expiresAt: 1 };
    expect(() => recorder.delivered(question(), [delivered])).toThrowCode("AUDIT_UNAVAILABLE");
    expect(() => recorder.bundlesDelivered(question(), ["example.org"])).toThrowCode("AUDIT_UNAVAILABLE");
    const refusal = { code: "NO_IDENTITY_ISSUED", detail: "", nearMisses: [] } as const;
    expect(() => recorder.refused(question(), refusal)).toThrowCode("AUDIT_UNAVAILABLE");
  });
});
