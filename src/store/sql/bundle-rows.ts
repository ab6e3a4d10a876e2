import { isDeepStrictEqual } from "node:util";
import type { Selectable } from "kysely";
import type { JwtAuthorityKey, SpiffeBundle } from "../../spiffe/bundle.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import type { BundleTable } from "./schema.ts";

/** The row of a bundle. */
export function bundleRow(bundle: SpiffeBundle): Selectable<BundleTable> {
  return {
    trust_domain: bundle.trustDomain,
    sequence: bundle.sequence.toString(),
    refresh_hint: bundle.refreshHint,
    x509_authorities: JSON.stringify(
      bundle.x509Authorities.map(({ certificate, tainted }) => ({
        certificate: writeBytes(certificate),
        tainted,
      })),
    ),
    jwt_authorities: writeKeys(bundle.jwtAuthorities),
    wit_authorities: writeKeys(bundle.witAuthorities),
  };
}

/** The bundle of a row. */
export function bundleOfRow(row: Selectable<BundleTable>): SpiffeBundle {
  const x509 = JSON.parse(row.x509_authorities) as { certificate: string; tainted: boolean }[];
  return {
    trustDomain: row.trust_domain as TrustDomain,
    sequence: BigInt(row.sequence),
    refreshHint: row.refresh_hint,
    x509Authorities: x509.map(({ certificate, tainted }) => ({
      certificate: readBytes(certificate),
      tainted,
    })),
    jwtAuthorities: readKeys(row.jwt_authorities),
    witAuthorities: readKeys(row.wit_authorities),
  };
}

/** Whether two bundles say the same, sequence included. */
export function sameBundle(a: SpiffeBundle, b: SpiffeBundle): boolean {
  return isDeepStrictEqual(bundleRow(a), bundleRow(b));
}

/** Bytes as text of a JSON column. */
export function writeBytes(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}

/** Bytes from text of a JSON column; never a view of a shared pool. */
export function readBytes(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, "base64"));
}

function writeKeys(keys: readonly JwtAuthorityKey[]): string {
  return JSON.stringify(
    keys.map(({ keyId, publicKey, expiresAt, tainted }) => ({
      keyId,
      publicKey: writeBytes(publicKey),
      expiresAt,
      tainted,
    })),
  );
}

function readKeys(text: string): readonly JwtAuthorityKey[] {
  const keys = JSON.parse(text) as (Omit<JwtAuthorityKey, "publicKey"> & { readonly publicKey: string })[];
  return keys.map((key) => ({ ...key, publicKey: readBytes(key.publicKey) }));
}
