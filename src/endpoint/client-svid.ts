import type { TLSSocket } from "node:tls";
import { type Clock, unixSeconds } from "../clock.ts";
import { type Certificate, readCertificate } from "../crypto/certificate-reader.ts";
import { type CertificateRevocationList, readCrl } from "../crypto/crl.ts";
import { OIDS } from "../crypto/der/oid.ts";
import { serialToHex } from "../crypto/random.ts";
import { parseX509Svid, validateX509Svid } from "../crypto/x509-svid.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { SpiffeBundle } from "../spiffe/bundle.ts";
import { type SpiffeId, trustDomainOf } from "../spiffe/id.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import { peerChain } from "../tls/peer-chain.ts";

/** A verified client SVID. */
export interface ClientSvid {
  readonly spiffeId: SpiffeId;
  /** Lower-case hex. */
  readonly serial: string;
  /** Unix seconds. */
  readonly notAfter: number;
}

/** Checks client certificates as X509-SVIDs, at the handshake and again whenever a bundle has changed. */
export interface ClientSvidVerifier {
  /**
   * Verifies a chain.
   * @throws AssayError `CALLER_NOT_IDENTIFIED` saying what is wrong with it.
   */
  open(chain: readonly Uint8Array[]): VerifiedSvid;
}

/** A client's SVID over the life of its connection. */
export interface VerifiedSvid {
  /**
   * The SVID, verified against the bundle as it is now. Expiry is not an error here: what an expired SVID means
   * depends on who asks for what.
   * @throws AssayError `CALLER_NOT_IDENTIFIED` where its authority has left the bundle, or it has been revoked.
   */
  current(): ClientSvid;
}

/** What the verifier needs. */
export interface ClientSvidVerifierOptions {
  readonly clock: Clock;
  /** The bundle of a trust domain whose members may call, or `undefined`. The same object as long as it is unchanged. */
  readonly bundleOf: (trustDomain: TrustDomain) => SpiffeBundle | undefined;
  /** The revocation lists of a trust domain in DER. The same array as long as they are unchanged. */
  readonly crlsOf: (trustDomain: TrustDomain) => readonly Uint8Array[] | undefined;
}

/** Makes the verifier of one listener. */
export function createClientSvidVerifier(options: ClientSvidVerifierOptions): ClientSvidVerifier {
  const { clock, bundleOf, crlsOf } = options;
  const rootsByBundle = new WeakMap<SpiffeBundle, readonly Certificate[]>();
  const crlByDer = new WeakMap<Uint8Array, CertificateRevocationList>();

  return {
    open(der) {
      const { chain, spiffeId } = readChain(der);
      const trustDomain = trustDomainOf(spiffeId);
      let verifiedWith: SpiffeBundle | undefined;
      let unrevokedIn: readonly Uint8Array[] | undefined;
      let svid: ClientSvid | undefined;

      const current = (): ClientSvid => {
        const bundle = bundleOf(trustDomain);
        const crls = crlsOf(trustDomain);
        // Lists change with every end of a task, and thousands of agents are connected: who is not named stays verified.
        if (
          svid !== undefined &&
          bundle === verifiedWith &&
          (crls === unrevokedIn || !isNamed(chain, crls ?? []))
        ) {
          unrevokedIn = crls;
          return svid;
        }
        if (bundle === undefined) {
          throw new AssayError(
            "CALLER_NOT_IDENTIFIED",
            `client SVID: no bundle of trust domain ${trustDomain}`,
          );
        }
        svid = verify(chain, bundle, crls ?? [], spiffeId, svid);
        verifiedWith = bundle;
        unrevokedIn = crls;
        return svid;
      };
      current();
      return { current };
    },
  };

  function verify(
    chain: readonly Certificate[],
    bundle: SpiffeBundle,
    crls: readonly Uint8Array[],
    spiffeId: SpiffeId,
    known: ClientSvid | undefined,
  ): ClientSvid {
    const now = unixSeconds(clock);
    // A connection may outlive its SVID; whether the chain is trusted is then asked for the time it was valid.
    const at = known === undefined ? now : Math.min(now, known.notAfter);
    try {
      const valid = validateX509Svid(chain, rootsOf(bundle), at, {
        crls: crls.map(crlOf),
        purpose: OIDS.clientAuth,
      });
      return { spiffeId, serial: serialToHex(valid.serial), notAfter: valid.notAfter };
    } catch (error) {
      throw refused(error);
    }
  }

  /** Whether a list names a certificate of the chain, whoever signed the list, or cannot be read. */
  function isNamed(chain: readonly Certificate[], crls: readonly Uint8Array[]): boolean {
    const serials = chain.map(({ serial }) => serialToHex(serial));
    try {
      return crls.map(crlOf).some(({ revoked }) => serials.some((serial) => revoked.has(serial)));
    } catch {
      return true;
    }
  }

  function rootsOf(bundle: SpiffeBundle): readonly Certificate[] {
    let roots = rootsByBundle.get(bundle);
    if (roots === undefined) {
      roots = bundle.x509Authorities.map(({ certificate }) => readCertificate(certificate));
      rootsByBundle.set(bundle, roots);
    }
    return roots;
  }

  /** One that cannot be read could name anybody, so then nobody is believed. */
  function crlOf(der: Uint8Array): CertificateRevocationList {
    let crl = crlByDer.get(der);
    if (crl === undefined) {
      crl = readCrl(der, "INVALID_CRL");
      crlByDer.set(der, crl);
    }
    return crl;
  }
}

/** The certificates a client showed, leaf first, as DER; `undefined` where it showed none. Bounded in length. */
export function clientChain(socket: TLSSocket): readonly Uint8Array[] | undefined {
  try {
    const chain = peerChain(socket.getPeerCertificate(true));
    return chain.length === 0 ? undefined : chain;
  } catch (error) {
    throw refused(error);
  }
}

function readChain(der: readonly Uint8Array[]): { chain: readonly Certificate[]; spiffeId: SpiffeId } {
  try {
    const chain = der.map((certificate) => readCertificate(certificate));
    const [leaf] = chain;
    if (leaf === undefined) throw new AssayError("INVALID_CERTIFICATE", "chain is empty");
    return { chain, spiffeId: parseX509Svid(leaf).spiffeId };
  } catch (error) {
    throw refused(error);
  }
}

function refused(error: unknown): AssayError {
  const reason =
    error instanceof AssayError ? error.detail : error instanceof Error ? error.message : String(error);
  return new AssayError("CALLER_NOT_IDENTIFIED", `client SVID: ${reason}`, { cause: error });
}
