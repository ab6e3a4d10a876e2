import { beforeEach, describe, expect, it } from "vitest";
import { TEST_NOW } from "../../../test/fakes/certificates.ts";
import { webBench, withSvid } from "../../../test/fakes/web-app.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import type { RevokeOperations, RevokeOutcome } from "../operations/revoke-operations.ts";

const agent = parseSpiffeId("spiffe://example.org/spire/agent/x/1");
const web = "spiffe://example.org/web";
const task = "5c7bcb0e-31d5-44f7-b1a1-3bb0a8a1a7f0";

let asked: unknown[];
const answer = (...what: unknown[]): Promise<RevokeOutcome> => {
  asked.push(what);
  const times = { issuedAt: TEST_NOW, expiresAt: TEST_NOW + 60, revokedAt: TEST_NOW };
  const names = {
    kind: "x509",
    id: "0a",
    authorityId: "aa",
    spiffeId: agent,
    entryId: "",
    taskId: "",
  } as const;
  const revoked = [{ ...names, ...times, parent: "", reason: "superseded" }];
  return Promise.resolve({ revoked, isPublished: true, isIncomplete: false });
};
const revokeOperations: RevokeOperations = {
  revokeTask: (_call, id) => answer("task", id),
  revokeAgent: (_call, id, reason) => answer("agent", id, reason),
  revokeCredential: (_call, target, reason) => answer("svid", target, reason),
};

beforeEach(() => {
  asked = [];
});

async function post(body: unknown, caller = withSvid()) {
  await using bench = await webBench({ revokeOperations });
  bench.caller = caller;
  return await bench.send("POST", "/v1/revocations", body);
}

describe("POST /v1/revocations", () => {
  it.each<[string, object, unknown]>([
    ["a task", { task_id: task }, ["task", task]],
    ["an agent", { agent_id: agent, reason: "keyCompromise" }, ["agent", agent, "keyCompromise"]],
    ["a serial number", { serial: "00:0A:Bc" }, ["svid", { serial: "0abc" }, "unspecified"]],
    ["an odd number of digits", { serial: "abc" }, ["svid", { serial: "0abc" }, "unspecified"]],
    // The list would not be signed that names a serial number with leading zero octets.
    ["leading zeros", { serial: "0000a" }, ["svid", { serial: "0a" }, "unspecified"]],
    ["a token", { token_id: task, reason: "superseded" }, ["svid", { tokenId: task }, "superseded"]],
    [
      "what is known nowhere",
      { serial: "0a", authority_id: "aa", spiffe_id: web, expires_at: "2027-01-31T12:00:00Z" },
      ["svid", { serial: "0a", authorityId: "aa", spiffeId: web, expiresAt: 1_801_396_800 }, "unspecified"],
    ],
  ])("revokes %s", async (_, body, expected) => {
    expect(await post(body)).toMatchObject({
      status: 200,
      body: {
        revoked: [{ kind: "x509", id: "0a", reason: "superseded" }],
        published: true,
        incomplete: false,
      },
    });
    expect(asked).toEqual([expected]);
  });

  it.each<[string, object, number]>([
    ["nothing", {}, 400],
    ["two things", { task_id: task, serial: "0a" }, 400],
    ["facts without a serial number", { token_id: "j", authority_id: "aa" }, 400],
    ["some of the facts", { serial: "0a", authority_id: "aa" }, 400],
    ["a serial number that is none", { serial: "0x0a" }, 400],
    ["a serial number without a digit", { serial: ":" }, 400],
    ["a serial number of zero", { serial: "000" }, 400],
    ["a serial number of 21 octets", { serial: "ab".repeat(21) }, 400],
    ["a reason that is none", { serial: "0a", reason: "certificateHold" }, 400],
    ["a task that cannot be", { task_id: "1" }, 400],
    ["an agent that cannot be", { agent_id: "x" }, 400],
    ["a certificate that is none", { certificate: "-----BEGIN CERTIFICATE-----" }, 400],
    ["another member", { serial: "0a", force: true }, 400],
    ["a path in place of an id", { token_id: "../x" }, 400],
  ])("refuses %s", async (_, body, status) => {
    expect((await post(body)).status).toBe(status);
    expect(asked).toEqual([]);
  });

  it("is for operators alone", async () => {
    expect((await post({ serial: "0a" }, withSvid(parseSpiffeId(web)))).status).toBe(403);
    expect((await post({ serial: "0a" }, { address: "192.0.2.9" })).status).toBe(401);
    expect(asked).toEqual([]);
  });
});
