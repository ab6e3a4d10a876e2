/**
 * cloud/azure/ — Azure as whom: credentials out of the official packages, and how its calls fail.
 *
 * Must never put a secret into an error or a log line, nor load a package before a setting asks for it.
 * Called by the key manager `azure_key_vault`.
 */
import { AssayError } from "../../errors/assay-error.ts";
import { loadOptionalPackage } from "../../files/optional-package.ts";
import { readSecretFile } from "../secret-file.ts";

/** As whom Azure is asked, out of a plugin's configuration. */
export interface AzureSettings {
  readonly tenantId?: string | undefined;
  /** Together with `tenantId` and `appSecretFile`; without both, the environment, workload and managed identities are tried. */
  readonly appId?: string | undefined;
  /** File with the application's secret, read when the credential is made. */
  readonly appSecretFile?: string | undefined;
  /** Where the packages are looked for besides beside Assay. */
  readonly packagesFolder?: string | undefined;
}

/** Something that gives tokens: made by one of Azure's packages for another, and opaque to us. */
export interface AzureCredential {
  getToken(scopes: string | string[]): Promise<unknown>;
}

/** As much of `@azure/identity` as we use. */
export interface AzureIdentityModule {
  readonly ClientSecretCredential: new (
    tenantId: string,
    clientId: string,
    clientSecret: string,
  ) => AzureCredential;
  readonly DefaultAzureCredential: new (options: { readonly tenantId?: string }) => AzureCredential;
}

/**
 * Makes the credential. Nothing is asked of Azure yet.
 * @throws AssayError `CONFIG_INVALID` where half an application is named, its secret's file cannot be read or the package
 * is missing.
 */
export async function azureCredential(settings: AzureSettings): Promise<AzureCredential> {
  const { tenantId, appId, appSecretFile, packagesFolder: folder } = settings;
  if (
    (appId === undefined) !== (appSecretFile === undefined) ||
    (appId !== undefined && tenantId === undefined)
  ) {
    throw new AssayError("CONFIG_INVALID", "app_id, app_secret_file and tenant_id must be given together");
  }
  const identity = await loadOptionalPackage<AzureIdentityModule>(IDENTITY_PACKAGE, { folder });
  if (appId === undefined || appSecretFile === undefined || tenantId === undefined) {
    return new identity.DefaultAzureCredential(tenantId === undefined ? {} : { tenantId });
  }
  const bytes = await readSecretFile("app_secret_file", appSecretFile, MAX_SECRET);
  const secret = bytes.toString("utf8").trim();
  if (secret === "") throw new AssayError("CONFIG_INVALID", `app_secret_file ${appSecretFile} is empty`);
  return new identity.ClientSecretCredential(tenantId, appId, secret);
}

/** The package for credentials. */
export const IDENTITY_PACKAGE = "@azure/identity";
const MAX_SECRET = 4096;
