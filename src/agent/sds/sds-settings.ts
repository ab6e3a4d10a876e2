/** How secrets are named and written for Envoy. */
export interface SdsSettings {
  /** Names the caller's default X509-SVID. */
  readonly defaultSvidName: string;
  /** Names the own trust domain's bundle. */
  readonly defaultBundleName: string;
  /** Names all bundles that the caller may have. */
  readonly defaultAllBundlesName: string;
  /** Whether validation contexts hold plain CA certificates in place of the SPIFFE validator. */
  readonly disableSpiffeCertValidation: boolean;
}

/** The names that SPIRE has, so that an Envoy of SPIRE's needs no change. */
export const DEFAULT_SDS_SETTINGS: SdsSettings = {
  defaultSvidName: "default",
  defaultBundleName: "ROOTCA",
  defaultAllBundlesName: "ALL",
  disableSpiffeCertValidation: false,
};
