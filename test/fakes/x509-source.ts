import type { CertificateRevocationList } from "../../src/crypto/crl.ts";
import { AssayError } from "../../src/errors/assay-error.ts";
import { parseSpiffeId } from "../../src/spiffe/id.ts";
import { parseTrustDomain, type TrustDomain } from "../../src/spiffe/trust-domain.ts";
import type { X509Bundle, X509BundleSource } from "../../src/workload/bundles.ts";
import type { WorkloadX509Svid } from "../../src/workload/read-x509-svids.ts";
import type { X509SvidSource } from "../../src/workload/x509-source.ts";
import type { FactoryCertificate } from "./svid-factory.ts";

/** What a {@link TestX509Source} has. */
export interface TestMaterial {
  /** What is shown to peers, leaf first, good or bad. */
  readonly chain: readonly [FactoryCertificate, ...FactoryCertificate[]];
  /** Authorities by trust domain. */
  readonly trust: Readonly<Record<string, readonly FactoryCertificate[]>>;
  readonly crls?: readonly CertificateRevocationList[];
}

/** A source that says what a test wants it to: nothing that a Workload API would refuse to send is refused here. */
export class TestX509Source implements X509SvidSource, X509BundleSource {
  #material: TestMaterial | undefined;
  readonly #listeners = new Set<() => void>();

  constructor(material: TestMaterial) {
    this.#material = material;
  }

  /** Takes the place of what it had; `undefined` withdraws it. */
  set(material: TestMaterial | undefined): void {
    this.#material = material;
    for (const listener of this.#listeners) listener();
  }

  x509Svid(): WorkloadX509Svid {
    if (this.#material === undefined) throw new AssayError("NO_IDENTITY_ISSUED", "no identity issued");
    const { chain } = this.#material;
    return {
      spiffeId: parseSpiffeId("spiffe://factory.test/own"),
      hint: "",
      chain: chain.map(({ der }) => der),
      privateKey: chain[0].key.privateKey,
      notBefore: 0,
      notAfter: 0,
      serial: "",
    };
  }

  x509Bundles(): ReadonlyMap<TrustDomain, X509Bundle> {
    return new Map(
      Object.entries(this.#material?.trust ?? {}).map(([name, authorities]) => {
        const trustDomain = parseTrustDomain(name);
        return [
          trustDomain,
          { profile: "x509", trustDomain, authorities: authorities.map(({ der }) => der) },
        ];
      }),
    );
  }

  crls(): readonly CertificateRevocationList[] {
    return this.#material?.crls ?? [];
  }

  onUpdate(listener: () => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** How many hear of changes. */
  get listeners(): number {
    return this.#listeners.size;
  }
}
