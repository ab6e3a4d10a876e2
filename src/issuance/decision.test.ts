import { describe, expect, it } from "vitest";
import { FakeAudit } from "../../test/fakes/issuance-bench.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { Caller } from "./caller.ts";
import { callerFacts, decision, outcomeOf, recorded } from "./decision.ts";

const EVENTS = { issued: "svid.x509.issued", refused: "svid.denied" } as const;
const CALLER: Caller = { address: "192.0.2.1" };

describe("a decision", () => {
  it("keeps facts noted before it failed, later ones in place of earlier", async () => {
    const { record } = await decision(setUp(), EVENTS, CALLER, { entry_id: "first" }, (draft) => {
      draft.note({ entry_id: "second", spiffe_id: "spiffe://example.org/a", reasons: ["seen"] });
      throw new AssayError("POLICY_DENIED", "not now");
    });
    expect(record).toEqual({
      event: "svid.denied",
      outcome: "denied",
      decision_id: "id",
      code: "POLICY_DENIED",
      caller_address: "192.0.2.1",
      entry_id: "second",
      spiffe_id: "spiffe://example.org/a",
      reasons: ["seen", "not now"],
    });
  });

  it("turns what is no AssayError into INTERNAL with the decision's id", async () => {
    const decided = await decision(setUp(), EVENTS, CALLER, {}, () => {
      throw new TypeError("x is undefined");
    });
    expect(decided.error).toMatchObject({ code: "INTERNAL", detail: "x is undefined (decision id)" });
    expect(decided.record.outcome).toBe("failed");
  });

  it("leaves errors for the caller as they are", async () => {
    const error = new AssayError("INVALID_CSR", "CSR is empty");
    const decided = await decision(setUp(), EVENTS, CALLER, {}, () => Promise.reject(error));
    expect(decided.error).toBe(error);
    expect(() => outcomeOf(decided)).toThrowCode("INVALID_CSR");
  });

  it("is not given away unless its record was written", async () => {
    const options = setUp();
    const decided = await decision(options, EVENTS, CALLER, {}, () => "svid");
    expect(options.audit.writes).toBe(0);
    options.audit.broken = true;
    expect(() => recorded(options, [decided])).toThrowCode("AUDIT_UNAVAILABLE");
    options.audit.broken = false;
    expect(recorded(options, [decided]).map(outcomeOf)).toEqual(["svid"]);
  });
});

describe("the caller in a record", () => {
  it.each<[string, Caller, object]>([
    ["nobody known", { address: "" }, {}],
    [
      "a process without a path",
      { address: "", process: { pid: 1, uid: 2, gid: 3 } },
      { caller_pid: 1, caller_uid: 2, caller_gid: 3 },
    ],
    ["an address", { address: "192.0.2.1" }, { caller_address: "192.0.2.1" }],
  ])("is %s", (_, caller, facts) => {
    expect(callerFacts(caller)).toEqual(facts);
  });
});

function setUp() {
  return { audit: new FakeAudit(), newDecisionId: () => "id" };
}
