import { createPrivateKey, createPublicKey, type KeyObject } from "node:crypto";
import { readCertificate } from "../../crypto/certificate-reader.ts";
import { serialToHex } from "../../crypto/random.ts";
import { validateX509Svid } from "../../crypto/x509-svid.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import type { SpiffeId } from "../../spiffe/id.ts";
import { isAgentId } from "../../spiffe/reserved.ts";

/** The agent's own X509-SVID, ready for use. */
export interface AgentIdentity {
  readonly agentId: SpiffeId;
  /** DER, leaf first. */
  readonly chain: readonly Uint8Array[];
  readonly key: KeyObject;
  /** PKCS#8 DER of the key. */
  readonly privateKey: Uint8Array;
  /** Lower-case hex. */
  readonly serial: string;
  /** Unix seconds. */
  readonly notAfter: number;
  readonly reattestable: boolean;
}

/**
 * The identity in a chain and its key. An agent shows no certificate that it would not accept itself: the chain leads to
 * the bundle, is within its time, names an agent of the trust domain, and belongs to the key.
 * @throws AssayError `INVALID_CERTIFICATE` naming what does not fit.
 */
export function agentIdentity(
  parts: { chain: readonly Uint8Array[]; privateKey: Uint8Array; reattestable: boolean },
  bundle: SpiffeBundle,
  nowSeconds: number,
): AgentIdentity {
  const chain = parts.chain.map((der) => readCertificate(der));
  const roots = bundle.x509Authorities.map(({ certificate }) => readCertificate(certificate));
  const facts = validateX509Svid(chain, roots, nowSeconds);
  if (!isAgentId(facts.spiffeId, bundle.trustDomain)) {
    throw new AssayError(
      "INVALID_CERTIFICATE",
      `${facts.spiffeId} is not an agent of the trust domain ${bundle.trustDomain}`,
    );
  }
  const key = privateKeyOf(parts.privateKey);
  const spki = createPublicKey(key).export({ format: "der", type: "spki" });
  if (Buffer.compare(spki, facts.spki) !== 0) {
    throw new AssayError("INVALID_CERTIFICATE", "the agent's certificate is over another key");
  }
  return {
    agentId: facts.spiffeId,
    chain: parts.chain,
    key,
    privateKey: parts.privateKey,
    serial: serialToHex(facts.serial),
    notAfter: facts.notAfter,
    reattestable: parts.reattestable,
  };
}

/** Whether the authority that the identity chains to is tainted in the bundle: it is to be replaced before it is revoked. */
export function isTainted({ chain }: Pick<AgentIdentity, "chain">, bundle: SpiffeBundle): boolean {
  const last = chain.at(-1);
  const tainted = bundle.x509Authorities.filter((authority) => authority.tainted);
  if (last === undefined || tainted.length === 0) return false;
  const { authorityKeyId } = readCertificate(last);
  if (authorityKeyId === undefined) return false;
  return tainted.some(({ certificate }) => {
    const { subjectKeyId } = readCertificate(certificate);
    return subjectKeyId !== undefined && Buffer.compare(subjectKeyId, authorityKeyId) === 0;
  });
}

function privateKeyOf(pkcs8: Uint8Array): KeyObject {
  try {
    return createPrivateKey({ key: Buffer.from(pkcs8), format: "der", type: "pkcs8" });
  } catch (cause) {
    throw new AssayError("INVALID_CERTIFICATE", "the agent's private key cannot be read", { cause });
  }
}
