import { parseBundleDocument } from "../../crypto/bundle-document.ts";
import { parsePemCertificates } from "../../crypto/pem.ts";
import { AssayError, toAssayError } from "../../errors/assay-error.ts";
import { readBounded } from "../../files/read-bounded.ts";
import { emptyBundle, type SpiffeBundle } from "../../spiffe/bundle.ts";
import { parseTrustDomain, type TrustDomain } from "../../spiffe/trust-domain.ts";

/** What a first server is believed by: a file of PEM certificates or a SPIFFE bundle document, or a bundle at hand. */
export type TrustBundleSource =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "bundle"; readonly bundle: SpiffeBundle };

/**
 * Reads the bundle for the first start.
 * @throws AssayError `CONFIG_INVALID` naming the file and what is wrong with it.
 */
export async function readTrustBundle(
  source: TrustBundleSource,
  trustDomain: TrustDomain,
): Promise<SpiffeBundle> {
  return source.kind === "bundle" ? source.bundle : readBundleFile(source.path, trustDomain);
}

/**
 * The X.509 authorities in such a file, DER, where it is not known yet whose they are.
 * @throws AssayError `CONFIG_INVALID` naming the file and what is wrong with it.
 */
export async function readX509Authorities(path: string): Promise<readonly Uint8Array[]> {
  // A file of this kind says nowhere of which trust domain it is.
  const { x509Authorities } = await readBundleFile(path, parseTrustDomain("unnamed"));
  return x509Authorities.map(({ certificate }) => certificate);
}

async function readBundleFile(path: string, trustDomain: TrustDomain): Promise<SpiffeBundle> {
  const bytes = await readBounded(path, MAX_BYTES, { code: "CONFIG_INVALID" });
  let bundle: SpiffeBundle;
  try {
    const text = bytes.toString();
    // A JSON object begins with a brace; no PEM file does.
    bundle = text.trimStart().startsWith("{")
      ? parseBundleDocument(trustDomain, bytes)
      : fromPem(text, trustDomain);
  } catch (cause) {
    throw new AssayError(
      "CONFIG_INVALID",
      `trust_bundle ${path}: ${toAssayError(cause).detail} (${REMEDY})`,
      { cause },
    );
  }
  if (bundle.x509Authorities.length > 0) return bundle;
  throw new AssayError("CONFIG_INVALID", `trust_bundle ${path}: holds no X.509 authority (${REMEDY})`);
}

function fromPem(text: string, trustDomain: TrustDomain): SpiffeBundle {
  const x509Authorities = parsePemCertificates(text).map(({ der }) => ({ certificate: der, tainted: false }));
  return { ...emptyBundle(trustDomain), x509Authorities };
}

const MAX_BYTES = 4 * 1024 * 1024;
const REMEDY = "name a file that holds PEM certificates or a SPIFFE bundle document";
