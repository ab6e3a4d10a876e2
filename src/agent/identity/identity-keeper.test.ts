import { beforeEach, describe, expect, it } from "vitest";
import { FakeAuthority } from "../../../test/fakes/agent-authority.ts";
import { FakeServerApi } from "../../../test/fakes/agent-server-api.ts";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { silentLog } from "../../observe/log.ts";
import type { AgentNodeAttestor } from "../../plugin/agent-node-attestor.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import type { StoredIdentity } from "../disk/identity-file.ts";
import type { AgentIdentity } from "./agent-identity.ts";
import { IdentityKeeper } from "./identity-keeper.ts";
import { bundleDigest, OperatorBundle } from "./operator-bundle.ts";

const trustDomain = parseTrustDomain("example.org");
const agentId = parseSpiffeId("spiffe://example.org/spire/agent/x/1");

let clock: FakeClock;
let authority: FakeAuthority;
let server: FakeServerApi;
let disk: { stored: StoredIdentity | undefined };
/** What a write to the disk waits for. */
let diskTakes: () => Promise<void>;
let used: (AgentIdentity | undefined)[];
let denials: AssayError[];
let newsTold: number;
/** What the operator gave, and what a server says to whoever believes it by a bundle. */
let given: SpiffeBundle;
let ask: (believed: SpiffeBundle) => Promise<SpiffeBundle>;
let signal: AbortSignal;

beforeEach(async () => {
  clock = new FakeClock();
  authority = await FakeAuthority.create(trustDomain, clock);
  server = new FakeServerApi(authority, agentId);
  disk = { stored: undefined };
  diskTakes = async () => undefined;
  used = [];
  denials = [];
  newsTold = 0;
  given = authority.bundle();
  ask = () => Promise.reject(new AssayError("SERVER_UNAVAILABLE", "down"));
  signal = new AbortController().signal;
});

const attestor: AgentNodeAttestor = {
  begin: async () => ({ payload: Buffer.from("me"), answer: async () => Buffer.of() }),
  [Symbol.asyncDispose]: async () => undefined,
};

function keeper(withAttestor = true): IdentityKeeper {
  return new IdentityKeeper({
    file: {
      read: async () => disk.stored,
      async write(identity) {
        await diskTakes();
        disk.stored = identity;
      },
      wipe: async () => void (disk.stored = undefined),
    },
    firstBundle: authority.bundle(),
    stored: disk.stored,
    attestor: withAttestor ? { name: "x", instance: attestor } : undefined,
    operatorBundle: new OperatorBundle(async () => given, disk.stored?.operatorBundle ?? bundleDigest(given)),
    link: {
      server,
      use: (identity) => void used.push(identity),
      askBundle: (believed) => ask(believed),
    },
    clock,
    spread: () => 0.5,
    log: silentLog,
    onDenied: (error) => denials.push(error),
    onBelieved: () => (newsTold += 1),
  });
}

/** The bundle where the authority is tainted and another signs. */
async function successorBundle(): Promise<SpiffeBundle> {
  const next = await FakeAuthority.create(trustDomain, clock);
  const tainted = authority.bundle().x509Authorities.map((one) => ({ ...one, tainted: true }));
  return { ...authority.bundle(2n), x509Authorities: [...tainted, ...next.bundle().x509Authorities] };
}

async function settle(): Promise<void> {
  for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve));
}

describe("the agent's identity", () => {
  it("is proven once, kept, and used again after a restart without evidence", async () => {
    const { serial } = await keeper().ensure(signal);
    expect(disk.stored?.chain.length).toBe(1);
    const again = keeper(false);
    expect(again.current).toMatchObject({ agentId, serial });
    expect((await again.ensure(signal)).serial).toBe(serial);
    expect(server.attests).toBe(1);
  });

  it("waits for a server that cannot be reached", async () => {
    server.failure = new AssayError("SERVER_UNAVAILABLE", "down");
    const proven = keeper().ensure(signal);
    await settle();
    await clock.advance(60_000);
    expect(server.attests).toBeGreaterThan(4);
    server.failure = undefined;
    await clock.advance(30_000);
    expect((await proven).agentId).toBe(agentId);
  });

  it("is proven within a moment where the operator gives the bundle that a server is believed by", async () => {
    server.failure = new AssayError("SERVER_UNAVAILABLE", "unable to verify the first certificate");
    const kept = keeper();
    const proven = kept.ensure(signal);
    await settle();
    await clock.advance(200_000);
    const next = await FakeAuthority.create(trustDomain, clock);
    const both = [...authority.bundle().x509Authorities, ...next.bundle().x509Authorities];
    given = { ...authority.bundle(), x509Authorities: both };
    ask = async (bundle) => {
      if (bundle !== given) throw server.failure ?? new Error("not asked by what the operator gave");
      return { ...authority.bundle(2n), x509Authorities: both };
    };
    // The longest pause, in which nothing is looked at; the attempt after it is the one that learns.
    for (let waited = 0; waited < 30_000 && kept.bundle.sequence < 2n; waited += 500) {
      await clock.advance(500);
      await settle();
    }
    const before = server.attests;
    server.failure = undefined;
    await clock.advance(500);
    await settle();
    expect(server.attests - before).toBe(1);
    expect((await proven).agentId).toBe(agentId);
    kept[Symbol.dispose]();
  });

  it.each(["JOIN_TOKEN_INVALID", "ATTESTATION_FAILED", "INVALID_REQUEST", "AUTHORIZATION_DENIED"] as const)(
    "is given up where the server refuses the evidence with %s",
    async (code) => {
      server.failure = new AssayError(code, "no");
      await expect(keeper().ensure(signal)).rejects.toThrowCode(code);
      expect(server.attests).toBe(1);
    },
  );

  it("is renewed at half of its life with a new key, and is on disk before it is used", async () => {
    const kept = keeper();
    const before = await kept.ensure(signal);
    await clock.advance(1_800_000);
    await settle();
    expect(server.renewals).toBe(1);
    expect(kept.current?.serial).not.toBe(before.serial);
    expect(kept.current?.privateKey).not.toEqual(before.privateKey);
    expect(disk.stored?.privateKey).toEqual(kept.current?.privateKey);
    expect(used.at(-1)).toBe(kept.current);
    kept[Symbol.dispose]();
  });

  it("is renewed within seconds where its authority is tainted, and once only", async () => {
    const kept = keeper();
    const before = await kept.ensure(signal);
    const next = await FakeAuthority.create(trustDomain, clock);
    const old = authority.bundle().x509Authorities;
    const { x509Authorities } = next.bundle();
    kept.setBundle({ ...authority.bundle(2n), x509Authorities: [...old, ...x509Authorities] });
    await clock.advance(10_000);
    expect(server.renewals).toBe(0);
    const tainted = old.map((one) => ({ ...one, tainted: true }));
    kept.setBundle({ ...authority.bundle(3n), x509Authorities: [...tainted, ...x509Authorities] });
    await clock.advance(10_000);
    await settle();
    expect(server.renewals).toBe(1);
    expect(kept.current?.serial).not.toBe(before.serial);
    await clock.advance(60_000);
    expect(server.renewals).toBe(1);
    kept[Symbol.dispose]();
  });

  it("is renewed once more where its authority was tainted while it was signed", async () => {
    const kept = keeper();
    await kept.ensure(signal);
    const answer = Promise.withResolvers<void>();
    const { renew } = server;
    server.renew = async (csr) => {
      const chain = await renew.call(server, csr);
      if (server.renewals === 1) await answer.promise;
      return chain;
    };
    await clock.advance(1_800_000);
    await settle();
    kept.setBundle(await successorBundle());
    answer.resolve();
    await settle();
    expect(server.renewals).toBe(1);
    await clock.advance(10_000);
    await settle();
    expect(server.renewals).toBe(2);
    kept[Symbol.dispose]();
  });

  it("is renewed by one call at a time, so that the SVID it keeps is the one that the server knows", async () => {
    const kept = keeper();
    await kept.ensure(signal);
    const answer = Promise.withResolvers<void>();
    const { renew } = server;
    const signed: (readonly Uint8Array[])[] = [];
    server.renew = async (csr) => {
      const chain = await renew.call(server, csr);
      signed.push(chain);
      if (signed.length === 1) await answer.promise;
      return chain;
    };
    await clock.advance(1_800_000);
    await settle();
    kept.setBundle(await successorBundle());
    await clock.advance(10_000);
    await settle();
    answer.resolve();
    await settle();
    expect(kept.current?.chain).toEqual(signed.at(-1));
    kept[Symbol.dispose]();
  });

  it("is on disk as it is used, though the bundle changes while it is written", async () => {
    const kept = keeper();
    await kept.ensure(signal);
    diskTakes = settle;
    await clock.advance(1_800_000);
    while (server.renewals === 0) await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
    const bundle = await successorBundle();
    kept.setBundle(bundle);
    for (let n = 0; n < 10; n++) await settle();
    await kept.flush();
    expect(disk.stored?.chain).toEqual(kept.current?.chain);
    expect(disk.stored?.bundle).toEqual(bundle);
    kept[Symbol.dispose]();
  });

  it("stays forgotten where a renewal was under way when the server denied it", async () => {
    const kept = keeper();
    await kept.ensure(signal);
    const answer = Promise.withResolvers<void>();
    const { renew } = server;
    server.renew = async (csr) => {
      await answer.promise;
      return renew.call(server, csr);
    };
    await clock.advance(1_800_000);
    await settle();
    await expect(kept.denied(new AssayError("AGENT_BANNED", "out"))).rejects.toThrowCode("AGENT_BANNED");
    answer.resolve();
    await settle();
    expect([kept.current, disk.stored]).toEqual([undefined, undefined]);
    kept[Symbol.dispose]();
  });

  it("is proven anew instead of renewed where the evidence can be shown again", async () => {
    server.reattestable = true;
    const kept = keeper();
    await kept.ensure(signal);
    await clock.advance(1_800_000);
    await settle();
    expect([server.attests, server.renewals]).toEqual([2, 0]);
    kept[Symbol.dispose]();
  });

  it("survives failed renewals for as long as it is valid", async () => {
    const kept = keeper();
    await kept.ensure(signal);
    server.failure = new AssayError("SERVER_UNAVAILABLE", "down");
    await clock.advance(3_000_000);
    expect(server.renewals).toBeGreaterThan(10);
    server.failure = undefined;
    await clock.advance(30_000);
    await settle();
    expect(kept.current?.notAfter).toBeGreaterThan(clock.now() / 1000 + 3000);
    kept[Symbol.dispose]();
  });

  it("tells where a renewal is denied", async () => {
    const kept = keeper();
    await kept.ensure(signal);
    server.failure = new AssayError("AGENT_MUST_REATTEST", "no");
    await clock.advance(1_800_000);
    await settle();
    expect(denials).toMatchObject([{ code: "AGENT_MUST_REATTEST" }]);
  });

  it("is forgotten and proven anew after a denial, and wiped after a ban", async () => {
    const kept = keeper();
    await kept.ensure(signal);
    await kept.denied(new AssayError("AGENT_NOT_ATTESTED", "who"));
    expect(kept.current).toBeUndefined();
    expect(used.at(-1)).toBeUndefined();
    await kept.ensure(signal);
    expect(server.attests).toBe(2);
    await expect(kept.denied(new AssayError("AGENT_BANNED", "out"))).rejects.toThrowCode("AGENT_BANNED");
    expect(disk.stored).toBeUndefined();
  });

  it("is never taken from a certificate that the agent would not accept itself", async () => {
    const stranger = await FakeAuthority.create(trustDomain, clock);
    const honest = server;
    server = new FakeServerApi(stranger, agentId);
    await expect(keeper().ensure(signal)).rejects.toThrowCode("INVALID_CERTIFICATE");
    honest.agentId = parseSpiffeId("spiffe://example.org/web");
    server = honest;
    await expect(keeper().ensure(signal)).rejects.toThrowCode("INVALID_CERTIFICATE", "is not an agent");
    expect(disk.stored).toBeUndefined();
  });

  it("is waited for where the server's clock is ahead and the evidence can be shown again", async () => {
    const ahead = new FakeClock(clock.now() + 365 * 86_400_000);
    authority = await FakeAuthority.create(trustDomain, ahead);
    server = new FakeServerApi(authority, agentId);
    server.reattestable = true;
    given = authority.bundle();
    const kept = keeper();
    const proven = kept.ensure(signal);
    await settle();
    await clock.advance(60_000);
    await settle();
    expect(server.attests).toBeGreaterThan(4);
    expect(disk.stored).toBeUndefined();
    clock.step(365 * 86_400_000);
    await clock.advance(30_000);
    await settle();
    expect((await proven).agentId).toBe(agentId);
    kept[Symbol.dispose]();
  });

  it("is proven anew where the stored one has ended", async () => {
    await keeper().ensure(signal);
    clock.step(3_601_000);
    const kept = keeper();
    expect(kept.current).toBeUndefined();
    await kept.ensure(signal);
    expect(server.attests).toBe(2);
  });

  it("keeps newer bundles, and never one that would believe nobody", async () => {
    const kept = keeper();
    await kept.ensure(signal);
    const other = await FakeAuthority.create(trustDomain, clock);
    const both = [...authority.bundle().x509Authorities, ...other.bundle().x509Authorities];
    kept.setBundle({ ...authority.bundle(2n), x509Authorities: both });
    await kept.flush();
    expect(disk.stored?.bundle.x509Authorities.length).toBe(2);
    kept.setBundle({ ...authority.bundle(3n), x509Authorities: [] });
    await kept.flush();
    expect(kept.bundle.x509Authorities.length).toBe(2);
  });
});

describe("an agent that cannot follow its server", () => {
  const others = async () => FakeAuthority.create(trustDomain, clock);

  it("keeps its identity while nobody answers, and while its authority is in the bundle", async () => {
    const kept = keeper();
    const identity = await kept.ensure(signal);
    kept.recheck();
    await settle();
    const next = await others();
    const { x509Authorities } = next.bundle();
    ask = async () => ({
      ...authority.bundle(2n),
      x509Authorities: [...authority.bundle().x509Authorities, ...x509Authorities],
    });
    kept.recheck();
    await settle();
    expect(denials).toEqual([]);
    expect(kept.current).toBe(identity);
    expect(kept.bundle.x509Authorities.length).toBe(2);
    // News once: what failed for another reason goes on to be tried more and more slowly.
    expect(newsTold).toBe(1);
    kept.recheck();
    await settle();
    expect(newsTold).toBe(1);
    kept[Symbol.dispose]();
  });

  it("must attest again where a server that it believes has its authority no more", async () => {
    const kept = keeper();
    await kept.ensure(signal);
    const next = await others();
    const asked: SpiffeBundle[] = [];
    const before = kept.bundle;
    ask = async (believed) => {
      asked.push(believed);
      return next.bundle(2n);
    };
    kept.recheck();
    kept.recheck();
    await settle();
    expect(asked).toEqual([before]);
    expect(denials.map(({ code }) => code)).toEqual(["AGENT_MUST_REATTEST"]);
    // The next start knows it at once.
    await kept.flush();
    expect(keeper().current).toBeUndefined();
  });

  it.each([
    ["no authority", (bundle: SpiffeBundle) => ({ ...bundle, x509Authorities: [] })],
    [
      "another trust domain",
      (bundle: SpiffeBundle) => ({ ...bundle, trustDomain: parseTrustDomain("other.org") }),
    ],
  ])("learns nothing from a bundle of %s", async (_, changed) => {
    const kept = keeper();
    await kept.ensure(signal);
    const next = await others();
    ask = async () => changed(next.bundle(2n));
    kept.recheck();
    await settle();
    expect(denials).toEqual([]);
    expect(kept.bundle).toEqual(authority.bundle());
    kept[Symbol.dispose]();
  });

  it("must attest again where its SVID has expired, without asking anybody", async () => {
    const kept = keeper();
    await kept.ensure(signal);
    ask = () => expect.unreachable();
    clock.step(3_601_000);
    kept.recheck();
    await settle();
    expect(denials.map(({ code }) => code)).toEqual(["AGENT_EXPIRED"]);
    kept[Symbol.dispose]();
  });

  it("believes by the operator's bundle only where that was changed since a server was heard", async () => {
    const kept = keeper();
    await kept.ensure(signal);
    const next = await others();
    const asked: SpiffeBundle[] = [];
    const told = async (believed: SpiffeBundle) => {
      asked.push(believed);
      if (believed === given && given !== first) return next.bundle(2n);
      throw new AssayError("SERVER_UNAVAILABLE", "unable to verify the first certificate");
    };
    const first = given;
    ask = told;
    kept.recheck();
    await settle();
    expect(asked.length).toBe(1);

    // What lay there when a server was heard is older than that server's word.
    given = next.bundle();
    kept.heard();
    await settle();
    kept.recheck();
    await settle();
    expect([asked.length, denials.length]).toEqual([2, 0]);

    given = {
      ...next.bundle(),
      x509Authorities: [...next.bundle().x509Authorities, ...first.x509Authorities],
    };
    kept.recheck();
    await settle();
    expect(asked.slice(2)).toEqual([first, given]);
    expect(denials.map(({ code }) => code)).toEqual(["AGENT_MUST_REATTEST"]);
    kept[Symbol.dispose]();
  });

  it("does not go back to an older edition of the bundle", async () => {
    const known = { ...authority.bundle(5n) };
    const next = await others();
    const bundle = new OperatorBundle(async () => next.bundle(4n), "other");
    expect(await bundle.news(known)).toBeUndefined();
    const newer = new OperatorBundle(async () => next.bundle(6n), "other");
    expect(await newer.news(known)).toEqual(next.bundle(6n));
  });

  it("takes a file that cannot be read for no news", async () => {
    const bundle = new OperatorBundle(() => Promise.reject(new Error("gone")), "other");
    expect([await bundle.news(authority.bundle()), await bundle.note(), bundle.seen]).toEqual([
      undefined,
      false,
      "other",
    ]);
  });

  it("says what to do where it lost its identity and its evidence is refused", async () => {
    const kept = keeper();
    await kept.ensure(signal);
    await kept.denied(new AssayError("AGENT_MUST_REATTEST", "its authority is gone"));
    server.failure = new AssayError("INVALID_REQUEST", "join token has been used");
    await expect(kept.ensure(signal)).rejects.toThrowCode(
      "INVALID_REQUEST",
      /join token has been used.*its authority is gone.*assay token generate/,
    );
  });
});
