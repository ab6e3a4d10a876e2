import { fromBinary } from "@bufbuild/protobuf";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { beforeAll, describe, expect, it } from "vitest";
import { FakeAuthority } from "../../../test/fakes/agent-authority.ts";
import { fakeEntry } from "../../../test/fakes/agent-server.ts";
import { FakeClock } from "../../../test/fakes/clock.ts";
import {
  SecretSchema,
  SPIFFECertValidatorConfigSchema,
} from "../../proto/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import { newKeyAndCsr, type SignedX509Svid, signedX509Svid } from "../cache/x509-signing.ts";
import { type Secret, SECRET_TYPE_URL, SecretWriter } from "./secret-writer.ts";

const clock = new FakeClock();
const web = parseSpiffeId("spiffe://example.org/web");
const entry = fakeEntry(web, 1);
let authority: FakeAuthority;
let own: SpiffeBundle;
let foreign: SpiffeBundle;
let svid: SignedX509Svid;
let writer: SecretWriter;

beforeAll(async () => {
  authority = await FakeAuthority.create(parseTrustDomain("example.org"), clock);
  own = authority.bundle();
  foreign = (await FakeAuthority.create(parseTrustDomain("partner.example"), clock)).bundle();
  svid = await newSvid();
  writer = new SecretWriter(() => []);
});

describe("a secret with an X509-SVID", () => {
  it("is the chain as PEM, leaf first, and its key as PKCS#8 (SDS-10)", () => {
    const secret = read(
      writer.svid("default", { entry, svid: { ...svid, chain: [...svid.chain, ...roots()] } }),
    );
    expect(secret.name).toBe("default");
    if (secret.type.case !== "tlsCertificate") throw new Error("is no certificate");
    const chain =
      text(secret.type.value.certificateChain).match(/-----BEGIN CERTIFICATE-----[^]*?END.*\n/g) ?? [];
    expect(chain.length).toBe(2);
    const leaf = new X509Certificate(chain[0] ?? "");
    expect(leaf.subjectAltName).toBe(`URI:${web}`);
    const key = text(secret.type.value.privateKey);
    expect(key).toMatch(/^-----BEGIN PRIVATE KEY-----\n/);
    expect(leaf.checkPrivateKey(createPrivateKey(key))).toBe(true);
  });

  it("has a version that follows the SVID, is the same everywhere and owes nothing to the key", async () => {
    const one = writer.svid("default", { entry, svid });
    expect(writer.svid(web, { entry, svid }).version).toBe(one.version);
    expect(new SecretWriter(() => []).svid("x", { entry, svid: { ...svid } }).version).toBe(one.version);
    const otherKey = { ...svid, privateKey: new Uint8Array(3) };
    expect(new SecretWriter(() => []).svid("x", { entry, svid: otherKey }).version).toBe(one.version);
    expect(writer.svid("default", { entry, svid: await newSvid() }).version).not.toBe(one.version);
  });
});

describe("a secret with roots", () => {
  it("has Envoy's SPIFFE validator with one pool for each trust domain", () => {
    const secret = read(writer.roots("ALL", [own, foreign], "spiffe"));
    if (secret.type.case !== "validationContext") throw new Error("is no validation context");
    const { trustedCa, crl, customValidatorConfig } = secret.type.value;
    expect([trustedCa, crl]).toEqual([undefined, undefined]);
    expect(customValidatorConfig?.name).toBe("envoy.tls.cert_validator.spiffe");
    const { typeUrl, value } = customValidatorConfig?.typedConfig ?? { typeUrl: "", value: new Uint8Array() };
    expect(typeUrl).toBe(SECRET_TYPE_URL.replace("Secret", "SPIFFECertValidatorConfig"));
    const { trustDomains } = fromBinary(SPIFFECertValidatorConfigSchema, value);
    expect(trustDomains.map(({ name }) => name)).toEqual(["example.org", "partner.example"]);
    const raw = trustDomains.map(({ trustBundle }) => new X509Certificate(text(trustBundle)).raw);
    expect(
      raw.map((der, i) => der.equals([own, foreign][i]?.x509Authorities[0]?.certificate ?? Buffer.alloc(0))),
    ).toEqual([true, true]);
  });

  it("is plain CA certificates where there is no such validator (SDS-10)", () => {
    const secret = read(writer.roots("ROOTCA", [own], "plain"));
    if (secret.type.case !== "validationContext") throw new Error("is no validation context");
    expect(secret.type.value.customValidatorConfig).toBeUndefined();
    expect(new X509Certificate(text(secret.type.value.trustedCa)).raw.equals(authority.certificate)).toBe(
      true,
    );
  });

  it("has a version that follows X.509 authorities and nothing else of a bundle", () => {
    const version = writer.roots("ROOTCA", [own], "spiffe").version;
    const renumbered = { ...own, sequence: 9n, refreshHint: 7, jwtAuthorities: [] };
    expect(writer.roots("ROOTCA", [renumbered], "spiffe").version).toBe(version);
    const others = [
      writer.roots("ROOTCA", [own], "plain"),
      writer.roots("ROOTCA", [own, foreign], "spiffe"),
      writer.roots("ROOTCA", [{ ...own, trustDomain: foreign.trustDomain }], "spiffe"),
      writer.roots("ROOTCA", [{ ...own, x509Authorities: foreign.x509Authorities }], "spiffe"),
    ];
    expect(new Set([version, ...others.map((one) => one.version)]).size).toBe(5);
  });

  it("has each trust domain's CRLs where Envoy's validator looks for them, and follows them", () => {
    const crls = new Map<string, readonly Uint8Array[]>([["example.org", [Buffer.from("ours")]]]);
    const withCrls = new SecretWriter((trustDomain) => crls.get(trustDomain) ?? []);
    const first = withCrls.roots("ALL", [own, foreign], "spiffe");
    expect(bundlesIn(first).map(crlsIn)).toEqual([["ours"], []]);
    const plain = withCrls.roots("ROOTCA", [own], "plain");
    expect([crlsIn(plainIn(plain).crl), crlsIn(plainIn(plain).trustedCa)]).toEqual([["ours"], []]);
    expect(plainIn(withCrls.roots("ROOTCA", [foreign], "plain")).crl).toBe("");

    crls.set("partner.example", [Buffer.from("one"), Buffer.from("two")]);
    const second = withCrls.roots("ALL", [own, foreign], "spiffe");
    expect(bundlesIn(second).map(crlsIn)).toEqual([["ours"], ["one", "two"]]);
    expect(second.version).not.toBe(first.version);
    expect(withCrls.roots("ALL", [own, foreign], "spiffe").version).toBe(second.version);
    crls.clear();
    expect(withCrls.roots("ALL", [own, foreign], "spiffe").version).toBe(
      writer.roots("ALL", [own, foreign], "spiffe").version,
    );
  });
});

async function newSvid(): Promise<SignedX509Svid> {
  const { key, csr } = await newKeyAndCsr();
  return signedX509Svid(authority.issue(csr, web, 60), key, web);
}

function roots(): readonly Uint8Array[] {
  return own.x509Authorities.map(({ certificate }) => certificate);
}

function read(secret: Secret) {
  return fromBinary(SecretSchema, secret.encode());
}

function bundlesIn(secret: Secret): readonly string[] {
  const { type } = read(secret);
  const config =
    type.case === "validationContext" ? type.value.customValidatorConfig?.typedConfig : undefined;
  const { trustDomains } = fromBinary(SPIFFECertValidatorConfigSchema, config?.value ?? new Uint8Array());
  return trustDomains.map(({ trustBundle }) => text(trustBundle));
}

function plainIn(secret: Secret): { readonly trustedCa: string; readonly crl: string } {
  const { type } = read(secret);
  if (type.case !== "validationContext") throw new Error("is no validation context");
  return { trustedCa: text(type.value.trustedCa), crl: text(type.value.crl) };
}

/** What the CRLs in a PEM text say. */
function crlsIn(pem: string): readonly string[] {
  const blocks = [...pem.matchAll(/-----BEGIN X509 CRL-----\n([^-]*)-----END X509 CRL-----\n/g)];
  return blocks.map(([, base64 = ""]) => Buffer.from(base64, "base64").toString());
}

function text(source: { readonly specifier: { readonly value?: unknown } } | undefined): string {
  return Buffer.from((source?.specifier.value as Uint8Array | undefined) ?? []).toString();
}
