import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from "node:crypto";
import type { Clock } from "../../src/clock.ts";
import { readCertificate } from "../../src/crypto/certificate-reader.ts";
import { assembleJwtSvid, jwtSvidSigningInput } from "../../src/crypto/jose/jwt-svid.ts";
import { assembleWitSvid, witSvidSigningInput } from "../../src/crypto/jose/wit-svid.ts";
import { generateEcKeyPair, subjectKeyIdentifier } from "../../src/crypto/keys.ts";
import { readCertificationRequest } from "../../src/crypto/pkcs10.ts";
import { createX509AuthorityCertificate } from "../../src/crypto/x509-authority.ts";
import { createX509SvidTemplate, type X509SvidTemplate } from "../../src/crypto/x509-svid-template.ts";
import type { SpiffeBundle } from "../../src/spiffe/bundle.ts";
import type { SpiffeId } from "../../src/spiffe/id.ts";
import type { JwtSvid } from "../../src/spiffe/svid.ts";
import type { TrustDomain } from "../../src/spiffe/trust-domain.ts";

/** A trust domain's authority with its keys in memory: signs whatever it is told. */
export class FakeAuthority {
  readonly trustDomain: TrustDomain;
  readonly keyId: string;
  readonly witKeyId = randomBytes(8).toString("hex");
  readonly certificate: Uint8Array;
  readonly #clock: Clock;
  readonly #key: KeyObject;
  readonly #wit = generateKeyPairSync("ec", { namedCurve: "P-256" });
  readonly #jwt: { readonly privateKey: KeyObject; readonly publicKey: KeyObject };
  readonly #template: X509SvidTemplate;

  private constructor(trustDomain: TrustDomain, clock: Clock, key: KeyObject, certificate: Uint8Array) {
    this.trustDomain = trustDomain;
    this.certificate = certificate;
    this.keyId = randomBytes(8).toString("hex");
    this.#clock = clock;
    this.#key = key;
    this.#jwt = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const { subject, subjectKeyId } = readCertificate(certificate);
    this.#template = createX509SvidTemplate({
      issuer: subject,
      authorityKeyId: subjectKeyId ?? new Uint8Array(),
      signatureAlgorithm: "ecdsa-sha256",
    });
  }

  static async create(trustDomain: TrustDomain, clock: Clock): Promise<FakeAuthority> {
    const pair = generateEcKeyPair("ec-p256");
    const key = createPrivateKey({ key: Buffer.from(pair.pkcs8), format: "der", type: "pkcs8" });
    const now = Math.floor(clock.now() / 1000);
    const certificate = await createX509AuthorityCertificate(
      {
        trustDomain,
        spki: pair.spki,
        serial: randomBytes(8),
        notBefore: now - 60,
        notAfter: now + 86_400,
        signatureAlgorithm: "ecdsa-sha256",
      },
      (bytes) => sign("sha256", bytes, key),
    );
    return new FakeAuthority(trustDomain, clock, key, certificate);
  }

  /** The authority's bundle; `tainted` marks its X.509 half. */
  bundle(sequence = 1n, tainted = false): SpiffeBundle {
    return {
      trustDomain: this.trustDomain,
      sequence,
      refreshHint: 0,
      x509Authorities: [{ certificate: this.certificate, tainted }],
      jwtAuthorities: [
        {
          keyId: this.keyId,
          publicKey: this.#jwt.publicKey.export({ format: "der", type: "spki" }),
          expiresAt: 0,
          tainted: false,
        },
      ],
      witAuthorities: [
        {
          keyId: this.witKeyId,
          publicKey: this.#wit.publicKey.export({ format: "der", type: "spki" }),
          expiresAt: 0,
          tainted: false,
        },
      ],
    };
  }

  /** Signs a certificate for the key of a CSR; the chain in DER. */
  issue(csr: Uint8Array, spiffeId: SpiffeId, ttl: number, dnsNames: readonly string[] = []): Uint8Array[] {
    return [this.issueFor(readCertificationRequest(csr).spki, spiffeId, ttl, dnsNames)];
  }

  /** Signs a certificate for a public key. */
  issueFor(spki: Uint8Array, spiffeId: SpiffeId, ttl: number, dnsNames: readonly string[] = []): Uint8Array {
    const now = Math.floor(this.#clock.now() / 1000);
    const tbs = this.#template.build({
      spki,
      subjectKeyId: subjectKeyIdentifier(spki),
      spiffeId,
      dnsNames,
      serial: Uint8Array.of(1, ...randomBytes(8)),
      notBefore: now - 10,
      notAfter: now + ttl,
    });
    return this.#template.assemble(tbs, sign("sha256", tbs, this.#key));
  }

  /** A key with a certificate, for servers. */
  credential(spiffeId: SpiffeId): { readonly certificate: Uint8Array; readonly privateKey: KeyObject } {
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const spki = publicKey.export({ format: "der", type: "spki" });
    return { certificate: this.issueFor(spki, spiffeId, 3600), privateKey };
  }

  /** Signs a JWT-SVID. */
  jwtSvid(spiffeId: SpiffeId, audience: readonly string[], ttl: number, jti?: string): JwtSvid {
    const now = Math.floor(this.#clock.now() / 1000);
    const input = jwtSvidSigningInput({
      keyId: this.keyId,
      alg: "ES256",
      claims: {
        sub: spiffeId,
        aud: audience,
        exp: now + ttl,
        iat: now,
        ...(jti === undefined ? {} : { jti }),
      },
    });
    const signature = sign("sha256", input, { key: this.#jwt.privateKey, dsaEncoding: "ieee-p1363" });
    return { spiffeId, token: assembleJwtSvid(input, signature), issuedAt: now, expiresAt: now + ttl };
  }

  /** Signs a WIT-SVID over a P-256 key. */
  witSvid(spiffeId: SpiffeId, publicKey: Uint8Array, ttl: number): string {
    const now = Math.floor(this.#clock.now() / 1000);
    const input = witSvidSigningInput({
      keyId: this.witKeyId,
      alg: "ES256",
      claims: {
        sub: spiffeId,
        exp: now + ttl,
        iat: now,
        jti: randomBytes(8).toString("hex"),
        publicKey,
        keyAlgorithm: "ES256",
      },
    });
    return assembleWitSvid(
      input,
      sign("sha256", input, { key: this.#wit.privateKey, dsaEncoding: "ieee-p1363" }),
    );
  }

  /** The public half of the JWT key. */
  get jwtPublicKey(): KeyObject {
    return createPublicKey(this.#jwt.privateKey);
  }
}
