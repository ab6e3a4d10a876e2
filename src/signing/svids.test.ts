import { execFileSync } from "node:child_process";
import { randomBytes, X509Certificate } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import "reflect-metadata/lite";
import * as peculiar from "@peculiar/x509";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FakeAuthorityStore } from "../../test/fakes/authority-store.ts";
import { FakeClock } from "../../test/fakes/clock.ts";
import { unixSeconds } from "../clock.ts";
import { readCertificate, readTbsCertificate } from "../crypto/certificate-reader.ts";
import { generateEcKeyPair, generateRsaKeyPair } from "../crypto/keys.ts";
import { validateX509Svid } from "../crypto/x509-svid.ts";
import { openMemoryKeyManager } from "../keys/memory/memory.ts";
import type { KeyType } from "../plugin/key-manager.ts";
import { parseAudiences } from "../spiffe/audience.ts";
import { parseSpiffeId } from "../spiffe/id.ts";
import { agentId, serverId } from "../spiffe/reserved.ts";
import { parseTrustDomain } from "../spiffe/trust-domain.ts";
import { openSigning, type SigningOptions } from "./open-signing.ts";
import type { Signing, X509SvidOrder } from "./signing.ts";
import { type X509Authority, x509AuthorityKind } from "./x509-authority.ts";
import { createX509SvidSigner } from "./x509-svid.ts";

const trustDomain = parseTrustDomain("example.org");
const web = parseSpiffeId("spiffe://example.org/web");
const publicKey = generateEcKeyPair("ec-p256").spki;
const order: X509SvidOrder = { spiffeId: web, publicKey, dnsNames: [], ttl: 3600 };
const clock = new FakeClock();
const now = unixSeconds(clock);
const DAY = 86_400;

let folder: string;
const opened: AsyncDisposable[] = [];
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "assay-svids-"));
});
afterAll(async () => {
  for (const one of opened.splice(0)) await one[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

async function open(options: Partial<SigningOptions> = {}): Promise<Signing> {
  const signing = await openSigning({
    trustDomain,
    store: new FakeAuthorityStore(trustDomain),
    keyManager: openMemoryKeyManager(),
    clock,
    random: randomBytes,
    options: { serverId: "one", ...options },
  });
  opened.push(signing);
  return signing;
}

const root = (signing: Signing) => signing.bundle().x509Authorities[0]?.certificate ?? new Uint8Array();
const issue = (signing: Signing, change: Partial<X509SvidOrder> = {}) =>
  signing.signX509Svid(signing.prepareX509Svid({ ...order, ...change }));

describe("an X509-SVID", () => {
  let signing: Signing;
  beforeAll(async () => {
    signing = await open();
  });

  it("says what was ordered and is told as it is", async () => {
    const issued = await issue(signing, { dnsNames: ["web.example.org", "www.example.org"] });
    const leaf = readCertificate(issued.certificate);
    expect(issued).toMatchObject({ spiffeId: web, notBefore: now - 10, notAfter: now + 3600 });
    expect(issued.authorityId).toBe(signing.authorities().find(({ kind }) => kind === "x509")?.id);
    expect(issued.chain).toEqual([issued.certificate]);
    expect(leaf).toMatchObject({ notBefore: now - 10, notAfter: now + 3600 });
    expect(leaf.subjectAltName).toEqual({
      uris: [web],
      dnsNames: ["web.example.org", "www.example.org"],
      others: 0,
    });
    expect(Buffer.from(leaf.spki)).toEqual(Buffer.from(publicKey));
    const read = new X509Certificate(issued.certificate);
    expect(read.serialNumber.toLowerCase()).toBe(issued.serial);
    expect(read.subject).toBe("C=US\nO=SPIRE\nCN=web.example.org");
    expect(read.issuer).toMatch(/^C=US\nO=SPIFFE\nserialNumber=\d+$/);
  });

  it("can be an agent's and the server's own", async () => {
    for (const spiffeId of [agentId(trustDomain, "join_token", "abc"), serverId(trustDomain)]) {
      const issued = await issue(signing, { spiffeId });
      expect(
        validateX509Svid([readCertificate(issued.certificate)], [readCertificate(root(signing))], now)
          .spiffeId,
      ).toBe(spiffeId);
    }
  });

  it("has the configured subject, or the ordered one", async () => {
    const configured = await open({ svidSubject: [{ oid: "2.5.4.10", value: "Acme" }] });
    expect(new X509Certificate((await issue(configured)).certificate).subject).toBe("O=Acme");
    const ordered = await issue(configured, {
      subject: [{ oid: "2.5.4.3", value: "me" }],
      dnsNames: ["a.org"],
    });
    expect(new X509Certificate(ordered.certificate).subject).toBe("CN=me");
  });

  it("never ends after its authority", async () => {
    for (const ttl of [DAY - 1, DAY, DAY + 1, 400 * DAY]) {
      expect((await issue(signing, { ttl })).notAfter).toBe(now + Math.min(ttl, DAY));
    }
  });

  it("has a serial number of its own", async () => {
    const serials = new Set<string>();
    for (let i = 0; i < 200; i++) serials.add(signing.prepareX509Svid(order).serial);
    expect(serials.size).toBe(200);
  });

  it.each([
    ["another trust domain", { spiffeId: parseSpiffeId("spiffe://other.org/web") }, /member of example\.org/],
    [
      "a trust domain that only begins the same",
      { spiffeId: parseSpiffeId("spiffe://example.org.evil/web") },
      /member/,
    ],
    ["the authority's ID, which has no path", { spiffeId: parseSpiffeId("spiffe://example.org") }, /XS-04/],
    ["no lifetime", { ttl: 0 }, /lifetime/],
    ["a lifetime in the past", { ttl: -3600 }, /lifetime/],
    ["a lifetime that is no number", { ttl: Number.NaN }, /lifetime/],
    ["a DNS name with a space", { dnsNames: ["a b"] }, /DNS name/],
    ["a DNS name outside ASCII", { dnsNames: ["ä.example.org"] }, /DNS name/],
    ["an empty DNS name", { dnsNames: [""] }, /DNS name/],
  ] as const)("is not made for %s", (_, change, detail) => {
    expect(() => signing.prepareX509Svid({ ...order, ...change })).toThrowCode(
      "CERTIFICATE_LINT_FAILED",
      detail,
    );
  });

  it.each([
    ["Ed25519", Buffer.from("302a300506032b6570032100".padEnd(88, "1"), "hex")],
    ["nothing", new Uint8Array()],
    ["a key with bytes after it", Buffer.concat([publicKey, Buffer.of(0)])],
  ])("is not made for a public key that is %s", (_, key) => {
    expect(() => signing.prepareX509Svid({ ...order, publicKey: key })).toThrowCode("INVALID_CSR");
  });

  it("is signed once, and only if it was prepared here", async () => {
    const prepared = signing.prepareX509Svid(order);
    const results = await Promise.allSettled([1, 2, 3].map(() => signing.signX509Svid(prepared)));
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "rejected"]);
    await expect(signing.signX509Svid(prepared)).rejects.toThrowCode("INTERNAL", /signed already/);
    await expect(signing.signX509Svid({ ...signing.prepareX509Svid(order) })).rejects.toThrowCode("INTERNAL");
    const elsewhere = await open();
    await expect(signing.signX509Svid(elsewhere.prepareX509Svid(order))).rejects.toThrowCode("INTERNAL");
  });

  it("cannot be changed between the two steps", () => {
    const prepared = signing.prepareX509Svid(order);
    expect(() => Object.assign(prepared, { notAfter: 0 })).toThrow(TypeError);
  });

  it("is not made by an authority that has expired", async () => {
    const own = new FakeClock();
    const short = await openSigning({
      trustDomain,
      store: new FakeAuthorityStore(trustDomain),
      keyManager: openMemoryKeyManager(),
      clock: own,
      random: randomBytes,
      options: { serverId: "one", caTtlSeconds: 60 },
    });
    opened.push(short);
    own.step(60_000);
    expect(() => short.prepareX509Svid(order)).toThrowCode("AUTHORITY_EXPIRED");
    expect(() =>
      short.prepareJwtSvid({ spiffeId: web, audiences: parseAudiences(["a"]), ttl: 1, includeJti: false }),
    ).toThrowCode("AUTHORITY_EXPIRED");
  });
});

describe("the lint between the steps", () => {
  let authority: X509Authority;
  beforeAll(async () => {
    const key = await openMemoryKeyManager().generateKey("k", "ec-p256");
    const options = {
      trustDomain,
      serverId: "one",
      keyType: "ec-p256",
      ttlSeconds: DAY,
      random: randomBytes,
    } as const;
    authority = await x509AuthorityKind(options).found(key, now);
  });

  /** A signer whose writer is at fault. */
  const faulty = (build: X509Authority["template"]["build"]) => {
    const template = { ...authority.template, build };
    return createX509SvidSigner({
      trustDomain,
      clock,
      random: randomBytes,
      authority: () => ({ ...authority, template }),
    });
  };

  it("lets a good writer pass", () => {
    expect(faulty((fields) => authority.template.build(fields)).prepareX509Svid(order).spiffeId).toBe(web);
  });

  it.each([
    ["another SPIFFE ID", { spiffeId: "spiffe://example.org/admin" }, /XS-01/],
    ["an end after the authority's", { notAfter: now + DAY + 1 }, /RFC5280-6\.1/],
    ["an end after the one decided on", { notAfter: now + 3601 }, /RFC5280-4\.1\.2\.5/],
    ["a beginning after its end", { notBefore: now + 7200 }, /RFC5280-4\.1\.2\.5/],
    ["a DNS name that nobody ordered", { dnsNames: ["evil.org"] }, /XS-03/],
    ["another key", { spki: generateEcKeyPair("ec-p256").spki }, /RFC5280-4\.1\.2\.7/],
    ["another serial number", { serial: Buffer.of(1) }, /RFC5280-4\.1\.2\.2/],
  ] as const)("refuses a writer that writes %s", (_, change, detail) => {
    const signer = faulty((fields) => authority.template.build({ ...fields, ...change }));
    expect(() => signer.prepareX509Svid(order)).toThrowCode("CERTIFICATE_LINT_FAILED", detail);
  });

  it("refuses a wrong bit in any octet but those of subject, notBefore and subject key identifier", () => {
    const good = Buffer.from(
      authority.template.build({
        spki: publicKey,
        subjectKeyId: Buffer.alloc(20, 9),
        spiffeId: web,
        dnsNames: [],
        serial: Buffer.alloc(16, 7),
        notBefore: now - 10,
        notAfter: now + 3600,
      }),
    );
    const free = new Set<number>();
    const mark = (part: Uint8Array) => {
      const start = good.indexOf(Buffer.from(part).toString("latin1"), 0, "latin1");
      for (let at = start; at < start + part.length; at++) free.add(at);
    };
    mark(readTbsCertificate(good, "INVALID_CERTIFICATE").subject);
    mark(Buffer.alloc(20, 9));
    mark(Buffer.from(new Date((now - 10) * 1000).toISOString().replace(/\D/g, "").slice(2, 14)));
    for (let at = 0; at < good.length; at++) {
      const signer = createX509SvidSigner({
        trustDomain,
        clock,
        random: () => Buffer.alloc(16, 7),
        authority: () => ({
          ...authority,
          template: {
            ...authority.template,
            build: () => Buffer.from(good.with(at, (good[at] as number) ^ 0x04)),
          },
        }),
      });
      try {
        signer.prepareX509Svid(order);
        expect(free).toContain(at);
      } catch (error) {
        if (free.has(at)) continue;
        expect(() => {
          throw error;
        }).toThrowCode("CERTIFICATE_LINT_FAILED");
      }
    }
  });
});

describe("other programs", () => {
  const algorithms: readonly KeyType[] = ["ec-p256", "ec-p384", "rsa-2048"];

  it.each(algorithms)("verify the chain under an authority of type %s", async (caKeyType) => {
    const signing = await open({ caKeyType, caTtlSeconds: 20 * 365 * DAY });
    for (const spki of [
      publicKey,
      generateEcKeyPair("ec-p384").spki,
      (await generateRsaKeyPair(2048)).spki,
    ]) {
      const issued = await issue(signing, {
        publicKey: spki,
        dnsNames: ["web.example.org"],
        ttl: 10 * 365 * DAY,
      });
      const ca = new X509Certificate(root(signing));
      const leaf = new X509Certificate(issued.certificate);
      expect(leaf.verify(ca.publicKey)).toBe(true);
      expect(leaf.checkIssued(ca)).toBe(true);
      expect(
        await new peculiar.X509Certificate(Buffer.from(issued.certificate)).verify({
          publicKey: await new peculiar.X509Certificate(Buffer.from(root(signing))).publicKey.export(),
          date: new Date(clock.now()),
        }),
      ).toBe(true);
      await writeFile(join(folder, "ca.pem"), ca.toString());
      await writeFile(join(folder, "leaf.pem"), leaf.toString());
      const told = execFileSync(
        "openssl",
        [
          "verify",
          "-x509_strict",
          "-purpose",
          "sslserver",
          "-attime",
          String(now),
          "-CAfile",
          "ca.pem",
          "leaf.pem",
        ],
        { cwd: folder, encoding: "utf8" },
      );
      expect(told).toBe("leaf.pem: OK\n");
    }
  });

  it("agree with our reader on whatever is ordered", async () => {
    const signing = await open();
    const segment = fc.stringMatching(/^[A-Za-z0-9_-]{1,20}$/);
    const dnsName = fc.stringMatching(/^(\*\.)?[a-z0-9]{1,12}(\.[a-z0-9]{1,12}){0,3}$/);
    const keys = [publicKey, generateEcKeyPair("ec-p384").spki, (await generateRsaKeyPair(2048)).spki];
    await fc.assert(
      fc.asyncProperty(
        fc.array(segment, { minLength: 1, maxLength: 8 }),
        fc.uniqueArray(dnsName, { maxLength: 5 }),
        fc.integer({ min: 1, max: 2 * DAY }),
        fc.constantFrom(...keys),
        async (segments, dnsNames, ttl, spki) => {
          const spiffeId = parseSpiffeId(`spiffe://example.org/${segments.join("/")}`);
          const issued = await issue(signing, { spiffeId, dnsNames, ttl, publicKey: spki });
          const ours = readCertificate(issued.certificate);
          const theirs = new peculiar.X509Certificate(Buffer.from(issued.certificate));
          expect(validateX509Svid([ours], [readCertificate(root(signing))], now).spiffeId).toBe(spiffeId);
          expect(theirs.notBefore.getTime()).toBe(ours.notBefore * 1000);
          expect(theirs.notAfter.getTime()).toBe(ours.notAfter * 1000);
          expect(ours.notAfter).toBe(now + Math.min(ttl, DAY));
          expect(theirs.serialNumber.replace(/^00/, "")).toBe(issued.serial);
          expect(Buffer.from(theirs.publicKey.rawData)).toEqual(Buffer.from(ours.spki));
          expect(Buffer.from(ours.spki)).toEqual(Buffer.from(spki));
          const names = theirs.getExtension(peculiar.SubjectAlternativeNameExtension)?.names.toJSON();
          expect(names).toEqual([
            { type: "url", value: spiffeId },
            ...dnsNames.map((value) => ({ type: "dns", value })),
          ]);
          expect(theirs.getExtension(peculiar.BasicConstraintsExtension)?.ca).toBe(false);
          expect(theirs.extensions.map(({ type, critical }) => `${type} ${critical}`)).toEqual(
            ours.extensions.map(({ oid, critical }) => `${oid} ${critical}`),
          );
        },
      ),
      { numRuns: 150 },
    );
  });
});

describe("a key elsewhere", () => {
  it("may answer late, and its failure leaves nothing signed", async () => {
    const local = openMemoryKeyManager();
    let away = false;
    const keyManager: typeof local = {
      ...bound(local),
      generateKey: async (id, type) => {
        const key = await local.generateKey(id, type);
        return {
          ...key,
          sign: async (data, form) => {
            await new Promise((resolve) => setImmediate(resolve));
            if (away) throw new Error("connection lost");
            return key.sign(data, form);
          },
        };
      },
    };
    const signing = await openSigning({
      trustDomain,
      store: new FakeAuthorityStore(trustDomain),
      keyManager,
      clock,
      random: randomBytes,
      options: { serverId: "one" },
    });
    opened.push(signing);
    const issued = await issue(signing);
    expect(new X509Certificate(issued.certificate).verify(new X509Certificate(root(signing)).publicKey)).toBe(
      true,
    );
    away = true;
    const prepared = signing.prepareX509Svid(order);
    await expect(signing.signX509Svid(prepared)).rejects.toThrow("connection lost");
    away = false;
    await expect(signing.signX509Svid(prepared)).rejects.toThrowCode("INTERNAL");
  });

  const bound = (keys: ReturnType<typeof openMemoryKeyManager>) => ({
    generateKey: keys.generateKey.bind(keys),
    getKey: keys.getKey.bind(keys),
    listKeys: keys.listKeys.bind(keys),
    deleteKey: keys.deleteKey.bind(keys),
    [Symbol.asyncDispose]: keys[Symbol.asyncDispose].bind(keys),
  });
});
