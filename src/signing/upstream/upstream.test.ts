import { describe, expect, it } from "vitest";
import { unixSeconds } from "../../clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { makeCertificate } from "../../../test/fakes/certificates.ts";
import { SigningWorld } from "../../../test/fakes/signing-world.ts";
import { type FakeRoot, FakeUpstream } from "../../../test/fakes/upstream.ts";
import {
  failed,
  idOf,
  issue,
  open,
  openSigning,
  place,
  roots,
  tainted,
  until,
} from "../../../test/fakes/upstream-world.ts";
import { UPSTREAM } from "./trust-plan.ts";
import { UpstreamTrust } from "./upstream-trust.ts";

const HOUR = 3_600_000;
const down = () => new AssayError("UPSTREAM_UNAVAILABLE", "connection refused");

describe("an X.509 authority that is signed upstream", () => {
  it("puts the root into the bundle and serves itself as an intermediate", async () => {
    const { world, upstream } = await place();
    const signing = await open(world);
    expect(roots(signing)).toEqual([upstream.signer.id]);
    const svid = await issue(signing, world);
    expect(svid.chain).toHaveLength(2);
    const [authority] = signing.authorities().filter(({ kind }) => kind === "x509");
    expect(authority?.chain).toHaveLength(1);
    expect(signing.upstreamIdOf(authority ?? failed())).toBe(upstream.signer.id);
  });

  it("asks with the trust domain as its only name, for the configured life", async () => {
    const { world, upstream } = await place();
    await open(world, { caTtlSeconds: 7200 });
    expect(upstream.orders.map(({ ttl }) => ttl)).toEqual([7200]);
  });

  it("lives as long as the upstream lets it, and is replaced by that life", async () => {
    const { world, upstream } = await place();
    upstream.maxTtl = 3600;
    const signing = await open(world);
    expect(signing.x509AuthorityNotAfter()).toBe(unixSeconds(world.clock) + 3600);
    await world.clock.advance(0.55 * HOUR);
    await until(() => signing.authorityStates("x509").prepared !== undefined);
    await world.clock.advance(0.35 * HOUR);
    await until(() => signing.authorityStates("x509").old !== undefined);
    expect(upstream.orders).toHaveLength(2);
    await issue(signing, world);
  });

  it("goes on after a restart without asking again", async () => {
    const { world, upstream } = await place();
    const first = await openSigning(world);
    const before = first.authorities();
    await first[Symbol.asyncDispose]();
    upstream.failure = down();
    const signing = await open(world);
    expect(signing.authorities()).toEqual(before);
    await issue(signing, world);
  });

  it.each<[string, (upstream: FakeUpstream) => void, "UPSTREAM_UNAVAILABLE" | "UPSTREAM_REFUSED"]>([
    [
      "cannot be reached",
      (upstream) => {
        upstream.failure = down();
      },
      "UPSTREAM_UNAVAILABLE",
    ],
    [
      "throws something",
      (upstream) => {
        upstream.failure = new Error("oops");
      },
      "UPSTREAM_UNAVAILABLE",
    ],
    [
      "answers with another's certificate",
      (upstream) => {
        upstream.bend = ({ roots: trusted }) => ({
          chain: [upstream.makeRoot("x").certificate.der],
          roots: trusted,
        });
      },
      "UPSTREAM_REFUSED",
    ],
  ])("keeps a server without any authority from starting where the upstream %s", async (_, spoil, code) => {
    const { world, upstream } = await place();
    spoil(upstream);
    await expect(openSigning(world)).rejects.toThrowCode(code);
    expect(world.told()).toContain(`upstream-failed mint ${code}`);
  });

  it("signs on to its end where the upstream is down, which is asked ever less often and told of", async () => {
    const { world, upstream } = await place();
    const signing = await open(world);
    world.told();
    upstream.failure = down();
    const asked = upstream.orders.length;
    await world.clock.advance(13 * HOUR);
    await until(() => world.told().includes("upstream-failed mint UPSTREAM_UNAVAILABLE"));
    const attempts = upstream.orders.length - asked;
    expect(attempts).toBeGreaterThan(3);
    expect(attempts).toBeLessThan(40);
    expect(signing.upstream().isConfigured).toBe(true);
    expect(signing.upstream().failing.toSorted()).toEqual(["mint", "publish"]);
    await issue(signing, world);
    upstream.failure = undefined;
    await world.clock.advance(0.2 * HOUR);
    await until(() => signing.authorityStates("x509").prepared !== undefined);
    await until(() => signing.upstream().failing.length === 0);
    expect(world.told()).toContain("upstream-recovered mint");
  });

  it("makes one key for all attempts, not one for each", async () => {
    const { world, upstream } = await place();
    const generated: string[] = [];
    const { generateKey } = world.keyManager;
    world.keyManager.generateKey = (id, type) => {
      generated.push(id);
      return generateKey.call(world.keyManager, id, type);
    };
    await open(world);
    upstream.failure = down();
    generated.length = 0;
    await world.clock.advance(13 * HOUR);
    await until(() => upstream.orders.length > 3);
    expect(generated.filter((id) => id.startsWith("x509"))).toHaveLength(1);
  });

  it("is replaced by one that signed itself where there is no upstream any longer, and the root goes when nothing chains to it", async () => {
    const { world, upstream } = await place();
    const first = await openSigning(world);
    await first[Symbol.asyncDispose]();
    world.upstream = undefined;
    const signing = await open(world);
    await world.clock.advance(0.3 * HOUR);
    await until(() => signing.authorityStates("x509").old !== undefined);
    expect(roots(signing)).toContain(upstream.signer.id);
    const { chain } = await issue(signing, world);
    expect(chain).toHaveLength(1);
    await world.clock.advance(50 * HOUR);
    await until(() => !roots(signing).includes(upstream.signer.id));
  });

  it("keeps its root though the clock was a year ahead for a while", async () => {
    const { world, upstream } = await place();
    const first = await openSigning(world);
    await first[Symbol.asyncDispose]();
    world.upstream = undefined;
    const signing = await open(world);
    await world.passWithUpkeep(signing, 0.3 * 3600);
    expect(signing.authorityStates("x509").old).toBeDefined();
    world.clock.step(365 * 24 * HOUR);
    await signing.keepUp();
    world.clock.step(-365 * 24 * HOUR);
    await signing.keepUp();
    expect(roots(signing)).toContain(upstream.signer.id);
  });

  it("takes over from one that signed itself when the root has been known for a while", async () => {
    const world = new SigningWorld();
    const first = await openSigning(world);
    await first[Symbol.asyncDispose]();
    const upstream = new FakeUpstream(world.clock);
    world.upstream = upstream;
    const signing = await open(world);
    expect((await issue(signing, world)).chain).toHaveLength(1);
    expect(roots(signing)).toHaveLength(2);
    await world.clock.advance(HOUR);
    await until(() => signing.authorityStates("x509").old !== undefined);
    expect((await issue(signing, world)).chain).toHaveLength(2);
  });
});

describe("what is trusted upstream", () => {
  it("comes into the bundle when it is told of, and stays while something chains to it", async () => {
    const { world, upstream } = await place();
    const signing = await open(world);
    const next = upstream.makeRoot("next");
    upstream.roots = [{ root: next, tainted: false }];
    upstream.tell();
    await until(() => roots(signing).includes(next.id));
    expect(roots(signing)).toEqual([upstream.signer.id, next.id]);
    await issue(signing, world);
  });

  it("leaves the bundle when nothing that lives chains to it", async () => {
    const { world, upstream } = await place();
    const signing = await open(world);
    const passing = upstream.makeRoot("passing");
    upstream.roots.push({ root: passing, tainted: false });
    upstream.tell();
    await until(() => roots(signing).includes(passing.id));
    upstream.roots.pop();
    upstream.tell();
    await until(() => !roots(signing).includes(passing.id));
    expect(world.told()).toContain("upstream-root-removed");
  });

  it("is remembered over a restart, so that what was dropped meanwhile goes", async () => {
    const { world, upstream } = await place();
    const first = await openSigning(world);
    const passing = upstream.makeRoot("passing");
    upstream.roots.push({ root: passing, tainted: false });
    upstream.tell();
    await until(() => roots(first).includes(passing.id));
    await first[Symbol.asyncDispose]();
    upstream.roots.pop();
    const signing = await open(world);
    upstream.tell();
    await until(() => !roots(signing).includes(passing.id));
  });

  it("leaves the bundle in time, though the clock was a year ahead when the server started", async () => {
    const { world, upstream } = await place();
    const first = await openSigning(world);
    await first[Symbol.asyncDispose]();
    for (const [id, { serverId }] of world.store.records)
      if (serverId !== UPSTREAM) world.store.records.delete(id);
    world.clock.step(365 * 24 * HOUR);
    const trust = await UpstreamTrust.open({
      trustDomain: world.store.bundle.trustDomain,
      upstream: undefined,
      authorities: world.store.authorities,
      clock: world.clock,
      bundle: () => world.store.bundle,
      ownJwtKeys: () => [],
      adopt: () => undefined,
      report: () => undefined,
    });
    world.clock.step(-365 * 24 * HOUR);
    await trust.tidy();
    const left = world.store.bundle.x509Authorities.map(({ certificate }) => idOf(certificate));
    expect(left).not.toContain(upstream.signer.id);
  });

  it("never takes what an operator appended out of the bundle", async () => {
    const { world, upstream } = await place();
    const signing = await open(world);
    const appended = upstream.makeRoot("appended");
    await signing.appendToBundle({ x509Authorities: [appended.certificate.der], jwtAuthorities: [] });
    upstream.tell();
    await world.clock.advance(3 * HOUR);
    expect(roots(signing)).toContain(appended.id);
  });

  it.each([
    ["no roots", { roots: [] }],
    ["a root that cannot be read", { roots: [{ certificate: Uint8Array.of(1), tainted: false }] }],
  ])("is left as it is by news of %s, which is told", async (_, news) => {
    const { world, upstream } = await place();
    const signing = await open(world);
    upstream.tell(news);
    await until(() => world.told().includes("upstream-failed watch UPSTREAM_REFUSED"));
    expect(roots(signing)).toEqual([upstream.signer.id]);
    upstream.tell();
    await until(() => world.told().includes("upstream-recovered watch"));
  });

  it("holds up nobody who closes signing while it is silent", async () => {
    const { world, upstream } = await place();
    const signing = await openSigning(world);
    upstream.mintX509Ca = (order) => {
      upstream.orders.push(order);
      return new Promise(() => undefined);
    };
    const asked = upstream.orders.length;
    await world.clock.advance(12.1 * HOUR);
    await until(() => upstream.orders.length > asked);
    await signing[Symbol.asyncDispose]();
    expect(upstream.orders.at(-1)?.signal.aborted).toBe(true);
  });

  it("is not followed any more after signing was closed", async () => {
    const { world, upstream } = await place();
    const signing = await openSigning(world);
    expect(upstream.listeners).toBe(1);
    await signing[Symbol.asyncDispose]();
    expect(upstream.listeners).toBe(0);
  });
});

describe("a root that is tainted upstream", () => {
  it("is marked, and what chains to it replaced when the next root has been known for half a minute", async () => {
    const { world, upstream, signing, old, next } = await changed();
    upstream.roots = [
      { root: old, tainted: true },
      { root: next, tainted: false },
    ];
    upstream.tell();
    await until(() => signing.authorityStates("x509").prepared !== undefined);
    // Whoever replaced its SVIDs now would get others that chain to the same root.
    expect(tainted(signing)).toEqual([]);
    await world.clock.advance(45_000);
    await until(() => signing.authorityStates("x509").old !== undefined);
    await until(() => tainted(signing).includes(old.id));
    const { active } = signing.authorityStates("x509");
    expect(signing.upstreamIdOf(active ?? failed())).toBe(next.id);
    // Taken out upstream after it was tainted there: it was revoked.
    upstream.roots.shift();
    upstream.tell();
    await until(() => !roots(signing).includes(old.id));
    expect(world.told()).toContain("upstream-root-revoked");
  });

  it("is replaced at once where the next root has been known for long", async () => {
    const { world, upstream, signing, old, next } = await changed();
    upstream.roots.push({ root: next, tainted: false });
    upstream.tell();
    await until(() => roots(signing).includes(next.id));
    await world.clock.advance(HOUR);
    upstream.roots = [
      { root: old, tainted: true },
      { root: next, tainted: false },
    ];
    upstream.tell();
    await until(() => signing.authorityStates("x509").old !== undefined);
    await issue(signing, world);
  });

  it("is replaced at once where it was revoked without waiting for us", async () => {
    const { world, upstream, signing, old, next } = await changed();
    upstream.roots = [
      { root: old, tainted: true },
      { root: next, tainted: false },
    ];
    upstream.tell();
    await until(() => signing.authorityStates("x509").prepared !== undefined);
    upstream.roots.shift();
    upstream.tell();
    await until(() => signing.authorityStates("x509").old !== undefined);
    expect(roots(signing)).toEqual([next.id]);
    await issue(signing, world);
  });

  it("signs nothing new: what it signed all the same is refused", async () => {
    const { world, upstream, signing, old } = await changed();
    upstream.signer = old;
    upstream.roots = [{ root: old, tainted: true }];
    upstream.tell();
    await until(() => world.told().includes("upstream-root-tainted"));
    await expect(signing.prepareAuthority("x509")).rejects.toThrowCode("UPSTREAM_REFUSED", /is tainted/);
    await issue(signing, world);
  });

  async function changed() {
    const { world, upstream } = await place();
    const old = upstream.signer;
    const signing = await open(world);
    const next = upstream.makeRoot("next");
    upstream.signer = next;
    return { world, upstream, signing, old, next };
  }
});

describe("an operator", () => {
  it("taints and revokes the root of what signed before, and it stays away though it be listed", async () => {
    const { world, upstream, signing, old } = await rotated();
    await signing.taintUpstreamAuthority(old.id);
    expect(tainted(signing)).toEqual([old.id]);
    await signing.revokeUpstreamAuthority(old.id);
    expect(roots(signing)).not.toContain(old.id);
    upstream.tell();
    await world.clock.advance(2 * HOUR);
    expect(roots(signing)).not.toContain(old.id);
    await issue(signing, world);
  });

  it("revokes the key of a root for good: it does not come back with a renewed certificate", async () => {
    const { world, upstream, signing, old } = await rotated();
    await signing.taintUpstreamAuthority(old.id);
    await signing.revokeUpstreamAuthority(old.id);
    const before = roots(signing);
    world.told();
    upstream.roots.push({ root: renewed(old, world), tainted: false });
    upstream.tell();
    await until(() => world.told().includes("upstream-root-revoked"));
    expect(roots(signing)).toEqual(before);
    expect(roots(signing)).not.toContain(old.id);
    // Not after the certificate that was revoked has been forgotten, either.
    for (const [id, { notAfter }] of world.store.records) {
      if (notAfter === old.certificate.notAfter) world.store.records.delete(id);
    }
    upstream.tell();
    await world.clock.advance(2 * HOUR);
    expect(roots(signing)).not.toContain(old.id);
    upstream.signer = renewed(old, world);
    await expect(signing.prepareAuthority("x509")).rejects.toThrowCode("UPSTREAM_REFUSED", /is revoked/);
  });

  it("taints the key of a root: a renewed certificate of it is tainted too", async () => {
    const { world, upstream, signing, old } = await rotated();
    await signing.taintUpstreamAuthority(old.id);
    upstream.roots.push({ root: renewed(old, world), tainted: false });
    upstream.tell();
    await until(() => roots(signing).filter((id) => id === old.id).length === 2);
    expect(tainted(signing)).toEqual([old.id, old.id]);
    await signing.revokeUpstreamAuthority(old.id);
    expect(roots(signing)).not.toContain(old.id);
  });

  it("cannot taint or revoke the root of what signs", async () => {
    const { upstream, signing } = await rotated();
    const inUse = upstream.signer.id;
    await expect(signing.taintUpstreamAuthority(inUse)).rejects.toThrowCode(
      "PRECONDITION_FAILED",
      /active or prepared/,
    );
    await expect(signing.revokeUpstreamAuthority(inUse)).rejects.toThrowCode("PRECONDITION_FAILED");
  });

  it("cannot revoke what is not tainted, nor taint what is revoked or unknown", async () => {
    const { signing, old } = await rotated();
    await expect(signing.revokeUpstreamAuthority(old.id)).rejects.toThrowCode(
      "PRECONDITION_FAILED",
      /not tainted/,
    );
    await expect(signing.taintUpstreamAuthority("00")).rejects.toThrowCode("AUTHORITY_NOT_FOUND");
    await signing.taintUpstreamAuthority(old.id);
    await signing.revokeUpstreamAuthority(old.id);
    await expect(signing.taintUpstreamAuthority(old.id)).rejects.toThrowCode(
      "PRECONDITION_FAILED",
      /revoked/,
    );
  });

  it("cannot taint or revoke an authority of ours that was signed upstream", async () => {
    const { signing } = await rotated();
    const { old } = signing.authorityStates("x509");
    await expect(signing.taintAuthority("x509", old?.id ?? "")).rejects.toThrowCode(
      "PRECONDITION_FAILED",
      /signed by the upstream authority/,
    );
    await expect(signing.revokeAuthority("x509", old?.id ?? "")).rejects.toThrowCode("PRECONDITION_FAILED");
  });

  function renewed({ key, id }: FakeRoot, world: SigningWorld): FakeRoot {
    const now = unixSeconds(world.clock);
    const certificate = makeCertificate({
      subject: "renewed",
      key,
      ca: true,
      notBefore: now - 60,
      notAfter: now + 900_000,
    });
    return { certificate, key, id };
  }

  async function rotated() {
    const { world, upstream } = await place();
    const old = upstream.signer;
    const signing = await open(world);
    const next = upstream.makeRoot("next");
    upstream.roots.push({ root: next, tainted: false });
    upstream.signer = next;
    await signing.prepareAuthority("x509");
    await signing.activateAuthority("x509");
    return { world, upstream, signing, old };
  }
});

describe("the journal", () => {
  it("keeps what is trusted upstream apart from authorities of ours", async () => {
    const { world } = await place();
    const signing = await open(world);
    expect([...world.store.records.values()].some(({ serverId }) => serverId === UPSTREAM)).toBe(true);
    expect(signing.authorities().some(({ serverId }) => serverId === UPSTREAM)).toBe(false);
  });
});
