import { AssayError } from "../../errors/assay-error.ts";
import type { AuditRecord } from "../../observe/audit-record.ts";
import type { Signing } from "../../signing/signing.ts";
import type { JwtAuthorityKey, SpiffeBundle, WitAuthorityKey } from "../../spiffe/bundle.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import type { BundleStore } from "../../store/store.ts";
import { changeRecord, type OperatorCall } from "./operator-call.ts";

/** Federated bundles, as far as they are changed here. */
export type OperatedBundles = Pick<BundleStore, "put" | "delete">;

/** Signing, as far as the own bundle is changed through it. */
export type OperatedSigning = Pick<Signing, "appendToBundle" | "publishJwtAuthority" | "publishWitAuthority">;

/** Which existing bundle a write expects: none, one, or either. */
export type BundleWriteMode = Parameters<BundleStore["put"]>[1];

/** What happens to entries that name a deleted bundle. */
export type BundleDeleteMode = Parameters<BundleStore["delete"]>[1];

/** Authorities to add to the own bundle. */
export type BundleAdditions = Parameters<Signing["appendToBundle"]>[0];

/** Changes of bundles. */
export interface BundleOperations {
  /**
   * Writes the bundle of a foreign trust domain.
   * @throws AssayError `INVALID_BUNDLE` (the own trust domain's among them), `ALREADY_EXISTS`, `BUNDLE_NOT_FOUND`.
   */
  setFederatedBundle(call: OperatorCall, bundle: SpiffeBundle, mode: BundleWriteMode): Promise<SpiffeBundle>;
  /**
   * Deletes the bundle of a foreign trust domain.
   * @throws AssayError `BUNDLE_NOT_FOUND`, `BUNDLE_IN_USE`, `INVALID_BUNDLE` for the own trust domain.
   */
  deleteFederatedBundle(call: OperatorCall, trustDomain: TrustDomain, mode: BundleDeleteMode): Promise<void>;
  /** Adds authorities to the own bundle. @throws AssayError `INVALID_BUNDLE`. */
  appendBundle(call: OperatorCall, additions: BundleAdditions): Promise<SpiffeBundle>;
  /**
   * Publishes a JWT authority of a server below this one, upstream too if there is an upstream; gives all there are.
   * @throws AssayError `INVALID_BUNDLE`, `PRECONDITION_FAILED`, `UPSTREAM_UNAVAILABLE`, `UPSTREAM_REFUSED`.
   */
  publishJwtAuthority(call: OperatorCall, key: JwtAuthorityKey): Promise<readonly JwtAuthorityKey[]>;
  /** Publishes a WIT authority of a server below this one; gives all there are. @throws AssayError `INVALID_BUNDLE`, `PRECONDITION_FAILED`. */
  publishWitAuthority(call: OperatorCall, key: WitAuthorityKey): Promise<readonly WitAuthorityKey[]>;
}

/** Makes the operations on bundles. */
export function bundleOperations(options: {
  readonly trustDomain: TrustDomain;
  readonly bundles: OperatedBundles;
  readonly signing: OperatedSigning;
  readonly audit: { append(records: readonly AuditRecord[]): void };
}): BundleOperations {
  const { trustDomain: own, bundles, signing, audit } = options;
  const recordBelow = (call: OperatorCall, kind: "JWT" | "WIT", key: JwtAuthorityKey) =>
    audit.append([
      changeRecord("bundle.changed", call, {
        trust_domain: own,
        authority_id: key.keyId,
        expires_at: key.expiresAt,
        reasons: [`${kind} authority of a server below`],
      }),
    ]);
  return {
    async setFederatedBundle(call, bundle, mode) {
      refuseOwn(bundle.trustDomain, own);
      const stored = await bundles.put(bundle, mode);
      audit.append([changeRecord("bundle.changed", call, { trust_domain: stored.trustDomain })]);
      return stored;
    },
    async deleteFederatedBundle(call, trustDomain, mode) {
      refuseOwn(trustDomain, own);
      await bundles.delete(trustDomain, mode);
      audit.append([
        changeRecord("bundle.deleted", call, {
          trust_domain: trustDomain,
          ...(mode !== "restrict" && { reasons: [`entries that name it: ${mode}`] }),
        }),
      ]);
    },
    async appendBundle(call, additions) {
      const bundle = await signing.appendToBundle(additions);
      audit.append([changeRecord("bundle.changed", call, { trust_domain: own })]);
      return bundle;
    },
    async publishJwtAuthority(call, key) {
      const keys = await signing.publishJwtAuthority(key);
      recordBelow(call, "JWT", key);
      return keys;
    },
    async publishWitAuthority(call, key) {
      const keys = await signing.publishWitAuthority(key);
      recordBelow(call, "WIT", key);
      return keys;
    },
  };
}

function refuseOwn(trustDomain: TrustDomain, own: TrustDomain): void {
  if (trustDomain === own) {
    throw new AssayError("INVALID_BUNDLE", `trust domain ${own} is the server's own, not a federated one`);
  }
}
