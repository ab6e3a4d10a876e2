import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decodeJwt, decodeProtectedHeader } from "jose";
import { afterAll, describe, expect, it } from "vitest";
import { SigningWorld } from "../../test/fakes/signing-world.ts";
import { unixSeconds } from "../clock.ts";
import { readCertificate } from "../crypto/certificate-reader.ts";
import { isCrlOf, readCrl, requireUnrevoked } from "../crypto/crl.ts";
import { type AccessTokenExpectations, verifyAccessToken } from "../crypto/jose/access-token-verify.ts";
import { statusAt, statusBitsOf } from "../crypto/jose/status-list.ts";
import { verifyStatusList } from "../crypto/jose/status-list-token.ts";
import { generateEcKeyPair, importPublicKey } from "../crypto/keys.ts";
import { toPem } from "../crypto/pem.ts";
import type { KeyType } from "../plugin/key-manager.ts";
import { parseAudiences } from "../spiffe/audience.ts";
import { parseSpiffeId } from "../spiffe/id.ts";
import type { AccessTokenOrder, CrlOrder, Signing } from "./signing.ts";

const DAY = 86_400;
const ISSUER = "https://assay.example";
const web = parseSpiffeId("spiffe://example.org/web");
const thumbprint = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

const folder = mkdtempSync(join(tmpdir(), "assay-signing-crl-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const jwtKeys = (signing: Signing) =>
  new Map(
    signing
      .bundle()
      .jwtAuthorities.map(({ keyId, publicKey }) => [
        keyId,
        { publicKey: importPublicKey(publicKey, "INVALID_BUNDLE") },
      ]),
  );
const roots = (signing: Signing) =>
  signing.bundle().x509Authorities.map(({ certificate }) => readCertificate(certificate));
const issue = (signing: Signing) =>
  signing.signX509Svid(
    signing.prepareX509Svid({
      spiffeId: web,
      publicKey: generateEcKeyPair("ec-p256").spki,
      dnsNames: [],
      ttl: 3600,
    }),
  );

describe("a revocation list", () => {
  const order = (world: SigningWorld, authorityId: string, ...serials: readonly string[]): CrlOrder => {
    const now = unixSeconds(world.clock);
    const revoked = serials.map((serial) => ({ serial, revokedAt: now, reason: "superseded" as const }));
    return { authorityId, revoked, number: 5n, thisUpdate: now, nextUpdate: now + 600 };
  };

  it.each<KeyType>(["ec-p256", "ec-p384", "rsa-2048"])(
    "revokes an X509-SVID of an authority with %s",
    async (caKeyType) => {
      await using world = new SigningWorld();
      await using signing = await world.open({ caKeyType });
      const [revoked, good] = [await issue(signing), await issue(signing)];
      const der = await signing.signCrl(order(world, revoked.authorityId, revoked.serial));
      const crl = readCrl(der, "INVALID_CRL");
      const [root] = roots(signing);
      expect(crl).toMatchObject({ number: 5n, nextUpdate: crl.thisUpdate + 600 });
      const path = (leaf: Uint8Array) => [readCertificate(leaf), ...(root === undefined ? [] : [root])];
      expect(() => requireUnrevoked(path(revoked.certificate), [crl])).toThrowCode("INVALID_CERTIFICATE");
      expect(() => requireUnrevoked(path(good.certificate), [crl])).not.toThrow();
    },
  );

  it("is what OpenSSL looks revoked X509-SVIDs up in", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    const [revoked, good] = [await issue(signing), await issue(signing)];
    const write = (name: string, label: "CERTIFICATE" | "X509 CRL", der: Uint8Array) => {
      writeFileSync(join(folder, name), toPem(label, der));
      return join(folder, name);
    };
    const ca = write("ca.pem", "CERTIFICATE", roots(signing)[0]?.der ?? new Uint8Array());
    const crl = write(
      "crl.pem",
      "X509 CRL",
      await signing.signCrl(order(world, revoked.authorityId, revoked.serial)),
    );
    const verify = (name: string, der: Uint8Array) =>
      execFileSync(
        "openssl",
        [
          "verify",
          "-crl_check",
          "-attime",
          `${unixSeconds(world.clock)}`,
          "-CAfile",
          ca,
          "-CRLfile",
          crl,
          write(name, "CERTIFICATE", der),
        ],
        { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] },
      );
    expect(verify("good.pem", good.certificate)).toContain("OK");
    expect(() => verify("revoked.pem", revoked.certificate)).toThrow(/certificate revoked/);
  });

  it("is signed by an old or tainted authority while its key is held, and by no revoked one", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    const svid = await issue(signing);
    const root = roots(signing)[0];
    const sign = async () =>
      readCrl(await signing.signCrl(order(world, svid.authorityId, svid.serial)), "INVALID_CRL");
    await signing.prepareAuthority("x509");
    await signing.activateAuthority("x509");
    expect(root !== undefined && isCrlOf(await sign(), root)).toBe(true);
    await signing.taintAuthority("x509", svid.authorityId);
    expect(root !== undefined && isCrlOf(await sign(), root)).toBe(true);
    await signing.revokeAuthority("x509", svid.authorityId);
    await expect(sign()).rejects.toThrowCode("AUTHORITY_NOT_FOUND", /holds no key/);
  });

  it("is signed for a prepared authority, and not for one whose slot was needed, nor for another's", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    const first = (await issue(signing)).authorityId;
    const { id: second } = await signing.prepareAuthority("x509");
    await signing.signCrl(order(world, second));
    await signing.activateAuthority("x509");
    await signing.prepareAuthority("x509");
    for (const id of [first, "00", ""]) {
      await expect(signing.signCrl(order(world, id))).rejects.toThrowCode("AUTHORITY_NOT_FOUND");
    }
    await signing.signCrl(order(world, second));
  });

  it("goes on after a restart for an authority that is old", async () => {
    await using world = new SigningWorld();
    let old: string;
    {
      await using signing = await world.open();
      old = (await issue(signing)).authorityId;
      await signing.prepareAuthority("x509");
      await signing.activateAuthority("x509");
    }
    await using signing = await world.open();
    const crl = readCrl(await signing.signCrl(order(world, old, "01")), "INVALID_CRL");
    expect(roots(signing).filter((root) => isCrlOf(crl, root))).toHaveLength(1);
  });

  it("is not signed where it breaks a rule", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    const good = order(world, (await issue(signing)).authorityId, "01");
    for (const [change, detail] of [
      [{ nextUpdate: good.thisUpdate }, /RFC5280-5\.1\.2\.5/],
      [{ revoked: [...good.revoked, ...good.revoked] }, /RFC5280-5\.1\.2\.6/],
      [{ number: -1n }, /cRLNumber/],
    ] as const) {
      await expect(signing.signCrl({ ...good, ...change })).rejects.toThrowCode(
        "CERTIFICATE_LINT_FAILED",
        detail,
      );
    }
  });

  it("is refused where the key manager signs with another key", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    const { authorityId } = await issue(signing);
    const { keyManager } = world;
    const { getKey } = keyManager;
    const other = await keyManager.generateKey("other", "ec-p256");
    keyManager.getKey = async (id) => {
      const key = await getKey.call(keyManager, id);
      return key && { id: key.id, type: key.type, publicKey: key.publicKey, sign: other.sign.bind(other) };
    };
    await expect(signing.signCrl(order(world, authorityId))).rejects.toThrowCode("KEY_UNAVAILABLE");
  });
});

describe("an access token", () => {
  const order: AccessTokenOrder = {
    subject: "spiffe://example.org/spire/task/ci/1",
    clientId: "ci",
    audience: `${ISSUER}/v1/task`,
    ttl: 600,
    jti: "j-1",
    confirmation: { jkt: thumbprint },
  };
  const verify = (
    world: SigningWorld,
    signing: Signing,
    token: string,
    change: Partial<AccessTokenExpectations> = {},
  ) =>
    verifyAccessToken(token, jwtKeys(signing), {
      issuer: ISSUER,
      audience: order.audience,
      now: unixSeconds(world.clock),
      ...change,
    });

  it("says what was ordered, by the key of the JWT authority", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open({ jwtIssuer: ISSUER });
    const now = unixSeconds(world.clock);
    const issued = await signing.mintAccessToken({
      ...order,
      scope: "task",
      status: { uri: `${ISSUER}/oauth2/status-lists/0`, idx: 3 },
      act: { sub: web },
      extra: { task: { id: "1" } },
    });
    expect(issued).toMatchObject({ jti: "j-1", issuedAt: now, expiresAt: now + 600 });
    expect(issued.keyId).toBe(signing.authorityStates("jwt").active?.id);
    expect(await verify(world, signing, issued.token)).toMatchObject({
      subject: order.subject,
      clientId: "ci",
      scope: "task",
      confirmation: { jkt: thumbprint },
      status: { uri: `${ISSUER}/oauth2/status-lists/0`, idx: 3 },
      act: { sub: web },
    });
  });

  it("is signed by RS256 where that is asked for", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open({ jwtIssuer: ISSUER, rs256: true });
    const { token } = await signing.mintAccessToken({ ...order, algorithm: "RS256" });
    expect(decodeProtectedHeader(token)).toMatchObject({ alg: "RS256", typ: "at+jwt" });
    await verify(world, signing, token);
  });

  it("never ends after its authority", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open({ jwtIssuer: ISSUER });
    const { expiresAt } = await signing.mintAccessToken({ ...order, ttl: 400 * DAY });
    expect(expiresAt).toBe(signing.jwtAuthorityNotAfter());
  });

  it("is not made without an issuer, nor where it breaks a rule", async () => {
    await using world = new SigningWorld();
    await using without = await world.open();
    await expect(without.mintAccessToken(order)).rejects.toThrowCode("PRECONDITION_FAILED", /jwt_issuer/);
    await using other = new SigningWorld();
    await using signing = await other.open({ jwtIssuer: ISSUER });
    for (const change of [
      { ttl: 0 },
      { ttl: Number.NaN },
      { subject: "" },
      { jti: "" },
      { confirmation: { jkt: "x" } },
    ]) {
      await expect(signing.mintAccessToken({ ...order, ...change })).rejects.toThrowCode(
        "CERTIFICATE_LINT_FAILED",
      );
    }
    await expect(signing.mintAccessToken({ ...order, extra: { sub: "x" } })).rejects.toThrowCode("INTERNAL");
  });
});

describe("a status list", () => {
  const uri = `${ISSUER}/oauth2/status-lists/0`;

  it("is signed by the JWT authority and read by who knows its URI", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    const now = unixSeconds(world.clock);
    const list = statusBitsOf([0, 9, 1023], 1024);
    const token = await signing.signStatusList({ uri, bits: 1, list, ttl: 60, expiresAt: now + 600 });
    const facts = await verifyStatusList(token, jwtKeys(signing), { uri, now });
    expect(facts).toMatchObject({ issuedAt: now, expiresAt: now + 600, ttl: 60 });
    expect([0, 1, 8, 9, 1022, 1023].map((place) => statusAt(facts, place))).toEqual([1, 0, 0, 1, 0, 1]);
  });

  it("never ends after its authority, and is not signed where it breaks a rule", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    const order = { uri, bits: 1, list: new Uint8Array(128), ttl: 60, expiresAt: 4_000_000_000 } as const;
    expect(decodeJwt(await signing.signStatusList(order)).exp).toBe(signing.jwtAuthorityNotAfter());
    for (const change of [{ expiresAt: 1 }, { ttl: 0 }, { uri: "" }, { list: new Uint8Array() }]) {
      await expect(signing.signStatusList({ ...order, ...change })).rejects.toThrowCode(
        "CERTIFICATE_LINT_FAILED",
      );
    }
  });
});

describe("a JWT-SVID with further claims", () => {
  const order = { spiffeId: web, audiences: parseAudiences(["db"]), ttl: 60, includeJti: true };

  it("has them beside its own", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    const claims = { task: { id: "1", platform: "github" }, status: { status_list: { idx: 1, uri: "u" } } };
    const { token } = await signing.signJwtSvid(signing.prepareJwtSvid({ ...order, claims }));
    expect(decodeJwt(token)).toMatchObject({ sub: web, aud: ["db"], ...claims });
  });

  it("has none that would replace its own", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    for (const name of ["sub", "aud", "exp", "iat", "iss", "jti", "nbf"]) {
      expect(() => signing.prepareJwtSvid({ ...order, claims: { [name]: "x" } })).toThrowCode(
        "INTERNAL",
        /meaning/,
      );
    }
  });
});
