import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { openAuditLog } from "../../src/observe/audit-log.ts";
import type { AuditRecord } from "../../src/observe/audit-record.ts";

const folder = mkdtempSync(join(tmpdir(), "assay-audit-bench-"));
const log = openAuditLog({ path: join(folder, "audit.jsonl"), clock: systemClock, fsync: "never" });
let number = 0;

afterAll(async () => {
  await log[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

describe("audit log", () => {
  test("appends one record", async ({ bench }) => {
    await bench("append one record", () => log.append([record(number++)])).run();
  });

  test("appends 50 records by one call", async ({ bench }) => {
    await bench("append 50 records", () =>
      log.append(Array.from({ length: 50 }, () => record(number++))),
    ).run();
  });
});

function record(n: number): AuditRecord {
  return {
    event: "svid.x509.issued",
    outcome: "issued",
    decision_id: `01890a5d-ac96-774b-bcce-${String(n).padStart(12, "0")}`,
    caller_id: "spiffe://example.org/spire/agent/join_token/3f1c9f1e-6a84-4b0e-8f0e-0d4d4f3b8a11",
    caller_address: "127.0.0.1",
    entry_id: "b6a1f1c0-5d1b-4f8e-9a57-2c7d2c1c9d10",
    spiffe_id: "spiffe://example.org/billing/api",
    authority_id: "9f2c4a6b8d0e1f3a5c7e9b1d3f5a7c9e0b2d4f61",
    serial: "6f1d2c3b4a5968778695a4b3c2d1e0f1",
    expires_at: 1_795_352_400,
  };
}
