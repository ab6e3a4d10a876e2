import { createHash } from "node:crypto";
import { z } from "zod";
import { parsePemCertificates, toPem } from "../../crypto/pem.ts";
import { AssayError, toAssayError } from "../../errors/assay-error.ts";
import type { UpstreamX509Ca } from "../../plugin/upstream-authority.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";

/** Who is to sign: an issuer as cert-manager names it. */
export interface IssuerReference {
  readonly name: string;
  readonly kind: string;
  readonly group: string;
}

/** Where a CertificateRequest stands. */
export type RequestState =
  | { readonly state: "pending" }
  | { readonly state: "refused"; readonly reason: string }
  | { readonly state: "signed"; readonly certificate: string; readonly ca: string | undefined };

/** Name of the label by which the requests of a trust domain are found: SPIRE's. */
export const TRUST_DOMAIN_LABEL = "cert-manager.spiffe.io/trust-domain";

/** The value of that label. One has at most 63 characters; a longer name stands as its hash. */
export function trustDomainLabel(trustDomain: TrustDomain): string {
  if (/^[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?$/.test(trustDomain)) return trustDomain;
  return `sha256-${createHash("sha256").update(trustDomain).digest("hex").slice(0, 56)}`;
}

/** A CertificateRequest (cert-manager.io/v1) for an authority. */
export function certificateRequest(order: {
  readonly csr: Uint8Array;
  readonly ttl: number;
  readonly namespace: string;
  readonly trustDomain: TrustDomain;
  readonly issuer: IssuerReference;
}) {
  return {
    apiVersion: "cert-manager.io/v1",
    kind: "CertificateRequest",
    metadata: {
      generateName: "spiffe-ca-",
      namespace: order.namespace,
      labels: { [TRUST_DOMAIN_LABEL]: trustDomainLabel(order.trustDomain) },
    },
    spec: {
      duration: `${order.ttl}s`,
      issuerRef: order.issuer,
      request: Buffer.from(toPem("CERTIFICATE REQUEST", order.csr)).toString("base64"),
      isCA: true,
      usages: ["cert sign", "crl sign"],
    },
  };
}

/**
 * Where a request stands, by its conditions: denied, invalid and failed are final, and a certificate is what was waited for.
 * @throws AssayError `UPSTREAM_REFUSED` where it cannot be read.
 */
export function requestState(object: unknown): RequestState {
  const read = schema.safeParse(object);
  if (!read.success)
    throw refused("the Kubernetes API answers a CertificateRequest in another form than expected");
  const { conditions, certificate, ca } = read.data.status ?? {};
  for (const { type, status, reason, message } of conditions ?? []) {
    const isFinal =
      ((type === "Denied" || type === "InvalidRequest") && status === "True") ||
      (type === "Ready" && status === "False" && (reason === "Failed" || reason === "Denied"));
    if (isFinal) return { state: "refused", reason: plainText(`${type}, ${reason ?? ""}: ${message ?? ""}`) };
  }
  if (certificate === undefined || certificate === null || certificate === "") return { state: "pending" };
  return { state: "signed", certificate, ca: ca ?? undefined };
}

/**
 * Reads the chain and the root that a signed request holds; both are PEM in base64, and a root in the chain is left out of it.
 * @throws AssayError `UPSTREAM_REFUSED` where they cannot be read, or the issuer tells no root.
 */
export function readSigned({
  certificate,
  ca,
}: {
  certificate: string;
  ca: string | undefined;
}): UpstreamX509Ca {
  if (ca === undefined || ca === "") {
    throw refused(
      "the issuer gave no CA certificate, so its root is not known: choose an issuer that gives it",
    );
  }
  const roots = certificatesOf(ca, "status.ca");
  const isRoot = (der: Uint8Array) => roots.some((root) => Buffer.compare(root, der) === 0);
  const chain = certificatesOf(certificate, "status.certificate").filter((der) => !isRoot(der));
  if (chain.length === 0) throw refused("the CertificateRequest holds the root in place of a certificate");
  return { chain, roots: roots.map((der) => ({ certificate: der, tainted: false })) };
}

/** Text of the cluster's on one line of at most 300 characters. */
export function plainText(text: string): string {
  return text
    .replace(/[\p{C}\s]+/gu, " ")
    .slice(0, 300)
    .toWellFormed()
    .trim();
}

function certificatesOf(base64: string, field: string): readonly Uint8Array[] {
  try {
    return parsePemCertificates(Buffer.from(base64, "base64").toString("latin1"), MAX_CERTIFICATES).map(
      ({ der }) => der,
    );
  } catch (error) {
    throw refused(`${field} of the CertificateRequest cannot be used: ${toAssayError(error).detail}`);
  }
}

function refused(detail: string): AssayError {
  return new AssayError("UPSTREAM_REFUSED", detail);
}

const MAX_CERTIFICATES = 16;
const text = z.string().max(65_536);
const schema = z.object({
  status: z
    .object({
      conditions: z
        .array(z.object({ type: text, status: text, reason: text.nullish(), message: text.nullish() }))
        .max(100)
        .nullish(),
      certificate: z.string().max(1_048_576).nullish(),
      ca: z.string().max(1_048_576).nullish(),
    })
    .nullish(),
});
