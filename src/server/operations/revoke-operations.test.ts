import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeCertificate, makeKey } from "../../../test/fakes/certificates.ts";
import { RevocationWorld, type RevocationServer, WORLD } from "../../../test/fakes/revocation-world.ts";
import { sampleTask } from "../../../test/fakes/task.ts";
import { unixSeconds } from "../../clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { readCertificate } from "../../crypto/certificate-reader.ts";
import type { AuditRecord, StoredAuditRecord } from "../../observe/audit-record.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import type { OperatorCall } from "./operator-call.ts";
import { type RevokeOperations, revokeOperations } from "./revoke-operations.ts";

const web = parseSpiffeId(`spiffe://${WORLD}/web`);
const agent = parseSpiffeId(`spiffe://${WORLD}/spire/agent/x509pop/1`);
const call: OperatorCall = { caller: { address: "" }, method: "POST /v1/revocations" };

let world: RevocationWorld;
let server: RevocationServer;
let operations: RevokeOperations;
let log: StoredAuditRecord[];
let written: AuditRecord[];
let banned: string[];
let settled: Error | undefined;
let ended: string[];
let longest: number;

beforeEach(async () => {
  world = new RevocationWorld();
  server = await world.server();
  log = [];
  written = [];
  banned = [];
  settled = undefined;
  ended = [];
  longest = 86_400;
  operations = revokeOperations({
    revocation: server.revocation,
    publisher: {
      settle: () => (settled === undefined ? server.publisher.settle() : Promise.reject(settled)),
    },
    taskIssuance: {
      end: (_caller, id, reason) => {
        if (id !== "t") return Promise.reject(new AssayError("TASK_NOT_FOUND", `there is no task ${id}`));
        ended.push(`${id} ${reason}`);
        return Promise.resolve({ first: true, revoked: [], task: { id, endReason: reason } as never });
      },
    },
    agents: {
      banAgent: (_call, id) => {
        if (id !== agent) return Promise.reject(new AssayError("AGENT_NOT_FOUND", "not attested"));
        banned.push(id);
        return Promise.resolve({ id } as never);
      },
    },
    ownBundle: () => server.signing.bundle(),
    credentials: world.store.credentials,
    searchAudit: ({ field, value, since = 0 }) =>
      Promise.resolve(
        log.filter((record) => record[field] === value && Date.parse(record.time) >= since * 1000),
      ),
    longestLife: () => longest,
    clock: world.clock,
    audit: { append: (records) => void written.push(...records) },
  });
});

afterEach(() => world[Symbol.asyncDispose]());

function logged(change: Partial<StoredAuditRecord>): void {
  log.unshift({
    seq: log.length + 1,
    prev: "",
    time: new Date(world.clock.now()).toISOString(),
    event: "svid.x509.issued",
    outcome: "issued",
    spiffe_id: web,
    authority_id: server.authorityId,
    entry_id: "e",
    agent_id: agent,
    expires_at: unixSeconds(world.clock) + 3600,
    ...change,
  });
}

const listed = async () => [...((await world.lists()).get(server.authorityId)?.revoked ?? [])];

describe("revoking an SVID", () => {
  it("finds by its serial number in the audit log what it has to know, and has it published", async () => {
    logged({ event: "svid.x509.delivered", serial: "0a", outcome: "issued" });
    logged({ serial: "0a" });
    const outcome = await operations.revokeCredential(call, { serial: "0a" }, "keyCompromise");
    expect(outcome).toMatchObject({
      isPublished: true,
      revoked: [{ kind: "x509", id: "0a", spiffeId: web, entryId: "e", reason: "keyCompromise" }],
    });
    expect(await listed()).toEqual(["0a"]);
    expect(written).toMatchObject([
      {
        event: "svid.revoked",
        outcome: "done",
        serial: "0a",
        spiffe_id: web,
        authority_id: server.authorityId,
        reason: "keyCompromise",
        method: "POST /v1/revocations",
      },
    ]);
  });

  it("does nothing the second time, and says so", async () => {
    logged({ serial: "0a" });
    await operations.revokeCredential(call, { serial: "0a" }, "keyCompromise");
    const again = await operations.revokeCredential(call, { serial: "0a" }, "superseded");
    expect(again).toEqual({ revoked: [], isPublished: true, isIncomplete: false });
    expect(written).toHaveLength(1);
    expect(server.revocation.find("x509", "0a")?.reason).toBe("keyCompromise");
  });

  it("ends the task where it is the token by which a job speaks for its task", async () => {
    const now = unixSeconds(world.clock);
    await world.store.tasks.open(sampleTask("t", now), { replayKey: "r", until: now + 600 });
    const { authorityId } = server;
    const token = { kind: "access_token", authorityId, entryId: "", taskId: "t", issuedAt: now } as const;
    const good = { ...token, expiresAt: now + 3600 };
    const own = parseSpiffeId(`spiffe://${WORLD}/spire/task/github/t`);
    await world.store.credentials.record([{ ...good, id: "own", spiffeId: own, parent: "" }]);
    await world.store.credentials.record([
      { ...good, id: "exchanged", spiffeId: web, parent: "access_token:own" },
    ]);
    const one = await operations.revokeCredential(call, { tokenId: "exchanged" }, "superseded");
    expect(one.revoked).toMatchObject([{ id: "exchanged" }]);
    expect(ended).toEqual([]);
    await operations.revokeCredential(call, { tokenId: "own" }, "superseded");
    expect(ended).toEqual(["t operator"]);
  });

  it("takes the certificate itself, where an authority of the bundle signed it", async () => {
    const [authority] = server.signing.bundle().x509Authorities;
    const key = makeKey();
    const { certificate } = await server.signing
      .signX509Svid(
        server.signing.prepareX509Svid({ spiffeId: web, publicKey: key.spki, dnsNames: [], ttl: 600 }),
      )
      .then(({ certificate: der }) => ({ certificate: der }));
    const { revoked } = await operations.revokeCredential(call, { certificate }, "unspecified");
    expect(revoked).toMatchObject([{ spiffeId: web, authorityId: server.authorityId }]);
    expect(await listed()).toEqual(revoked.map(({ id }) => id));
    const foreignKey = makeKey();
    const foreign = makeCertificate({
      subject: "svid",
      key: makeKey(),
      uris: [web],
      issuer: { key: foreignKey, certificate: readCertificate(authority?.certificate ?? new Uint8Array()) },
    });
    await expect(
      operations.revokeCredential(call, { certificate: foreign.der }, "unspecified"),
    ).rejects.toThrowCode("INVALID_CERTIFICATE", /signed by no X\.509 authority of example\.org/);
  });

  it("takes an operator's word for what is known nowhere, of an authority that is ours", async () => {
    const facts = { serial: "0f", spiffeId: web, expiresAt: unixSeconds(world.clock) + 60 };
    await expect(
      operations.revokeCredential(call, { ...facts, authorityId: "aabb" }, "unspecified"),
    ).rejects.toThrowCode("AUTHORITY_NOT_FOUND", /aabb/);
    const own = { ...facts, authorityId: server.authorityId };
    expect((await operations.revokeCredential(call, own, "unspecified")).revoked).toHaveLength(1);
    expect(await listed()).toEqual(["0f"]);
  });

  it.each([
    ["serial number", { serial: "0a" }],
    ["token id", { tokenId: "j" }],
  ])("refuses a %s of which nothing is known", async (_, target) => {
    logged({ serial: "0a", outcome: "denied" });
    await expect(operations.revokeCredential(call, target, "unspecified")).rejects.toThrowCode(
      "NOT_FOUND",
      /neither in the store nor in the audit log/,
    );
    expect(written).toEqual([]);
  });

  it("refuses one that has expired", async () => {
    logged({ serial: "0a", expires_at: unixSeconds(world.clock) });
    await expect(operations.revokeCredential(call, { serial: "0a" }, "unspecified")).rejects.toThrowCode(
      "PRECONDITION_FAILED",
      /expired at 2026/,
    );
  });

  it.each([
    ["svid.jwt.issued", "jwt"],
    ["svid.wit.issued", "wit"],
    ["token.issued", "access_token"],
  ] as const)("revokes by the id of a token what %s says", async (event, kind) => {
    logged({ event, jti: "j" });
    const { revoked } = await operations.revokeCredential(call, { tokenId: "j" }, "unspecified");
    expect(revoked).toMatchObject([{ kind, id: "j" }]);
    expect(server.revocation.isRevoked(kind, "j")).toBe(true);
    expect(written).toMatchObject([{ event: "token.revoked", jti: "j" }]);
  });

  it("says that it is not out yet where it cannot be published, and it is revoked all the same", async () => {
    logged({ serial: "0a" });
    settled = new Error("away");
    const outcome = await operations.revokeCredential(call, { serial: "0a" }, "unspecified");
    expect(outcome).toMatchObject({ isPublished: false, revoked: [{ id: "0a" }] });
    expect(server.revocation.isRevoked("x509", "0a")).toBe(true);
  });
});

describe("revoking an agent", () => {
  it("bans it, and revokes its SVID and all that came through it and has not expired", async () => {
    logged({ event: "node.attested", serial: "01", spiffe_id: agent });
    logged({ event: "node.renewed", serial: "02", spiffe_id: agent });
    logged({ serial: "03" });
    logged({ event: "svid.jwt.issued", jti: "j" });
    logged({ serial: "04", expires_at: unixSeconds(world.clock) });
    logged({ serial: "05", agent_id: `${agent}0` });
    logged({ serial: "06", outcome: "denied", event: "svid.denied" });
    const outcome = await world.passing(operations.revokeAgent(call, agent, "keyCompromise"));
    expect(banned).toEqual([agent]);
    expect(outcome.revoked.map(({ kind, id }) => `${kind}:${id}`).toSorted()).toEqual([
      "jwt:j",
      "x509:01",
      "x509:02",
      "x509:03",
    ]);
    expect(outcome).toMatchObject({ isPublished: true, isIncomplete: false });
    expect((await listed()).toSorted()).toEqual(["01", "02", "03"]);
    expect(written.map(({ event }) => event).toSorted()).toEqual([
      "svid.revoked",
      "svid.revoked",
      "svid.revoked",
      "token.revoked",
    ]);
    expect((await operations.revokeAgent(call, agent, "keyCompromise")).revoked).toEqual([]);
  });

  it("looks back for as long as SVIDs live by now", async () => {
    const time = new Date(world.clock.now() - 2 * 86_400_000).toISOString();
    logged({ serial: "07", time });
    expect((await operations.revokeAgent(call, agent, "keyCompromise")).revoked).toEqual([]);
    longest = 3 * 86_400;
    const { revoked } = await world.passing(operations.revokeAgent(call, agent, "keyCompromise"));
    expect(revoked.map(({ id }) => id)).toEqual(["07"]);
  });

  it("refuses one that is not attested here", async () => {
    const other = parseSpiffeId(`spiffe://${WORLD}/spire/agent/x509pop/2`);
    await expect(operations.revokeAgent(call, other, "unspecified")).rejects.toThrowCode("AGENT_NOT_FOUND");
  });
});

describe("revoking a task", () => {
  it("ends it and has its end published", async () => {
    expect(await operations.revokeTask(call, "t")).toMatchObject({ isPublished: true });
    await expect(operations.revokeTask(call, "u")).rejects.toThrowCode("TASK_NOT_FOUND");
  });
});
