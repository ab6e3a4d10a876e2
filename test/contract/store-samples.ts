import { ENTRY_DEFAULTS } from "../fakes/entry-defaults.ts";
import { parseSpiffeId, type SpiffeId } from "../../src/spiffe/id.ts";
import { canonicalSelectors, parseSelector } from "../../src/spiffe/selector.ts";
import { parseTrustDomain } from "../../src/spiffe/trust-domain.ts";
import type { AuthorityRecord, EntryContent, NodeRecord } from "../../src/store/records.ts";
import type { NewEntry, Store } from "../../src/store/store.ts";
import type { CredentialRecord, NewTask } from "../../src/store/task-store.ts";

/** The trust domain that every store under the contract suite is opened for. */
export const OWN = parseTrustDomain("example.org");
/** A foreign trust domain. */
export const FOREIGN = parseTrustDomain("partner.example");

/** An ID of the own trust domain. */
export function id(path: string): SpiffeId {
  return parseSpiffeId(`spiffe://${OWN}${path}`);
}

/** A small valid content. */
export function content(path: string, change: Partial<EntryContent> = {}): EntryContent {
  return {
    spiffeId: id(path),
    parentId: id("/spire/agent/x509pop/1"),
    selectors: [{ type: "unix", value: "uid:1000" }],
    ...ENTRY_DEFAULTS,
    ...change,
  };
}

/** A content in which no field has its default. */
export function fullContent(path: string): EntryContent {
  return {
    spiffeId: id(path),
    parentId: id("/parent"),
    selectors: selectors("k8s:ns:a", "unix:uid:0", "unix:path:/bin/a:b c\u00e9\u{1f511}"),
    x509SvidTtl: 2 ** 31 - 1,
    jwtSvidTtl: 300,
    federatesWith: [FOREIGN],
    admin: true,
    downstream: true,
    storeSvid: true,
    expiresAt: Number.MAX_SAFE_INTEGER,
    dnsNames: ["b.example.org", "a.example.org"],
    hint: "internal \u{1f4a1}",
    disableX509SvidPrefetch: true,
    jwtSvidIncludeJti: true,
    idTemplate: "/ci/{repository_id}",
    maxTaskDuration: 3600,
    exchangeAudiences: ["https://a.example", "https://b.example"],
    svidKeyType: "rsa-4096",
  };
}

/** An entry to create. */
export function newEntry(entryId: string, change: Partial<EntryContent> = {}): NewEntry {
  return { id: entryId, createdAt: 1_700_000_000, content: content(`/workload/${entryId}`, change) };
}

/** Canonical selectors from texts. */
export function selectors(...texts: string[]) {
  return canonicalSelectors(texts.map(parseSelector));
}

/** A node as it stands after attestation. */
export function node(name: string, change: Partial<NodeRecord> = {}): Omit<NodeRecord, "ordinal" | "banned"> {
  return {
    id: id(`/spire/agent/x509pop/${name}`),
    attestationType: "x509pop",
    selectors: selectors("x509pop:subject:cn:a", "x509pop:ca:fingerprint:00"),
    canReattest: true,
    serial: "0a",
    expiresAt: 1_700_003_600,
    pendingSerial: "",
    pendingExpiresAt: 0,
    attestedAt: 1_700_000_000,
    agentVersion: "1.0.0",
    ...change,
  };
}

/** An authority. */
export function authority(name: string, change: Partial<AuthorityRecord> = {}): AuthorityRecord {
  return {
    id: name,
    kind: "x509",
    state: "active",
    serverId: "server-1",
    keyId: `x509-${name}`,
    publicKey: Uint8Array.of(0x30, 0, 255),
    chain: [Uint8Array.of(1, 2, 3), Uint8Array.of()],
    notBefore: 1_700_000_000,
    notAfter: 1_700_086_400,
    changedAt: 1_700_000_001,
    ...change,
  };
}

/** A federated bundle. */
export function foreignBundle(sequence = 1n, trustDomain = FOREIGN) {
  return {
    trustDomain,
    sequence,
    refreshHint: 300,
    x509Authorities: [{ certificate: Uint8Array.of(0x30, 1, 2), tainted: false }],
    jwtAuthorities: [
      { keyId: "k1", publicKey: Uint8Array.of(0x30, 9), expiresAt: 1_800_000_000, tainted: true },
    ],
    witAuthorities: [{ keyId: "w1", publicKey: Uint8Array.of(0x30, 7), expiresAt: 0, tainted: false }],
  };
}

/** A task to open, of the run of its own name. */
export function task(taskId: string): NewTask {
  return {
    id: taskId,
    key: `github-acme:${taskId}`,
    attestor: "github-acme",
    platform: "github-actions",
    issuer: "https://token.actions.githubusercontent.com",
    description: `run ${taskId}`,
    granularity: "job",
    keyThumbprint: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I",
    selectors: selectors("github:repository_id:1"),
    guarded: [],
    claims: { repository_id: "1", run_id: taskId },
    authoredClaims: [],
    openedAt: 40,
    lease: 60,
    leaseExpiresAt: 100,
    hardEnd: 21_640,
  };
}

/** Something that was issued. */
export function credential(
  credentialId: string,
  change: Partial<CredentialRecord> = {},
): Omit<CredentialRecord, "revokedAt" | "reason"> {
  return {
    kind: "x509",
    id: credentialId,
    authorityId: "0a",
    spiffeId: id("/ci"),
    entryId: "",
    taskId: "",
    parent: "",
    issuedAt: 50,
    expiresAt: 150,
    ...change,
  };
}

/** The newest rows of the change log after this sequence, as `kind operation key`. */
export async function changesAfter(store: Store, sequence: number): Promise<string[]> {
  const rows = await store.changes.since(sequence, 10_000);
  return (rows ?? []).map((row) => `${row.kind} ${row.operation} ${row.key}`);
}
