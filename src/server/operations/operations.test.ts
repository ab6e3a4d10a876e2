import { beforeEach, describe, expect, it } from "vitest";
import { makeKey } from "../../../test/fakes/certificates.ts";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { sampleBundle } from "../../../test/fakes/web-app.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { AuditRecord } from "../../observe/audit-record.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import type { AuthorityRecord, EntryRecord, NodeRecord } from "../../store/records.ts";
import type { OperatorCall } from "./operator-call.ts";
import { createOperations, type Operations, type OperationsOptions } from "./operations.ts";

const own = parseTrustDomain("example.org");
const agent = parseSpiffeId("spiffe://example.org/spire/agent/x509pop/one");
const call: OperatorCall = {
  caller: { address: "", process: { pid: 9, uid: 0, gid: 0, path: "/usr/bin/assay" } },
  method: "spire.api.server.entry.v1.Entry/BatchCreateEntry",
};
const local = {
  outcome: "done",
  method: call.method,
  caller_pid: 9,
  caller_uid: 0,
  caller_gid: 0,
  caller_path: "/usr/bin/assay",
};
let audit: AuditRecord[][];
let fails: boolean;

beforeEach(() => {
  audit = [];
  fails = false;
});

describe("operations", () => {
  it("write the records of a batch by one call, for what was changed only", async () => {
    const refused = new AssayError("ALREADY_EXISTS", "similar entry already exists");
    const operations = makeOperations({
      entries: {
        createEntries: () =>
          Promise.resolve([
            { entry: entry("a") },
            { entry: entry("b"), error: refused },
            { entry: entry("c") },
          ]),
        updateEntries: () => Promise.resolve([{ error: refused }, { entry: entry("d") }]),
        deleteEntries: () => Promise.resolve([{ id: "e" }, { id: "f", error: refused }]),
      },
    });
    expect(await operations.createEntries(call, [])).toHaveLength(3);
    await operations.updateEntries(call, []);
    await operations.deleteEntries(call, []);
    expect(audit.map((batch) => batch.map(({ event, entry_id }) => [event, entry_id]))).toEqual([
      [
        ["entry.created", "a"],
        ["entry.created", "c"],
      ],
      [["entry.updated", "d"]],
      [["entry.deleted", "e"]],
    ]);
    expect(audit[0]?.[0]).toMatchObject({
      ...local,
      selectors: ["unix:uid:1"],
      reasons: ["admin", "downstream"],
    });
  });

  it("write nothing where nothing was changed", async () => {
    const operations = makeOperations({});
    await operations.createEntries(call, []);
    await operations.updateEntries(call, []);
    await operations.deleteEntries(call, []);
    await operations.purgeAgents(call, { expiredBefore: 1 });
    await expect(operations.evictAgent(call, agent)).rejects.toThrowCode("AGENT_NOT_FOUND");
    await expect(operations.banAgent(call, agent)).rejects.toThrowCode("AGENT_NOT_FOUND");
    expect(audit).toEqual([]);
  });

  it("write down who was evicted, banned and purged", async () => {
    const operations = makeOperations({
      nodes: {
        evict: () => Promise.resolve([true]),
        ban: () => Promise.resolve({ id: agent, attestationType: "x509pop" } as NodeRecord),
        purge: () => Promise.resolve([agent]),
        createJoinToken: () => Promise.resolve({ token: "secret-token", expiresAt: 5 }),
      },
    });
    await operations.evictAgent(call, agent);
    await operations.banAgent(call, agent);
    await operations.purgeAgents(call, { expiredBefore: 1 });
    await operations.createJoinToken(call, { ttl: 5, aliasId: parseSpiffeId("spiffe://example.org/node") });
    expect(audit.flat()).toEqual([
      { event: "node.evicted", ...local, agent_id: agent },
      { event: "node.banned", ...local, agent_id: agent, attestor: "x509pop" },
      { event: "node.purged", ...local, agent_id: agent },
      { event: "token.created", ...local, expires_at: 5, spiffe_id: "spiffe://example.org/node" },
    ]);
    expect(JSON.stringify(audit)).not.toContain("secret-token");
  });

  it("write down bundles that were set, deleted and added to", async () => {
    const operations = makeOperations({});
    const theirs = sampleBundle(parseTrustDomain("partner.example"));
    await operations.setFederatedBundle(call, theirs, "set");
    await operations.deleteFederatedBundle(call, theirs.trustDomain, "restrict");
    await operations.deleteFederatedBundle(call, theirs.trustDomain, "delete");
    await operations.appendBundle(call, { x509Authorities: [makeKey().spki], jwtAuthorities: [] });
    expect(audit.flat()).toEqual([
      { event: "bundle.changed", ...local, trust_domain: "partner.example" },
      { event: "bundle.deleted", ...local, trust_domain: "partner.example" },
      {
        event: "bundle.deleted",
        ...local,
        trust_domain: "partner.example",
        reasons: ["entries that name it: delete"],
      },
      { event: "bundle.changed", ...local, trust_domain: "example.org" },
    ]);
  });

  it("write down which authorities were moved", async () => {
    const operations = makeOperations({});
    await operations.prepareAuthority(call, "x509");
    await operations.activateAuthority(call, "jwt", "b");
    await operations.taintAuthority(call, "wit", "c");
    await operations.revokeAuthority(call, "x509", "d");
    expect(audit.flat()).toEqual(
      [
        ["prepared", "next", "x509"],
        ["activated", "b", "jwt"],
        ["tainted", "c", "wit"],
        ["revoked", "d", "x509"],
      ].map(([event, id, kind]) => ({
        event: `authority.${event ?? ""}`,
        ...local,
        authority_id: id,
        expires_at: 9,
        reasons: [kind],
      })),
    );
  });

  it("leave the own bundle alone where a federated one is meant", async () => {
    const operations = makeOperations({});
    await expect(operations.setFederatedBundle(call, sampleBundle(own), "set")).rejects.toThrowCode(
      "INVALID_BUNDLE",
    );
    await expect(operations.deleteFederatedBundle(call, own, "delete")).rejects.toThrowCode("INVALID_BUNDLE");
    expect(audit).toEqual([]);
  });

  it("answer nothing that could not be written down", async () => {
    fails = true;
    const operations = makeOperations({
      entries: {
        createEntries: () => Promise.resolve([{ entry: entry("a") }]),
        updateEntries: () => Promise.resolve([{ entry: entry("a") }]),
        deleteEntries: () => Promise.resolve([{ id: "a" }]),
      },
      nodes: {
        evict: () => Promise.resolve([true]),
        ban: () => Promise.resolve({ id: agent, attestationType: "x509pop" } as NodeRecord),
        purge: () => Promise.resolve([agent]),
        createJoinToken: () => Promise.resolve({ token: "t", expiresAt: 5 }),
      },
    });
    const theirs = sampleBundle(parseTrustDomain("partner.example"));
    const changes = [
      () => operations.createEntries(call, []),
      () => operations.updateEntries(call, []),
      () => operations.deleteEntries(call, []),
      () => operations.evictAgent(call, agent),
      () => operations.banAgent(call, agent),
      () => operations.purgeAgents(call, { expiredBefore: 1 }),
      () => operations.createJoinToken(call, { ttl: 5 }),
      () => operations.setFederatedBundle(call, theirs, "set"),
      () => operations.deleteFederatedBundle(call, theirs.trustDomain, "restrict"),
      () => operations.appendBundle(call, { x509Authorities: [], jwtAuthorities: [] }),
      () => operations.prepareAuthority(call, "x509"),
      () => operations.activateAuthority(call, "jwt", "a"),
      () => operations.taintAuthority(call, "wit", "a"),
      () => operations.revokeAuthority(call, "x509", "a"),
    ];
    for (const change of changes) await expect(change()).rejects.toThrowCode("AUDIT_UNAVAILABLE");
  });
});

function makeOperations(options: Partial<OperationsOptions>): Operations {
  return createOperations({
    trustDomain: own,
    entries: {
      createEntries: () => Promise.resolve([]),
      updateEntries: () => Promise.resolve([]),
      deleteEntries: () => Promise.resolve([]),
    },
    nodes: {
      evict: () => Promise.resolve([false]),
      ban: () => Promise.resolve(undefined),
      purge: () => Promise.resolve([]),
      createJoinToken: () => Promise.reject(new AssayError("INVALID_REQUEST", "ttl: too small")),
    },
    bundles: { put: (bundle) => Promise.resolve(bundle), delete: () => Promise.resolve() },
    signing: {
      appendToBundle: () => Promise.resolve(sampleBundle(own)),
      publishJwtAuthority: (key) => Promise.resolve([key]),
      publishWitAuthority: (key) => Promise.resolve([key]),
      prepareAuthority: (kind) => Promise.resolve(authority(kind, "next")),
      activateAuthority: (kind, id) => Promise.resolve(authority(kind, id ?? "next")),
      taintAuthority: (kind, id) => Promise.resolve(authority(kind, id)),
      revokeAuthority: (kind, id) => Promise.resolve(authority(kind, id)),
      taintUpstreamAuthority: (id) => Promise.resolve({ id, notAfter: 1 }),
      revokeUpstreamAuthority: (id) => Promise.resolve({ id, notAfter: 1 }),
    },
    ownAuthorities: () => Promise.resolve(new Set()),
    crls: {
      list: () => Promise.resolve([]),
      put: () => Promise.resolve(),
      delete: () => Promise.resolve(false),
    },
    bundleOf: () => undefined,
    clock: new FakeClock(),
    audit: {
      append(records) {
        if (fails) throw new AssayError("AUDIT_UNAVAILABLE", "disk full");
        audit.push([...records]);
      },
    },
    ...options,
  });
}

function authority(kind: AuthorityRecord["kind"], id: string): AuthorityRecord {
  return {
    id,
    kind,
    state: "old",
    serverId: "one",
    keyId: "key",
    publicKey: new Uint8Array(),
    chain: [],
    notBefore: 0,
    notAfter: 9,
    changedAt: 0,
  };
}

function entry(id: string): EntryRecord {
  return {
    id,
    revision: 0,
    createdAt: 0,
    ordinal: 1,
    spiffeId: parseSpiffeId(`spiffe://example.org/${id}`),
    parentId: agent,
    selectors: [{ type: "unix", value: "uid:1" }],
    x509SvidTtl: 0,
    jwtSvidTtl: 0,
    federatesWith: [],
    admin: true,
    downstream: true,
    storeSvid: false,
    expiresAt: 0,
    dnsNames: [],
    hint: "",
    disableX509SvidPrefetch: false,
    jwtSvidIncludeJti: false,
    idTemplate: "",
    maxTaskDuration: 0,
    exchangeAudiences: [],
    svidKeyType: "",
  };
}
