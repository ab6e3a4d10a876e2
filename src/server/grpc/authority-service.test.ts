import { createLocalJWKSet, decodeProtectedHeader, jwtVerify } from "jose";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { makeCsr } from "../../../test/fakes/issuance-csr.ts";
import { TestAgent } from "../../../test/fakes/server-agent.ts";
import { ServerBench } from "../../../test/fakes/server-bench.ts";
import { UpstreamFiles } from "../../../test/fakes/upstream-files.ts";
import { wireEntry } from "../../../test/fakes/server-wire.ts";
import { readCertificate } from "../../crypto/certificate-reader.ts";
import { jwkSet } from "../../crypto/jose/jwk.ts";
import { validateX509Svid } from "../../crypto/x509-svid.ts";
import { LocalAuthority } from "../../proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts";

const KINDS = ["X509", "JWT", "WIT"] as const;
type Kind = (typeof KINDS)[number];

let bench: ServerBench;
beforeAll(async () => {
  bench = await ServerBench.start({ features: ["wit-svid"] });
});
afterAll(() => bench[Symbol.asyncDispose]());

const service = () => bench.admin.service(LocalAuthority);
const states = (kind: Kind) => service()[`get${kind}AuthorityState`]({});
const prepare = async (kind: Kind) =>
  (await service()[`prepare${kind}Authority`]({})).preparedAuthority?.authorityId ?? "";
const activate = async (kind: Kind, authorityId: string) =>
  (await service()[`activate${kind}Authority`]({ authorityId })).activatedAuthority?.authorityId;
const taint = async (kind: Kind, authorityId: string) =>
  (await service()[`taint${kind}Authority`]({ authorityId })).taintedAuthority?.authorityId;
const revoke = async (kind: Kind, authorityId: string) =>
  (await service()[`revoke${kind}Authority`]({ authorityId })).revokedAuthority?.authorityId;

/** What the bundle says of the keys of a kind: their taint marks. */
async function published(kind: Kind): Promise<readonly boolean[]> {
  const bundle = await bench.bundles.getBundle({});
  const lists = { X509: bundle.x509Authorities, JWT: bundle.jwtAuthorities, WIT: bundle.witAuthorities };
  return lists[kind].map(({ tainted }) => tainted);
}

const sequence = async () => (await bench.bundles.getBundle({})).sequenceNumber;

describe.each(KINDS)("%s authorities", (kind) => {
  it("go through their states by hand, each step in the bundle and the audit log", async () => {
    const first = (await states(kind)).active?.authorityId ?? "";
    const recordsBefore = bench.audit().length;
    const before = await sequence();

    const second = await prepare(kind);
    expect(await states(kind)).toMatchObject({
      active: { authorityId: first },
      prepared: { authorityId: second },
    });
    expect(await published(kind)).toEqual([false, false]);
    expect(await sequence()).toBe(before + 1n);

    expect(await activate(kind, second)).toBe(second);
    const activated = await states(kind);
    expect(activated).toMatchObject({ active: { authorityId: second }, old: { authorityId: first } });
    expect(activated.prepared).toBeUndefined();
    expect(await sequence()).toBe(before + 1n);

    expect(await taint(kind, first)).toBe(first);
    expect(await published(kind)).toEqual([true, false]);
    expect(await sequence()).toBe(before + 2n);

    expect(await revoke(kind, first)).toBe(first);
    expect(await published(kind)).toEqual([false]);
    expect(await sequence()).toBe(before + 3n);

    const moves = bench
      .audit()
      .slice(recordsBefore)
      .filter(({ event }) => String(event).startsWith("authority."));
    const name = kind.toLowerCase();
    expect(moves.map(({ event, authority_id }) => [event, authority_id])).toEqual([
      ["authority.prepared", second],
      ["authority.activated", second],
      ["authority.tainted", first],
      ["authority.revoked", first],
    ]);
    for (const move of moves) {
      expect(move).toMatchObject({ outcome: "done", caller_uid: process.getuid?.(), reasons: [name] });
      expect(move["method"]).toContain(`${kind}Authority`);
    }
  });

  it("are replaced in the prepared place, and answer what does not fit their state", async () => {
    const { active } = await states(kind);
    const overwritten = await prepare(kind);
    const prepared = await prepare(kind);
    expect((await states(kind)).prepared?.authorityId).toBe(prepared);
    await expect(activate(kind, overwritten)).rejects.toMatchObject({ status: "NOT_FOUND" });
    await expect(activate(kind, active?.authorityId ?? "")).rejects.toMatchObject({ status: "NOT_FOUND" });
    for (const id of [active?.authorityId ?? "", prepared]) {
      await expect(taint(kind, id)).rejects.toMatchObject({ status: "FAILED_PRECONDITION" });
      await expect(revoke(kind, id)).rejects.toMatchObject({ status: "FAILED_PRECONDITION" });
    }
    await activate(kind, prepared);
    const old = active?.authorityId ?? "";
    await expect(revoke(kind, old)).rejects.toMatchObject({
      status: "FAILED_PRECONDITION",
      detail: `${kind.toLowerCase()} authority ${old} is old, expected one that is tainted`,
    });
    for (const step of [activate, taint, revoke]) {
      await expect(step(kind, "")).rejects.toMatchObject({
        status: "INVALID_ARGUMENT",
        detail: "missing authority ID",
      });
      await expect(step(kind, "nobody")).rejects.toMatchObject({ status: "NOT_FOUND" });
    }
  });
});

it("answers that there is no upstream authority", async () => {
  const request = { subjectKeyId: "00" };
  for (const call of [
    () => service().taintX509UpstreamAuthority(request),
    () => service().revokeX509UpstreamAuthority(request),
  ]) {
    await expect(call()).rejects.toMatchObject({ status: "FAILED_PRECONDITION" });
  }
});

describe("with an upstream authority", () => {
  let server: ServerBench;
  let place: UpstreamFiles;
  beforeAll(async () => {
    place = await UpstreamFiles.make();
    server = await ServerBench.start({ upstreamAuthority: { type: "disk", config: place.config } });
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    await place[Symbol.asyncDispose]();
  });

  it("an operator changes the root, and taints and revokes the old one; who attests meanwhile is not cut off", async () => {
    const authorities = server.admin.service(LocalAuthority);
    const before = await authorities.getX509AuthorityState({});
    const oldRoot = before.active?.upstreamAuthoritySubjectKeyId ?? "";
    expect(oldRoot).toBe(place.rootId);
    await place.renew();
    const { preparedAuthority: prepared } = await authorities.prepareX509Authority({});
    expect(prepared?.upstreamAuthoritySubjectKeyId).toBe(place.rootId);
    await authorities.activateX509Authority({ authorityId: prepared?.authorityId ?? "" });
    await expect(
      authorities.taintX509Authority({ authorityId: before.active?.authorityId ?? "" }),
    ).rejects.toMatchObject({ status: "FAILED_PRECONDITION" });
    await expect(
      authorities.taintX509UpstreamAuthority({ subjectKeyId: place.rootId }),
    ).rejects.toMatchObject({
      status: "FAILED_PRECONDITION",
    });
    await expect(authorities.taintX509UpstreamAuthority({ subjectKeyId: "" })).rejects.toMatchObject({
      status: "INVALID_ARGUMENT",
    });
    await expect(authorities.revokeX509UpstreamAuthority({ subjectKeyId: oldRoot })).rejects.toMatchObject({
      status: "FAILED_PRECONDITION",
    });
    expect(
      await authorities.taintX509UpstreamAuthority({ subjectKeyId: oldRoot.toUpperCase() }),
    ).toMatchObject({
      upstreamAuthoritySubjectKeyId: oldRoot,
    });
    const marks = (await server.bundles.getBundle({})).x509Authorities.map(({ tainted }) => tainted);
    expect(marks).toEqual([true, false]);
    // The server shows an SVID that chains to the new root by now, and gives one that does.
    const agent = await TestAgent.attest(server);
    await authorities.revokeX509UpstreamAuthority({ subjectKeyId: oldRoot });
    expect(await server.authorities()).toHaveLength(1);
    await agent.entries.getAuthorizedEntries({});
    expect(server.audit()).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ event: "authority.tainted", authority_id: oldRoot }),
        expect.objectContaining({ event: "authority.revoked", authority_id: oldRoot }),
      ]),
    );
  });
});

it("lets an operator taint and revoke the root of an upstream authority that is configured no longer", async () => {
  await using place = await UpstreamFiles.make();
  await using server = await ServerBench.start({
    upstreamAuthority: { type: "disk", config: place.config },
  });
  await server.stop();
  await server.start({ upstreamAuthority: undefined });
  const authorities = server.admin.service(LocalAuthority);
  const { preparedAuthority: prepared } = await authorities.prepareX509Authority({});
  await authorities.activateX509Authority({ authorityId: prepared?.authorityId ?? "" });
  const subjectKeyId = place.rootId;
  await expect(authorities.taintX509UpstreamAuthority({ subjectKeyId: "00" })).rejects.toMatchObject({
    status: "NOT_FOUND",
  });
  await authorities.taintX509UpstreamAuthority({ subjectKeyId });
  const marked = (await server.bundles.getBundle({})).x509Authorities.filter(({ tainted }) => tainted);
  expect(marked).toHaveLength(1);
  await authorities.revokeX509UpstreamAuthority({ subjectKeyId });
  const { x509Authorities } = await server.bundles.getBundle({});
  const ids = x509Authorities.map(({ asn1 }) =>
    Buffer.from(readCertificate(asn1).subjectKeyId ?? []).toString("hex"),
  );
  expect(ids).not.toContain(subjectKeyId);
});

describe("a rotation by hand", () => {
  let server: ServerBench;
  let agent: TestAgent;
  let entryId: string;
  beforeAll(async () => {
    server = await ServerBench.start();
    agent = await TestAgent.attest(server);
    const { results } = await server.entries.batchCreateEntry({ entries: [wireEntry("web", agent.id)] });
    entryId = results[0]?.entry?.id ?? "";
  });
  afterAll(() => server[Symbol.asyncDispose]());

  const authorities = () => server.admin.service(LocalAuthority);

  it("is seamless for X509-SVIDs: each chains to a bundle that was there before it", async () => {
    const issue = async () => {
      const { results } = await agent.svids.batchNewX509SVID({ params: [{ entryId, csr: makeCsr() }] });
      return (results[0]?.svid?.certChain ?? []).map((certificate) => readCertificate(certificate));
    };
    const before = await issue();
    const { preparedAuthority: prepared } = await authorities().prepareX509Authority({});
    const roots = (await server.authorities()).map((certificate) => readCertificate(certificate));
    await authorities().activateX509Authority({ authorityId: prepared?.authorityId ?? "" });
    const after = await issue();
    for (const chain of [before, after]) {
      expect(validateX509Svid(chain, roots, Date.now() / 1000).spiffeId).toBe("spiffe://example.org/web");
    }
    expect(Buffer.from(after[0]?.authorityKeyId ?? []).toString("hex")).toBe(prepared?.authorityId);
  });

  it("keeps agents that renew while the old authority is tainted, and no others when it is revoked", async () => {
    const late = await TestAgent.attest(server);
    const { preparedAuthority: prepared } = await authorities().prepareX509Authority({});
    const activeBefore = (await authorities().getX509AuthorityState({})).active?.authorityId ?? "";
    await authorities().activateX509Authority({ authorityId: prepared?.authorityId ?? "" });
    await authorities().taintX509Authority({ authorityId: activeBefore });
    await agent.entries.getAuthorizedEntries({});
    await late.entries.getAuthorizedEntries({});
    const renewed = await agent.renew();
    await renewed.entries.getAuthorizedEntries({});
    await authorities().revokeX509Authority({ authorityId: activeBefore });
    agent = renewed;
    await agent.entries.getAuthorizedEntries({});
    await expect(late.entries.getAuthorizedEntries({})).rejects.toMatchObject({ status: "UNAUTHENTICATED" });
    // Its connection is cut a moment later: clients that have a new SVID by then connect with that one.
    await vi.waitFor(
      () => expect(late.entries.getAuthorizedEntries({})).rejects.toMatchObject({ status: "UNAVAILABLE" }),
      { timeout: 10_000, interval: 100 },
    );
    await agent.entries.getAuthorizedEntries({});
  });

  it("is seamless for JWT-SVIDs: each verifies by keys that were there before it", async () => {
    const token = async () => (await agent.svids.newJWTSVID({ entryId, audience: ["db"] })).svid?.token ?? "";
    const before = await token();
    const { preparedAuthority: prepared } = await authorities().prepareJWTAuthority({});
    const { jwtAuthorities } = await server.bundles.getBundle({});
    const { keys } = jwkSet(jwtAuthorities.map(({ keyId, publicKey }) => ({ keyId, spki: publicKey })));
    await authorities().activateJWTAuthority({ authorityId: prepared?.authorityId ?? "" });
    const after = await token();
    const published = createLocalJWKSet({ keys: [...keys] });
    for (const each of [before, after]) await jwtVerify(each, published, { audience: "db" });
    expect(decodeProtectedHeader(after).kid).toBe(prepared?.authorityId);
  });
});

it("goes on with what was moved after a restart", async () => {
  await using server = await ServerBench.start();
  const authorities = () => server.admin.service(LocalAuthority);
  const first = (await authorities().getJWTAuthorityState({})).active?.authorityId ?? "";
  const { preparedAuthority } = await authorities().prepareJWTAuthority({});
  const authorityId = preparedAuthority?.authorityId ?? "";
  await authorities().activateJWTAuthority({ authorityId });
  await authorities().taintJWTAuthority({ authorityId: first });
  await server.stop();
  await server.start();
  expect(await authorities().getJWTAuthorityState({})).toMatchObject({
    active: { authorityId },
    old: { authorityId: first },
  });
  const { jwtAuthorities } = await server.bundles.getBundle({});
  expect(jwtAuthorities.map(({ keyId, tainted }) => [keyId, tainted])).toEqual([
    [first, true],
    [authorityId, false],
  ]);
});
