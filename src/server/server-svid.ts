import type { Clock } from "../clock.ts";
import { readCertificate } from "../crypto/certificate-reader.ts";
import { generateEcKeyPair } from "../crypto/keys.ts";
import { toPem } from "../crypto/pem.ts";
import type { IssuedX509Svid, Signing } from "../signing/signing.ts";
import type { AuthorityRecord } from "../store/records.ts";
import type { SpiffeId } from "../spiffe/id.ts";
import type { ServerCredential } from "../endpoint/tls-listener.ts";

/** What the server's own SVID stands on. */
export interface ServerSvidOptions {
  readonly spiffeId: SpiffeId;
  /** Lifetime in seconds. */
  readonly ttl: number;
  readonly signing: Signing;
  readonly clock: Clock;
  /** Names that clients without SPIFFE check: those of the machine and of the web listener. */
  readonly dnsNames: readonly string[];
  /** Told of each new SVID, and of each that could not be made. */
  readonly report: (svid: IssuedX509Svid) => void;
  readonly onFailed: (error: unknown) => void;
}

/**
 * The SVID that the server shows on its listeners: made at start, replaced with a fresh key at half of its life, and at
 * once where the authority that signed it is tainted.
 */
export class ServerSvid implements Disposable {
  readonly #options: ServerSvidOptions;
  #current: { readonly credential: ServerCredential; readonly svid: IssuedX509Svid };
  readonly #listeners = new Set<(credential: ServerCredential) => void>();
  readonly #bundleChanges: Disposable;
  /** The one timer there is, also after it has gone off; `undefined` once disposed. */
  #wait: Disposable | undefined;
  #isRotating = false;

  private constructor(
    options: ServerSvidOptions,
    current: { credential: ServerCredential; svid: IssuedX509Svid },
  ) {
    this.#options = options;
    this.#current = current;
    this.#schedule(this.#untilHalfLife());
    this.#bundleChanges = options.signing.onBundleChange(() => this.#checkAuthority());
  }

  /** Makes the first one. @throws AssayError what signing throws. */
  static async open(options: ServerSvidOptions): Promise<ServerSvid> {
    return new ServerSvid(options, await mint(options));
  }

  /** Certificate chain and key as PEM. */
  get credential(): ServerCredential {
    return this.#current.credential;
  }

  /** The SVID itself. */
  get svid(): IssuedX509Svid {
    return this.#current.svid;
  }

  /** Calls the listener with each new certificate chain and key. */
  onRotated(listener: (credential: ServerCredential) => void): void {
    this.#listeners.add(listener);
  }

  [Symbol.dispose](): void {
    this.#bundleChanges[Symbol.dispose]();
    this.#wait?.[Symbol.dispose]();
    this.#wait = undefined;
  }

  #schedule(milliseconds: number): void {
    this.#wait?.[Symbol.dispose]();
    this.#wait = this.#options.clock.schedule(milliseconds, () => void this.#rotate());
  }

  #checkAuthority(): void {
    const { authorityId } = this.#current.svid;
    const { signing } = this.#options;
    const authority = signing.authorities().find(({ id }) => id === authorityId);
    const isTainted =
      authority?.state === "tainted" || (authority !== undefined && hasTaintedRoot(authority, signing));
    // One that is being made is looked at when it is there.
    if (!isTainted || this.#isRotating || this.#wait === undefined) return;
    this.#schedule(0);
  }

  async #rotate(): Promise<void> {
    this.#isRotating = true;
    try {
      this.#current = await mint(this.#options);
      if (this.#wait === undefined) return;
      this.#options.report(this.#current.svid);
      for (const listener of this.#listeners) listener(this.#current.credential);
      this.#schedule(this.#untilHalfLife());
    } catch (error) {
      this.#options.onFailed(error);
      if (this.#wait !== undefined) this.#schedule(RETRY_MS);
      return;
    } finally {
      this.#isRotating = false;
    }
    this.#checkAuthority();
  }

  #untilHalfLife(): number {
    const { notBefore, notAfter } = this.#current.svid;
    const middle = (notBefore + (notAfter - notBefore) / 2) * 1000;
    return Math.max(MIN_WAIT_MS, middle - this.#options.clock.now());
  }
}

function hasTaintedRoot(authority: AuthorityRecord, signing: Signing): boolean {
  const root = signing.upstreamIdOf(authority);
  // Until another signs there is nothing to gain.
  if (root === undefined || signing.authorityStates("x509").active?.id === authority.id) return false;
  const trusted = signing.bundle().x509Authorities.filter(({ tainted }) => !tainted);
  return !trusted.some(
    ({ certificate }) =>
      Buffer.from(readCertificate(certificate).subjectKeyId ?? []).toString("hex") === root,
  );
}

async function mint({ spiffeId, ttl, signing, dnsNames }: ServerSvidOptions) {
  const { pkcs8, spki } = generateEcKeyPair("ec-p256");
  const svid = await signing.signX509Svid(
    signing.prepareX509Svid({ spiffeId, publicKey: spki, dnsNames, ttl }),
  );
  const credential: ServerCredential = {
    certificateChain: svid.chain.map((certificate) => toPem("CERTIFICATE", certificate)).join(""),
    privateKey: toPem("PRIVATE KEY", pkcs8),
  };
  return { credential, svid };
}

const RETRY_MS = 5_000;
const MIN_WAIT_MS = 1_000;
