import { createPublicKey, randomBytes } from "node:crypto";
import { compactVerify, decodeProtectedHeader, jwtVerify } from "jose";
import { afterAll, describe, expect, it } from "vitest";
import { FakeClock } from "../../test/fakes/clock.ts";
import { SigningWorld } from "../../test/fakes/signing-world.ts";
import { unixSeconds } from "../clock.ts";
import { type Audience, parseAudiences } from "../spiffe/audience.ts";
import { parseSpiffeId } from "../spiffe/id.ts";
import { parseTrustDomain } from "../spiffe/trust-domain.ts";
import { createJwtSvidSigner } from "./jwt-svid.ts";
import type { SigningOptions } from "./open-signing.ts";
import type { JwtSvidOrder, Signing } from "./signing.ts";
import type { TokenAuthority } from "./token-authority.ts";

const trustDomain = parseTrustDomain("example.org");
const web = parseSpiffeId("spiffe://example.org/web");
const clock = new FakeClock();
const now = unixSeconds(clock);
const DAY = 86_400;
const LINT = "CERTIFICATE_LINT_FAILED";

const opened = new AsyncDisposableStack();
afterAll(() => opened.disposeAsync());

async function open(options: Partial<SigningOptions> = {}): Promise<Signing> {
  return opened.use(await opened.use(new SigningWorld()).open(options));
}

describe("a JWT-SVID", () => {
  const audiences = parseAudiences(["db", "https://api.example.org/"]);
  const jwtOrder = { spiffeId: web, audiences, ttl: 300, includeJti: false } as const;
  const mint = (signing: Signing, change: Partial<JwtSvidOrder> = {}) =>
    signing.signJwtSvid(signing.prepareJwtSvid({ ...jwtOrder, ...change }));
  const publicKeyOf = (signing: Signing, keyId: string) => {
    const held = signing.bundle().jwtAuthorities.find((one) => one.keyId === keyId);
    return createPublicKey({ key: Buffer.from(held?.publicKey ?? []), format: "der", type: "spki" });
  };

  it.each([
    ["ec-p256", "ES256"],
    ["ec-p384", "ES384"],
    ["rsa-2048", "RS256"],
  ] as const)(
    "of an authority of type %s is verified by others with the key in the bundle",
    async (jwtKeyType, alg) => {
      const signing = await open({ jwtKeyType });
      const issued = await mint(signing);
      expect(decodeProtectedHeader(issued.token)).toEqual({ alg, kid: issued.keyId, typ: "JWT" });
      const { payload } = await jwtVerify(issued.token, publicKeyOf(signing, issued.keyId), {
        algorithms: [alg],
        audience: "db",
        currentDate: new Date(clock.now()),
      });
      expect(payload).toEqual({ sub: web, aud: audiences, exp: now + 300, iat: now });
      expect(issued).toMatchObject({ spiffeId: web, issuedAt: now, expiresAt: now + 300 });
    },
  );

  it("carries the configured issuer", async () => {
    const signing = await open({ jwtIssuer: "https://issuer.example.org" });
    const { token, keyId } = await mint(signing);
    const { payload } = await compactVerify(token, publicKeyOf(signing, keyId));
    expect(JSON.parse(Buffer.from(payload).toString())).toMatchObject({ iss: "https://issuer.example.org" });
  });

  it("can be traced by its jti, or without one by a digest that does not reveal it", async () => {
    const signing = await open();
    const plain = await mint(signing);
    expect(plain.jti).toBeUndefined();
    expect(plain.tokenId).toMatch(/^[0-9a-f]{64}$/);
    expect((await mint(signing, { ttl: 301 })).tokenId).not.toBe(plain.tokenId);
    const named = await mint(signing, { includeJti: true });
    expect(named.jti).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(named.tokenId).toBe(named.jti);
    const { payload } = await compactVerify(named.token, publicKeyOf(signing, named.keyId));
    expect(JSON.parse(Buffer.from(payload).toString())).toMatchObject({ jti: named.jti });
    expect((await mint(signing, { includeJti: true })).jti).not.toBe(named.jti);
  });

  it("never expires after its authority", async () => {
    const signing = await open({ caTtlSeconds: 100 });
    expect((await mint(signing)).expiresAt).toBe(now + 100);
    expect((await mint(signing, { ttl: 99.9 })).expiresAt).toBe(now + 99);
  });

  it.each([
    ["another trust domain", { spiffeId: parseSpiffeId("spiffe://other.org/web") }, LINT, /§3\.1/],
    ["an ID without path", { spiffeId: parseSpiffeId("spiffe://example.org") }, LINT, /§3\.1/],
    ["no audience", { audiences: [] }, "INVALID_AUDIENCE", /empty/],
    ["an empty audience", { audiences: ["" as Audience] }, "INVALID_AUDIENCE", /empty/],
    ["no lifetime", { ttl: 0 }, LINT, /lifetime/],
    ["a lifetime that is no number", { ttl: Number.NaN }, LINT, /lifetime/],
  ] as const)("is not prepared for %s", async (_, change, code, detail) => {
    const signing = await open();
    expect(() => signing.prepareJwtSvid({ ...jwtOrder, ...change })).toThrowCode(code, detail);
  });

  it("is not prepared by an authority that says another algorithm than the nine", () => {
    const record = { id: "k", notAfter: now + DAY } as TokenAuthority["record"];
    const odd = { record, algorithm: "HS256" } as unknown as TokenAuthority;
    const signer = createJwtSvidSigner({ trustDomain, clock, random: randomBytes, authority: () => odd });
    expect(() => signer.prepareJwtSvid(jwtOrder)).toThrowCode(LINT, /§2\.1/);
  });

  it("is not prepared by an authority that ends now", () => {
    const record = { id: "k", notAfter: now } as TokenAuthority["record"];
    const ending = { record, algorithm: "ES256" } as unknown as TokenAuthority;
    const signer = createJwtSvidSigner({ trustDomain, clock, random: randomBytes, authority: () => ending });
    expect(() => signer.prepareJwtSvid(jwtOrder)).toThrowCode(LINT, /§3\.3: iat must be before exp/);
  });

  it("is signed once, and only if it was prepared here", async () => {
    const signing = await open();
    const prepared = signing.prepareJwtSvid(jwtOrder);
    const results = await Promise.allSettled([1, 2, 3].map(() => signing.signJwtSvid(prepared)));
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "rejected"]);
    await expect(signing.signJwtSvid(prepared)).rejects.toThrowCode("INTERNAL", /signed already/);
    await expect(signing.signJwtSvid({ ...signing.prepareJwtSvid(jwtOrder) })).rejects.toThrowCode(
      "INTERNAL",
    );
    const elsewhere = await open();
    await expect(signing.signJwtSvid(elsewhere.prepareJwtSvid(jwtOrder))).rejects.toThrowCode("INTERNAL");
  });

  it("cannot be changed between the two steps", async () => {
    const prepared = (await open()).prepareJwtSvid(jwtOrder);
    expect(() => Object.assign(prepared, { expiresAt: 0 })).toThrow(TypeError);
  });
});
