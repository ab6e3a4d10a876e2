import { z } from "zod";
import type { Certificate } from "../../crypto/certificate-reader.ts";
import { parsePemCertificates } from "../../crypto/pem.ts";
import { AssayError, toAssayError } from "../../errors/assay-error.ts";
import type { UpstreamX509Ca } from "../../plugin/upstream-authority.ts";

/**
 * Reads what Vault answers to `root/sign-intermediate`. From version 1.11 on its `ca_chain` begins with the new certificate,
 * before that with the issuer's; it is absent where the issuer is a root. What is self-issued is a root; where nothing is,
 * the last of the chain is taken for one.
 * @throws AssayError `UPSTREAM_REFUSED` where it cannot be read.
 */
export function readSignedIntermediate(answer: unknown): UpstreamX509Ca {
  const read = schema.safeParse(answer);
  if (!read.success) throw refused("Vault answers a signed certificate in another form than expected");
  const { certificate, issuing_ca: issuer, ca_chain: chain } = read.data;
  const own = oneOf(certificate, "certificate");
  const above = [issuer, ...(chain ?? [])].map((pem, n) => oneOf(pem, n === 0 ? "issuing_ca" : "ca_chain"));
  const seen = new Set([textOf(own)]);
  const intermediates: Certificate[] = [];
  const roots: Certificate[] = [];
  for (const one of above) {
    if (seen.has(textOf(one))) continue;
    seen.add(textOf(one));
    (isSelfIssued(one) ? roots : intermediates).push(one);
  }
  // An issuer that was imported without its root is what is trusted, as the PKI engine knows nothing above it.
  const top = roots.length === 0 ? intermediates.pop() : undefined;
  if (top !== undefined) roots.push(top);
  if (roots.length === 0) throw refused("Vault answers without the authority above the certificate");
  return {
    chain: [own, ...intermediates].map(({ der }) => der),
    roots: roots.map(({ der }) => ({ certificate: der, tainted: false })),
  };
}

function oneOf(pem: string, field: string): Certificate {
  try {
    const [first] = parsePemCertificates(pem, 1);
    if (first !== undefined) return first;
  } catch (error) {
    throw refused(`Vault answers with a ${field} that cannot be used: ${toAssayError(error).detail}`);
  }
  throw refused(`Vault answers with an empty ${field}`);
}

function isSelfIssued({ subject, issuer }: Certificate): boolean {
  return Buffer.compare(subject, issuer) === 0;
}

function textOf({ der }: Certificate): string {
  return Buffer.from(der.buffer, der.byteOffset, der.length).toString("base64");
}

function refused(detail: string): AssayError {
  return new AssayError("UPSTREAM_REFUSED", detail);
}

const pem = z.string().min(1).max(65_536);
const schema = z.object({ certificate: pem, issuing_ca: pem, ca_chain: z.array(pem).max(16).nullish() });
