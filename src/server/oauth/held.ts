import { hash } from "node:crypto";
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import type { FastifyRequest } from "fastify";
import { unixSeconds } from "../../clock.ts";
import type { Caller } from "../../issuance/caller.ts";
import type { Held } from "../../issuance/token-exchange/exchange-token.ts";
import type { OAuthRoutesOptions } from "./oauth-options.ts";

/**
 * What the sender of a request proved to hold: the key of its DPoP proof, where it has one, and the certificate of its
 * connection, where that is an X509-SVID that has not expired.
 * @throws AssayError `INVALID_DPOP_PROOF`, `DPOP_NONCE_REQUIRED`, `OVERLOADED`.
 */
export async function heldBy(
  { dpop, certificateOf, exchange }: Pick<OAuthRoutesOptions, "dpop" | "certificateOf" | "exchange">,
  request: FastifyRequest,
  caller: Caller,
): Promise<Held> {
  const jkt = dpop.isProved(request) ? await dpop.admit(request) : undefined;
  const isCurrent = caller.svid !== undefined && unixSeconds(exchange.clock) < caller.svid.notAfter;
  const certificate = isCurrent ? certificateOf(request.socket) : undefined;
  return {
    ...(jkt !== undefined && { jkt }),
    ...(certificate !== undefined && { x5tS256: hash("sha256", certificate, "base64url") }),
  };
}

/** DER of the certificate that the other end of a TLS connection showed. Says nothing of whether anybody trusts it. */
export function clientCertificateOf(socket: Socket): Uint8Array | undefined {
  return socket instanceof TLSSocket ? socket.getPeerX509Certificate()?.raw : undefined;
}
