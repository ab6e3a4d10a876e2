import { constants } from "node:crypto";
import { createSecureContext, type SecureContext, type SecureContextOptions } from "node:tls";
import { toPem } from "../crypto/pem.ts";
import { INTERMEDIATE_CIPHERS, INTERMEDIATE_GROUPS } from "../tls/handshake.ts";
import type { X509BundleSource } from "./bundles.ts";
import type { WorkloadX509Svid } from "./read-x509-svids.ts";

/**
 * What every handshake of ours is made by: TLS 1.2 and 1.3 with the suites and groups that are thought good for most
 * (Mozilla "intermediate"), no renegotiation, and no tickets: a resumed session would carry the verdict of an earlier
 * handshake past a change of the bundle.
 */
export const HANDSHAKE = {
  minVersion: "TLSv1.2",
  ciphers: INTERMEDIATE_CIPHERS,
  ecdhCurve: INTERMEDIATE_GROUPS,
  honorCipherOrder: false,
  secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
} as const satisfies SecureContextOptions;

/** Certificate and key of an X509-SVID as TLS wants them. */
export function credentialOf(svid: WorkloadX509Svid): { readonly cert: string; readonly key: string } {
  return {
    cert: svid.chain.map((der) => toPem("CERTIFICATE", der)).join(""),
    key: svid.privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  };
}

/**
 * What a client shakes hands with: its X509-SVID, if it shows one, and every authority of every bundle together. The
 * pool is OpenSSL's first word only, never the last: which authority may speak for which trust domain is decided after.
 */
export function clientContext(svid: WorkloadX509Svid | undefined, bundles: X509BundleSource): SecureContext {
  const ca = [...bundles.x509Bundles().values()].flatMap(({ authorities }) =>
    authorities.map((der) => toPem("CERTIFICATE", der)),
  );
  return createSecureContext({
    ...HANDSHAKE,
    // An empty list is a pool of nobody; without a list Node would believe the public authorities.
    ca,
    // A bundle's authority may be an intermediate (X509-SVID §6.1).
    allowPartialTrustChain: true,
    ...(svid === undefined ? {} : credentialOf(svid)),
  });
}
