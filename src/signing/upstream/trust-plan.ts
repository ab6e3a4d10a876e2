import { hash } from "node:crypto";
import { readCertificate } from "../../crypto/certificate-reader.ts";
import type { JwtAuthorityKey, SpiffeBundle, X509AuthorityCertificate } from "../../spiffe/bundle.ts";
import type { AuthorityRecord } from "../../store/records.ts";
import type { CheckedRoot } from "./check-answer.ts";

/** What is trusted upstream, as it was told and checked. */
export interface TrustNews {
  /** All of them; none where there is no upstream authority any longer. */
  readonly roots: readonly CheckedRoot[];
  /** All JWT authorities upstream; `undefined` where nothing was said of them. */
  readonly jwtKeys?: readonly JwtAuthorityKey[] | undefined;
  /** Ids of JWT authorities of ours that are not in the journal yet. */
  readonly ownKeys?: ReadonlySet<string>;
}

/** What is to be written so that the own bundle follows what is trusted upstream. */
export interface TrustPlan {
  readonly put: readonly AuthorityRecord[];
  readonly delete: readonly string[];
  edit(bundle: SpiffeBundle): SpiffeBundle;
}

/** The server's name in records of what is trusted upstream; those of servers are UUIDs. */
export const UPSTREAM = "upstream";

/** Whether a record is about something upstream, not about an authority of ours. */
export function isUpstream({ serverId }: Pick<AuthorityRecord, "serverId">): boolean {
  return serverId === UPSTREAM;
}

/** The id of the root that an authority's chain leads to: a subject key identifier in hex; `undefined` if self-signed. */
export function upstreamIdOf({ kind, chain }: Pick<AuthorityRecord, "kind" | "chain">): string | undefined {
  const last = chain.at(-1);
  if (kind !== "x509" || last === undefined) return undefined;
  const { subject, issuer, authorityKeyId } = readCertificate(last);
  if (Buffer.compare(subject, issuer) === 0 || authorityKeyId === undefined) return undefined;
  return Buffer.from(authorityKeyId).toString("hex");
}

/** Whether a record is about a certificate of the same key as a root, by the key itself or by its identifier. */
export function isSameKey(
  record: AuthorityRecord,
  { id, publicKey }: Pick<CheckedRoot, "id" | "publicKey">,
): boolean {
  return rootIdOf(record) === id || Buffer.compare(record.publicKey, publicKey) === 0;
}

/** The subject key identifier of the root that a record upstream is about, in hex. */
export function rootIdOf({ chain: [root] }: Pick<AuthorityRecord, "chain">): string {
  return root === undefined ? "" : Buffer.from(readCertificate(root).subjectKeyId ?? []).toString("hex");
}

/**
 * What has to change. A root that is new upstream is added; one that is tainted there is marked as soon as no authority that
 * signs chains to it; one that is there no longer goes when no unexpired authority of ours chains to it, and at once where it was tainted there before, for then it was
 * revoked. What an operator revoked here stays away, whoever lists it and
 * with whatever certificate of the same key. JWT authorities are as upstream has them, but for our own.
 * @param stored Every record of the journal, of all servers.
 * @param now Unix seconds.
 * @param past The time, in Unix seconds, by which something may be let go of for good: not later than `now`, and not ahead with it.
 */
export function planTrust(
  stored: readonly AuthorityRecord[],
  news: TrustNews,
  now: number,
  past: number,
): TrustPlan {
  const steps: Steps = { put: [], delete: [], edits: [] };
  planRoots(stored, news.roots, { now, past }, steps);
  planKeys(stored, news, now, steps);
  return {
    put: steps.put,
    delete: steps.delete,
    edit: (bundle) => steps.edits.reduce((edited, edit) => edit(edited), bundle),
  };
}

/** Marks the roots of an id: still trusted, and what chains to them is to be replaced. */
export function planTaint(roots: readonly AuthorityRecord[], now: number): TrustPlan {
  return {
    put: roots.map((root) => ({ ...root, state: "tainted", changedAt: now })),
    delete: [],
    edit: (bundle) => roots.reduce((edited, { chain }) => withRoot(edited, chain[0], true), bundle),
  };
}

/** Takes the roots of an id out of the bundle for good. */
export function planRevocation(roots: readonly AuthorityRecord[], now: number): TrustPlan {
  return {
    put: roots.map((root) => ({ ...root, state: "revoked", changedAt: now })),
    delete: [],
    edit: (bundle) => roots.reduce((edited, { chain }) => withoutRoot(edited, chain[0]), bundle),
  };
}

interface Steps {
  readonly put: AuthorityRecord[];
  readonly delete: string[];
  readonly edits: ((bundle: SpiffeBundle) => SpiffeBundle)[];
}

function planRoots(
  stored: readonly AuthorityRecord[],
  roots: readonly CheckedRoot[],
  { now, past }: { readonly now: number; readonly past: number },
  steps: Steps,
): void {
  const known = new Map(
    stored
      .filter((record) => isUpstream(record) && record.kind === "x509")
      .map((record) => [record.id, record]),
  );
  const own = stored.filter((record) => !isUpstream(record)).flatMap(({ chain }) => chain.slice(0, 1));
  const signing = idsInUse(
    stored.filter(({ state }) => state === "active"),
    now,
  );
  // Read once: there may be hundreds of roots, each compared with all.
  const identified = [...known.values()].map((record) => ({
    record,
    of: rootIdOf(record),
    publicKey: record.publicKey,
  }));
  const listed = new Set<string>();
  // One that has ended since it was told would come back each time that it is forgotten.
  for (const root of roots.filter(({ notAfter }) => notAfter > now)) {
    // Were an authority of ours taken for one of theirs, they could take it out of the bundle.
    if (own.some((certificate) => Buffer.compare(certificate, root.certificate) === 0)) continue;
    const id = `upstream-x509-${hash("sha256", root.certificate, "hex")}`;
    if (listed.has(id)) continue;
    listed.add(id);
    const before = known.get(id);
    if (before?.state === "revoked") continue;
    // It is the key that is no longer trusted; certificates of it can be renewed.
    const twins = identified
      .filter(({ of, publicKey }) => of === root.id || Buffer.compare(publicKey, root.publicKey) === 0)
      .map(({ record }) => record);
    if (twins.some(({ state }) => state === "revoked")) {
      // Written down, as the record of the certificate that was revoked is forgotten when that has ended.
      steps.put.push(rootRecord(id, root, "revoked", before, now));
      steps.edits.push((bundle) => withoutRoot(bundle, root.certificate));
      continue;
    }
    const isTainted = root.tainted || twins.some(({ state }) => state === "tainted");
    const isNews =
      before === undefined ||
      (root.tainted && before.keyId !== TAINTED_THERE) ||
      (isTainted && before.state === "active");
    if (isNews) steps.put.push(rootRecord(id, root, isTainted ? "tainted" : "active", before, now));
    // Agents replace once what chains to a marked root. Were it marked before another signs, they would get the same again.
    const isMarked = isTainted && !signing.has(root.id);
    // Looked at even where nothing is new: the bundle may have lost it to somebody's edit.
    steps.edits.push((bundle) => withRoot(bundle, root.certificate, isMarked));
  }
  // A day more than they live, as our own authorities stay for a day more.
  const inUse = idsInUse(stored, past - MARGIN_SECONDS);
  for (const record of known.values()) {
    // What has ended is forgotten with what other servers left behind.
    if (listed.has(record.id) || record.notAfter <= now || record.state === "revoked") continue;
    if (record.state === "tainted" && record.keyId === TAINTED_THERE) {
      steps.put.push({ ...record, state: "revoked", changedAt: now });
    } else if (!inUse.has(rootIdOf(record))) {
      steps.delete.push(record.id);
    } else continue;
    steps.edits.push((bundle) => withoutRoot(bundle, record.chain[0]));
  }
}

function planKeys(
  stored: readonly AuthorityRecord[],
  { jwtKeys: keys, ownKeys = new Set() }: TrustNews,
  now: number,
  steps: Steps,
): void {
  const own = new Set([...ownKeys, ...stored.filter((record) => !isUpstream(record)).map(({ id }) => id)]);
  const known = new Map(
    stored
      .filter((record) => isUpstream(record) && record.kind === "jwt")
      .map((record) => [record.id, record]),
  );
  const revoked = stored.filter(({ state }) => state === "revoked").map(({ publicKey }) => publicKey);
  const listed = new Set<string>();
  for (const key of keys ?? []) {
    const id = `upstream-jwt-${key.keyId}`;
    if (own.has(key.keyId) || listed.has(id)) continue;
    // Left out of what is listed, so that one that came in before it was revoked goes.
    if (revoked.some((publicKey) => Buffer.compare(publicKey, key.publicKey) === 0)) continue;
    listed.add(id);
    const before = known.get(id);
    // It would come back each time that it is forgotten.
    if (before === undefined && key.expiresAt !== 0 && key.expiresAt <= now) continue;
    const state = key.tainted ? "tainted" : "active";
    if (before?.state !== state) {
      steps.put.push({
        id,
        kind: "jwt",
        state,
        serverId: UPSTREAM,
        keyId: key.keyId,
        publicKey: key.publicKey,
        chain: [],
        notBefore: before?.notBefore ?? now,
        notAfter: key.expiresAt === 0 ? LAST_SECOND : key.expiresAt,
        changedAt: now,
      });
    }
    steps.edits.push((bundle) => withKey(bundle, key));
  }
  for (const record of known.values()) {
    if (keys === undefined || listed.has(record.id)) continue;
    steps.delete.push(record.id);
    // It may have been heard of upstream before we wrote it down as our own.
    if (!own.has(record.keyId)) steps.edits.push((bundle) => withoutKey(bundle, record.keyId));
  }
}

function rootRecord(
  id: string,
  root: CheckedRoot,
  state: AuthorityRecord["state"],
  before: AuthorityRecord | undefined,
  now: number,
): AuthorityRecord {
  return {
    id,
    kind: "x509",
    state,
    serverId: UPSTREAM,
    keyId: root.tainted ? TAINTED_THERE : "",
    publicKey: root.publicKey,
    chain: [root.certificate],
    notBefore: root.notBefore,
    notAfter: root.notAfter,
    changedAt: before?.state === "tainted" ? before.changedAt : now,
  };
}

/** The roots that unexpired authorities of any server of ours chain to. */
function idsInUse(stored: readonly AuthorityRecord[], now: number): ReadonlySet<string> {
  const ids = new Set<string>();
  for (const record of stored) {
    if (isUpstream(record) || record.state === "revoked" || record.notAfter <= now) continue;
    const id = upstreamIdOf(record);
    if (id !== undefined) ids.add(id);
  }
  return ids;
}

function withRoot(bundle: SpiffeBundle, certificate: Uint8Array | undefined, tainted: boolean): SpiffeBundle {
  if (certificate === undefined) return bundle;
  const held = bundle.x509Authorities.find((one) => isOf(one, certificate));
  if (held === undefined) {
    return { ...bundle, x509Authorities: [...bundle.x509Authorities, { certificate, tainted }] };
  }
  // What is tainted stays so until it is revoked.
  if (!tainted || held.tainted) return bundle;
  return {
    ...bundle,
    x509Authorities: bundle.x509Authorities.map((one) => (one === held ? { ...one, tainted } : one)),
  };
}

function withoutRoot(bundle: SpiffeBundle, certificate: Uint8Array | undefined): SpiffeBundle {
  const left = bundle.x509Authorities.filter((one) => certificate === undefined || !isOf(one, certificate));
  return left.length === bundle.x509Authorities.length ? bundle : { ...bundle, x509Authorities: left };
}

function withKey(bundle: SpiffeBundle, key: JwtAuthorityKey): SpiffeBundle {
  const held = bundle.jwtAuthorities.find(({ keyId }) => keyId === key.keyId);
  if (held === undefined) {
    // A WIT authority may not share its id with another key (WIT-SVID §6.1).
    const isTaken = bundle.witAuthorities.some(({ keyId }) => keyId === key.keyId);
    return isTaken ? bundle : { ...bundle, jwtAuthorities: [...bundle.jwtAuthorities, key] };
  }
  const isSame = Buffer.compare(held.publicKey, key.publicKey) === 0;
  if (!isSame || !key.tainted || held.tainted) return bundle;
  return {
    ...bundle,
    jwtAuthorities: bundle.jwtAuthorities.map((one) => (one === held ? { ...one, tainted: true } : one)),
  };
}

function withoutKey(bundle: SpiffeBundle, id: string): SpiffeBundle {
  const left = bundle.jwtAuthorities.filter(({ keyId }) => keyId !== id);
  return left.length === bundle.jwtAuthorities.length ? bundle : { ...bundle, jwtAuthorities: left };
}

function isOf({ certificate }: X509AuthorityCertificate, other: Uint8Array): boolean {
  return Buffer.compare(certificate, other) === 0;
}

// A root has no key in a key manager; what stands there says who tainted it, as only then its absence means revocation.
const TAINTED_THERE = "tainted-upstream";
const MARGIN_SECONDS = 86_400;
const LAST_SECOND = 253_402_300_799;
