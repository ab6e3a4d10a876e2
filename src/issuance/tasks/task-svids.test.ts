import { decodeJwt } from "jose";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeKey } from "../../../test/fakes/certificates.ts";
import { makeCsr, makeGreedyCsr } from "../../../test/fakes/issuance-csr.ts";
import { STRANGER, TaskBench } from "../../../test/fakes/task-bench.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import { spkiThumbprint } from "../../crypto/jose/thumbprint.ts";
import type { TaskRecord } from "../../store/task-store.ts";

let world: TaskBench;

beforeEach(async () => {
  world = await TaskBench.open({ wit: true });
});
afterEach(() => world[Symbol.asyncDispose]());

const last = () => world.bench.audit.records.at(-1);
const x509 = (task: TaskRecord, spiffeId?: string) =>
  world.issuance.x509Svid(world.caller(task), {
    csr: makeCsr(),
    ...(spiffeId !== undefined && { spiffeId: parseSpiffeId(spiffeId) }),
  });
const jwt = (task: TaskRecord, status = false) =>
  world.issuance.jwtSvid(world.caller(task), { audience: ["db"], status });

describe("an X509-SVID of a task", () => {
  it("is the entry's, with nothing of the request but its key, and ends a little after the lease", async () => {
    const entry = await world.entry({ dnsNames: ["ci.example.org"], x509SvidTtl: 7200 });
    const task = await world.open();
    const key = makeKey();
    const { svid, identity } = await world.issuance.x509Svid(world.caller(task), {
      csr: makeGreedyCsr(["spiffe://example.org/admin"], key),
    });
    const leaf = world.bench.validated(svid.chain);
    expect(identity.spiffeId).toBe("spiffe://example.org/ci/app");
    expect(leaf.subjectAltName).toMatchObject({
      uris: ["spiffe://example.org/ci/app"],
      dnsNames: ["ci.example.org"],
    });
    expect(Buffer.from(leaf.spki)).toEqual(Buffer.from(key.spki));
    expect(svid.notAfter).toBe(task.leaseExpiresAt + 30);
    expect(last()).toMatchObject({
      event: "svid.x509.issued",
      task_id: task.id,
      entry_id: entry.id,
      spiffe_id: "spiffe://example.org/ci/app",
      serial: svid.serial,
      platform: "github-actions",
    });
    expect(await world.store.credentials.ofTask(task.id)).toMatchObject([
      { kind: "x509", id: svid.serial, entryId: entry.id, expiresAt: svid.notAfter, revokedAt: 0 },
    ]);
  });

  it("is good for a lease at most where the clock was set back meanwhile", async () => {
    await world.entry({ x509SvidTtl: 7200 });
    await world.bench.clock.advance(7_200_000);
    const task = await world.open();
    world.bench.clock.step(-3_600_000);
    expect((await x509(task)).svid.notAfter).toBe(world.now + task.lease + 30);
  });

  it("is shorter where the entry says so", async () => {
    await world.entry({ x509SvidTtl: 60 });
    expect((await x509(await world.open())).svid.notAfter).toBe(world.now + 60);
  });

  it("is for the identity that is asked for, if the task has it", async () => {
    await world.entry();
    await world.entry({ spiffeId: "spiffe://example.org/ci/deploy" });
    const task = await world.open();
    expect((await x509(task)).identity.spiffeId).toBe("spiffe://example.org/ci/app");
    expect((await x509(task, "spiffe://example.org/ci/deploy")).svid.spiffeId).toBe(
      "spiffe://example.org/ci/deploy",
    );
    await expect(x509(task, "spiffe://example.org/ci/other")).rejects.toThrowCode("NO_IDENTITY_ISSUED");
    expect(last()).toMatchObject({ event: "svid.denied", spiffe_id: "spiffe://example.org/ci/other" });
  });

  it("is refused once the entry does not match any more", async () => {
    const entry = await world.entry();
    const task = await world.open();
    await x509(task);
    await world.registry.entries.delete([entry.id]);
    await expect(x509(task)).rejects.toThrowCode("NO_IDENTITY_ISSUED", /decision/);
  });

  it("is refused for a signing request that proves nothing", async () => {
    await world.entry();
    const task = await world.open();
    const csr = makeCsr();
    csr[csr.length - 1] = (csr.at(-1) ?? 0) ^ 1;
    await expect(world.issuance.x509Svid(world.caller(task), { csr })).rejects.toThrowCode("INVALID_CSR");
    expect(await world.store.credentials.ofTask(task.id)).toEqual([]);
  });
});

describe("a JWT-SVID of a task", () => {
  it("names the run by what the platform vouches for, and nothing that the author chose", async () => {
    await world.entry();
    const task = await world.open();
    const { svid } = await jwt(task);
    expect(decodeJwt(svid.token)).toMatchObject({
      sub: "spiffe://example.org/ci/app",
      aud: ["db"],
      iss: "https://assay.example.org",
      jti: svid.tokenId,
      exp: task.leaseExpiresAt + 30,
      task: { id: task.id, platform: "github-actions", repository_id: "42", run_id: "7" },
    });
    expect(decodeJwt(svid.token)["task"]).not.toHaveProperty("ref");
    expect(decodeJwt(svid.token)).not.toHaveProperty("status");
    expect(last()).toMatchObject({ event: "svid.jwt.issued", jti: svid.tokenId, audience: ["db"] });
  });

  it("leads to its place in a status list where asked for", async () => {
    await world.entry();
    const task = await world.open();
    const tokens = [(await jwt(task, true)).svid, (await jwt(task, true)).svid];
    const recorded = await world.store.credentials.ofTask(task.id);
    expect(recorded.map(({ id }) => id)).toEqual(tokens.map(({ tokenId }) => tokenId));
    expect(recorded[0]?.status).not.toEqual(recorded[1]?.status);
    for (const [at, { token }] of tokens.entries()) {
      const place = recorded[at]?.status;
      expect(decodeJwt(token)["status"]).toEqual({
        status_list: {
          idx: place?.index,
          uri: `https://assay.example.org/oauth2/status-lists/${String(place?.list)}`,
        },
      });
    }
  });

  it("is issued however much the platform says of the run, and names the run all the same", async () => {
    await world.entry();
    const properties = Array.from({ length: 100 }, (_, n) => [`property_${n}`, "long ".repeat(40)] as const);
    const task = await world.open({
      claims: { ...Object.fromEntries(properties), repository_id: "42", run_id: "7" },
      authoredClaims: [],
    });
    const { svid } = await jwt(task);
    expect(decodeJwt(svid.token)["task"]).toMatchObject({ repository_id: "42", run_id: "7" });
    expect(svid.token.length).toBeLessThan(8192);
  });

  it("is refused without an audience, and for a claim that would take the place of the run's id", async () => {
    await world.entry();
    const task = await world.open({
      claims: { id: "forged", platform: "forged", run_id: "7" },
      authoredClaims: [],
    });
    expect(decodeJwt((await jwt(task)).svid.token)["task"]).toEqual({
      id: task.id,
      platform: "github-actions",
      run_id: "7",
    });
    const none = world.issuance.jwtSvid(world.caller(task), { audience: [], status: false });
    await expect(none).rejects.toThrowCode("INVALID_AUDIENCE");
  });
});

describe("a WIT-SVID of a task", () => {
  const order = (key = makeKey()) => ({ publicKey: key.spki, signingAlgorithm: "ES256" });

  it("is bound to the key that is named", async () => {
    await world.entry();
    const task = await world.open();
    const { svid } = await world.issuance.witSvid(world.caller(task), order());
    expect(svid.expiresAt).toBe(task.leaseExpiresAt + 30);
    expect(await world.store.credentials.ofTask(task.id)).toMatchObject([{ kind: "wit", id: svid.jti }]);
    expect(last()).toMatchObject({ event: "svid.wit.issued", jti: svid.jti });
  });

  it("counts the task's own key as proved", async () => {
    await world.entry();
    const key = makeKey();
    const task = await world.open({}, spkiThumbprint(key.spki));
    const strict = { ...world.options.policy, witProofOfPossession: "required" as const };
    Object.assign(world.options, { policy: strict });
    await world.issuance.witSvid(world.caller(task), order(key));
    await expect(world.issuance.witSvid(world.caller(task), order())).rejects.toThrowCode("POLICY_DENIED");
  });
});

describe("the end of a task", () => {
  it("revokes all that was issued to it, and nothing more is issued", async () => {
    await world.entry();
    const task = await world.open();
    await x509(task);
    await jwt(task, true);
    await world.issuance.end({ address: "192.0.2.8" }, task.id, "job");
    expect(last()).toMatchObject({
      event: "task.ended",
      outcome: "done",
      caller_address: "192.0.2.8",
      task_id: task.id,
      reason: "job",
      reasons: ["revoked 2 of what was issued"],
    });
    for (const credential of await world.store.credentials.ofTask(task.id)) {
      expect(credential).toMatchObject({ revokedAt: world.now, reason: "job" });
    }
    for (const attempt of [
      () => x509(task),
      () => jwt(task),
      () => world.issuance.heartbeat(world.caller(task)),
    ]) {
      await expect(attempt()).rejects.toThrowCode("TASK_OVER");
    }
    const before = world.bench.audit.records.length;
    await world.issuance.end(STRANGER, task.id, "operator");
    expect(world.bench.audit.records).toHaveLength(before);
  });

  it("takes back what is being signed at that moment", async () => {
    await world.entry();
    const task = await world.open();
    const { record } = world.store.credentials;
    const credentials = {
      reserveStatus: world.store.credentials.reserveStatus,
      record: async (...all: Parameters<typeof record>) => {
        await world.tasks.end(task.id, "operator");
        return world.store.credentials.record(...all);
      },
    };
    Object.assign(world.options, { credentials });
    await expect(x509(task)).rejects.toThrowCode("TASK_OVER");
    expect(await world.store.credentials.ofTask(task.id)).toEqual([]);
    expect(last()).toMatchObject({ event: "svid.denied", code: "TASK_OVER" });
  });

  it("comes with the lease, and is written down with what the task was", async () => {
    await world.entry();
    const task = await world.open();
    await world.bench.clock.advance(121_000);
    await world.tasks.catchUp();
    await expect(x509(task)).rejects.toThrowCode("TASK_OVER");
    expect(world.bench.audit.records.find(({ event }) => event === "task.ended")).toMatchObject({
      task_id: task.id,
      reason: "lease",
      claims: ["repository_id=42", "run_id=7"],
      author_claims: ["ref=refs/heads/main"],
    });
  });
});
