import { randomBytes } from "node:crypto";
import { unixSeconds } from "../../src/clock.ts";
import { lintSubordinateCaTbs, writeSubordinateCaTbs } from "../../src/crypto/ca-certificate.ts";
import type { Certificate } from "../../src/crypto/certificate-reader.ts";
import { readCertificationRequest } from "../../src/crypto/pkcs10.ts";
import { assembleSigned } from "../../src/crypto/signed-der.ts";
import type {
  UpstreamAuthority,
  UpstreamTrust,
  UpstreamX509Ca,
  UpstreamX509CaOrder,
} from "../../src/plugin/upstream-authority.ts";
import type { JwtAuthorityKey } from "../../src/spiffe/bundle.ts";
import { makeCertificate, makeKey, type TestKey } from "./certificates.ts";
import type { FakeClock } from "./clock.ts";

/** A root of a fake upstream authority with its key. */
export interface FakeRoot {
  readonly certificate: Certificate;
  readonly key: TestKey;
  /** Subject key identifier in hex. */
  readonly id: string;
}

/** An upstream authority in memory, which can be told to fail, to lie, and to change what it trusts. */
export class FakeUpstream implements UpstreamAuthority {
  readonly #clock: FakeClock;
  readonly orders: UpstreamX509CaOrder[] = [];
  readonly published: JwtAuthorityKey[] = [];
  /** Signs; the first of `roots` unless told. */
  signer: FakeRoot;
  roots: { root: FakeRoot; tainted: boolean }[];
  jwtKeys: JwtAuthorityKey[] = [];
  /** Thrown by every call while there is one. */
  failure: Error | undefined;
  /** Longest life that it gives, in seconds. */
  maxTtl = Number.POSITIVE_INFINITY;
  /** Makes something else of each answer. */
  bend: (answer: UpstreamX509Ca) => UpstreamX509Ca = (answer) => answer;
  readonly #listeners = new Set<(trust: UpstreamTrust) => void>();

  constructor(clock: FakeClock) {
    this.#clock = clock;
    this.signer = this.makeRoot("first");
    this.roots = [{ root: this.signer, tainted: false }];
  }

  makeRoot(subject: string, life = 10 * 365 * 86_400): FakeRoot {
    const key = makeKey();
    const now = unixSeconds(this.#clock);
    const certificate = makeCertificate({
      subject,
      key,
      ca: true,
      notBefore: now - 60,
      notAfter: now + life,
    });
    return { certificate, key, id: Buffer.from(certificate.subjectKeyId ?? []).toString("hex") };
  }

  async mintX509Ca(order: UpstreamX509CaOrder): Promise<UpstreamX509Ca> {
    this.orders.push(order);
    if (this.failure !== undefined) throw this.failure;
    const request = readCertificationRequest(order.csr);
    const now = unixSeconds(this.#clock);
    const { certificate: by, key } = this.signer;
    const issuer = {
      subject: by.subject,
      subjectKeyId: by.subjectKeyId ?? new Uint8Array(),
      signatureAlgorithm: "ecdsa-sha256" as const,
      notAfter: by.notAfter,
    };
    const fields = {
      trustDomain: (request.uris[0] ?? "").replace("spiffe://", ""),
      spki: request.spki,
      subject: request.subject,
      serial: randomBytes(16).fill(1, 0, 1),
      notBefore: now - 10,
      notAfter: Math.min(now + Math.min(order.ttl, this.maxTtl), by.notAfter),
    };
    const tbs = writeSubordinateCaTbs(fields, issuer);
    const [finding] = lintSubordinateCaTbs(tbs, fields, issuer);
    if (finding !== undefined) throw new Error(`fake upstream: ${finding.rule}: ${finding.detail}`);
    const own = assembleSigned(tbs, "ecdsa-sha256", key.sign(tbs));
    return this.bend({ chain: [own], roots: this.#trust().roots });
  }

  async publishJwtKey(key: JwtAuthorityKey): Promise<readonly JwtAuthorityKey[]> {
    if (this.failure !== undefined) throw this.failure;
    this.published.push(key);
    this.jwtKeys.push(key);
    return [...this.jwtKeys];
  }

  watch(listener: (trust: UpstreamTrust) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** How many parties are told of news. */
  get listeners(): number {
    return this.#listeners.size;
  }

  /** Tells what is trusted now, or something else. */
  tell(trust: UpstreamTrust = this.#trust()): void {
    for (const listener of this.#listeners) listener(trust);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listeners.clear();
  }

  #trust(): UpstreamTrust {
    return {
      roots: this.roots.map(({ root, tainted }) => ({ certificate: root.certificate.der, tainted })),
      jwtKeys: [...this.jwtKeys],
    };
  }
}
