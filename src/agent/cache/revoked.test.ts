import { beforeEach, describe, expect, it } from "vitest";
import { FakeAuthority } from "../../../test/fakes/agent-authority.ts";
import { makeAgentCache, settle } from "../../../test/fakes/agent-cache.ts";
import { completeUpdate, FakeServerApi } from "../../../test/fakes/agent-server-api.ts";
import { fakeEntry } from "../../../test/fakes/agent-server.ts";
import { makeKey, type TestKey } from "../../../test/fakes/certificates.ts";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { makeCrl } from "../../../test/fakes/crl.ts";
import { unixSeconds } from "../../clock.ts";
import { readCertificate } from "../../crypto/certificate-reader.ts";
import { parseJwtSvidInsecure } from "../../crypto/jose/jwt-svid-verify.ts";
import { tokenIdOf } from "../../crypto/jose/token-id.ts";
import { parseAudiences } from "../../spiffe/audience.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import { parseTrustDomain, type TrustDomain } from "../../spiffe/trust-domain.ts";
import { validateJwtSvid } from "../workload-api/validate-jwt-svid.ts";
import type { AgentCache } from "./agent-cache.ts";

const trustDomain = parseTrustDomain("example.org");
const web = parseSpiffeId("spiffe://example.org/web");
const entry = fakeEntry(web, 1, { id: "1" });
const audience = parseAudiences(["db"]);
const key: TestKey = makeKey();

let clock: FakeClock;
let server: FakeServerApi;
let authority: FakeAuthority;
let cache: AgentCache;

beforeEach(async () => {
  clock = new FakeClock();
  authority = await FakeAuthority.create(trustDomain, clock);
  server = new FakeServerApi(authority, parseSpiffeId("spiffe://example.org/spire/agent/x/1"));
  cache = makeAgentCache({ signer: server, clock });
  server.entries.set("1", entry);
  cache.apply(completeUpdate([entry], { bundle: authority.bundle() }));
  await settle();
});

const change = { ...completeUpdate([]), complete: false };

function idOf(token: string): string {
  return tokenIdOf(token, parseJwtSvidInsecure(token).claims);
}

function revokeTokens(...tokens: readonly string[]): void {
  tellTokens(false, ...tokens.map((token) => [idOf(token), 2_000_000_000] as const));
}

function tellTokens(complete: boolean, ...ends: readonly (readonly [string, number])[]): void {
  cache.apply({ ...change, revokedTokens: { complete, ends: new Map(ends) } });
}

function revokeSerial(serial: string, authorityId: string, name: TrustDomain = trustDomain): void {
  const certificate = { subject: Buffer.from("3000", "hex"), subjectKeyId: Buffer.from(authorityId, "hex") };
  const crl = makeCrl({ issuer: { certificate, key }, revoked: [Buffer.from(serial, "hex")] });
  cache.apply({ ...change, crls: new Map([[name, [crl]]]) });
}

describe("a revoked X509-SVID of a workload", () => {
  it("is replaced at once, and served until it is", async () => {
    const before = cache.x509.get("1");
    revokeSerial(before?.serial ?? "", before?.authorityId ?? "");
    expect(cache.x509.get("1")).toBe(before);
    await settle();
    expect(cache.x509.get("1")?.serial).not.toBe(before?.serial);
    expect(server.batches).toHaveLength(2);
  });

  it("is replaced too where the word came before the SVID itself", async () => {
    const signX509 = server.signX509.bind(server);
    server.signX509 = async (requests) => {
      const outcomes = await signX509(requests);
      server.signX509 = signX509;
      const [outcome] = outcomes;
      const leaf = outcome !== undefined && "chain" in outcome ? outcome.chain[0] : undefined;
      const { serial, authorityKeyId } = readCertificate(leaf ?? new Uint8Array());
      revokeSerial(Buffer.from(serial).toString("hex"), Buffer.from(authorityKeyId ?? []).toString("hex"));
      return outcomes;
    };
    const next = { ...entry, revision: 1 };
    server.entries.set("1", next);
    cache.apply({ ...change, upserted: [next] });
    await settle();
    expect(server.batches).toHaveLength(3);
  });

  it.each([
    ["another authority's list", "aa", trustDomain],
    ["another trust domain's list", undefined, parseTrustDomain("other.org")],
  ] as const)("is none of %s", async (_, authorityId, name) => {
    const before = cache.x509.get("1");
    revokeSerial(before?.serial ?? "", authorityId ?? before?.authorityId ?? "", name);
    await settle();
    expect(cache.x509.get("1")).toBe(before);
    expect(server.batches).toHaveLength(1);
  });

  it("is none where the list cannot be read", async () => {
    cache.apply({ ...change, crls: new Map([[trustDomain, [Buffer.from("no list")]]]) });
    await settle();
    expect(server.batches).toHaveLength(1);
  });
});

describe("a revoked JWT-SVID", () => {
  it("is never served again", async () => {
    const first = await cache.jwt.fetch(entry, audience);
    expect(await cache.jwt.fetch(entry, audience)).toBe(first);
    revokeTokens(first.token);
    // Within one second the next one would say the same, and be the same token but for its signature.
    await clock.advance(1000);
    const second = await cache.jwt.fetch(entry, audience);
    expect(second.token).not.toBe(first.token);
    expect(await cache.jwt.fetch(entry, audience)).toBe(second);
  });

  it("is not kept where it was revoked while it was being signed, nor taken over from the disk", async () => {
    const held = await cache.jwt.fetch(entry, audience);
    const [kept] = cache.jwt.snapshot();
    revokeTokens(held.token);
    cache.jwt.restore(kept === undefined ? [] : [kept]);
    expect(cache.jwt.size).toBe(0);
    const signJwt = server.signJwt.bind(server);
    server.signJwt = async (...order) => {
      const svid = await signJwt(...order);
      revokeTokens(svid.token);
      return svid;
    };
    await cache.jwt.fetch(entry, audience);
    expect(cache.jwt.size).toBe(0);
  });

  it("is refused by ValidateJWTSVID, and good again only to those who were told so", async () => {
    const { token } = await cache.jwt.fetch(entry, audience);
    const validate = () =>
      validateJwtSvid(token, "db", [cache.table.bundle], {
        clock,
        allowedForeignJwtClaims: [],
        revoked: cache.table.revokedTokens,
      });
    expect((await validate()).spiffeId).toBe(web);
    revokeTokens(token);
    await expect(validate()).rejects.toThrowCode("INVALID_JWT_SVID", /has been revoked/);
    // An update that says nothing of tokens changes nothing.
    cache.apply({ ...change, deleted: ["x"] });
    await expect(validate()).rejects.toThrowCode("INVALID_JWT_SVID", /has been revoked/);
    tellTokens(false, ["other", 2_000_000_000]);
    await expect(validate()).rejects.toThrowCode("INVALID_JWT_SVID", /has been revoked/);
    tellTokens(true);
    expect((await validate()).spiffeId).toBe(web);
  });
});

describe("word of revoked tokens", () => {
  const known = () => [...cache.table.revokedTokens.all.keys()];
  const inSeconds = (seconds: number) => unixSeconds(clock) + seconds;

  it("adds to what was known, and replaces it where it is complete", () => {
    tellTokens(true, ["a", inSeconds(60)]);
    tellTokens(false, ["b", inSeconds(60)], ["c", inSeconds(60)]);
    expect(known()).toEqual(["a", "b", "c"]);
    cache.apply(completeUpdate([entry], { bundle: authority.bundle() }));
    expect(known()).toEqual(["a", "b", "c"]);
    tellTokens(true, ["c", inSeconds(60)], ["d", inSeconds(60)]);
    expect(known()).toEqual(["c", "d"]);
  });

  it("is forgotten five minutes after the token's end, no sooner, and without any further word", async () => {
    tellTokens(false, ["short", inSeconds(60)], ["long", inSeconds(7200)]);
    await pass(355);
    expect(known()).toEqual(["short", "long"]);
    await pass(60);
    expect(known()).toEqual(["long"]);
    await pass(7200);
    expect(known()).toEqual([]);
    cache[Symbol.dispose]();
    expect(clock.pending).toBe(0);
  });

  it("is kept until the later of two ends", async () => {
    tellTokens(false, ["a", inSeconds(3600)]);
    tellTokens(false, ["a", inSeconds(60)]);
    await pass(600);
    expect(known()).toEqual(["a"]);
  });

  it("outlives a clock that is set ahead and right again", async () => {
    tellTokens(false, ["a", inSeconds(3600)]);
    clock.step(86_400_000);
    await pass(60);
    clock.step(-86_400_000);
    await pass(60);
    expect(known()).toEqual(["a"]);
  });

  async function pass(seconds: number): Promise<void> {
    for (let n = 0; n < seconds; n += 5) await clock.advance(5000);
  }
});
