import { readCertificationRequest } from "../../src/crypto/pkcs10.ts";
import { toPem } from "../../src/crypto/pem.ts";
import type { Certificate } from "../../src/crypto/certificate-reader.ts";
import { createCaRequest } from "../../src/crypto/ca-request.ts";
import { makeCertificate, makeKey, type TestKey } from "./certificates.ts";

/** A certificate authority of a cloud: a root and one below it, which signs. */
export interface CloudCa {
  readonly root: Certificate;
  /** PEM of the authority that signs and of the root, in this order. */
  readonly pemChain: readonly string[];
  /** PEM of a CA's certificate for a request. @param notAfter Unix seconds. */
  sign(csr: Uint8Array, notAfter: number): string;
  /** The same for a key and names that came without a request. */
  certify(spki: Uint8Array, uris: readonly string[], notAfter: number): string;
}

/** Makes one. @param now Unix seconds at which it begins to be valid; it is for an hour. */
export function makeCloudCa(name: string, now: number): CloudCa {
  const rootKey = makeKey();
  const ownKey = makeKey();
  const span = { ca: true, notBefore: now - 60, notAfter: now + 3600 };
  const root = makeCertificate({ subject: `${name} root`, key: rootKey, ...span });
  const own = makeCertificate({
    subject: name,
    key: ownKey,
    issuer: { certificate: root, key: rootKey },
    ...span,
  });
  const certify = (spki: Uint8Array, uris: readonly string[], notAfter: number) => {
    // Of the key that is certified only the public half is there, and no more is asked of it.
    const key = { spki } as TestKey;
    const issuer = { certificate: own, key: ownKey };
    const made = makeCertificate({
      subject: "an authority",
      key,
      issuer,
      uris,
      ca: true,
      pathLength: 0,
      notBefore: now - 60,
      notAfter,
    });
    return toPem("CERTIFICATE", made.der);
  };
  return {
    root,
    pemChain: [own, root].map(({ der }) => toPem("CERTIFICATE", der)),
    certify,
    sign(csr, notAfter) {
      const { spki, uris } = readCertificationRequest(csr);
      return certify(spki, uris, notAfter);
    },
  };
}

/** A request for a CA certificate of the trust domain `example.org`, and the key that it is for. */
export async function makeCaOrder(): Promise<{ readonly csr: Uint8Array; readonly key: TestKey }> {
  const key = makeKey();
  const subject = [{ oid: "2.5.4.10", value: "Assay" }];
  const fields = { trustDomain: "example.org", spki: key.spki, subject };
  return { csr: await createCaRequest(fields, "ecdsa-sha256", key.sign), key };
}
