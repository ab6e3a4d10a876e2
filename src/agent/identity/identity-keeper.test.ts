import { beforeEach, describe, expect, it } from "vitest";
import { FakeAuthority } from "../../../test/fakes/agent-authority.ts";
import { FakeServerApi } from "../../../test/fakes/agent-server-api.ts";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { silentLog } from "../../observe/log.ts";
import type { AgentNodeAttestor } from "../../plugin/agent-node-attestor.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import type { StoredIdentity } from "../disk/identity-file.ts";
import type { AgentIdentity } from "./agent-identity.ts";
import { IdentityKeeper } from "./identity-keeper.ts";

const trustDomain = parseTrustDomain("example.org");
const agentId = parseSpiffeId("spiffe://example.org/spire/agent/x/1");

let clock: FakeClock;
let authority: FakeAuthority;
let server: FakeServerApi;
let disk: { stored: StoredIdentity | undefined };
let used: (AgentIdentity | undefined)[];
let denials: AssayError[];
let signal: AbortSignal;

beforeEach(async () => {
  clock = new FakeClock();
  authority = await FakeAuthority.create(trustDomain, clock);
  server = new FakeServerApi(authority, agentId);
  disk = { stored: undefined };
  used = [];
  denials = [];
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
      write: async (identity) => void (disk.stored = identity),
      wipe: async () => void (disk.stored = undefined),
    },
    firstBundle: authority.bundle(),
    stored: disk.stored,
    attestor: withAttestor ? { name: "x", instance: attestor } : undefined,
    link: { server, use: (identity) => void used.push(identity) },
    clock,
    spread: () => 0.5,
    log: silentLog,
    onDenied: (error) => denials.push(error),
  });
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
