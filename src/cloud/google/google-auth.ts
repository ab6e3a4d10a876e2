import { AssayError } from "../../errors/assay-error.ts";
import { loadOptionalPackage } from "../../files/optional-package.ts";
import { readSecretFile } from "../secret-file.ts";

/** Where access tokens come from. It keeps one until it is about to expire. */
export interface GoogleAuth {
  getAccessToken(): Promise<string | null | undefined>;
  getCredentials(): Promise<{ readonly client_email?: string | undefined }>;
}

/** As much of `google-auth-library` 11 as we use. */
export interface GoogleAuthModule {
  readonly GoogleAuth: new (options: { readonly scopes: readonly string[] }) => GoogleAuth;
  readonly JWT: new (options: {
    readonly email: string;
    readonly key: string;
    readonly scopes: readonly string[];
  }) => { getAccessToken(): Promise<{ readonly token?: string | null | undefined }> };
}

/**
 * Loads the library of Google's credentials.
 * @param keyFile The key of a service account; application default credentials without.
 * @throws AssayError `CONFIG_INVALID` where the package is missing or the file holds no such key.
 */
export async function loadGoogleAuth(
  keyFile: string | undefined,
  folder: string | undefined,
): Promise<GoogleAuth> {
  const library = await loadOptionalPackage<GoogleAuthModule>("google-auth-library", { folder });
  if (keyFile === undefined) return new library.GoogleAuth({ scopes: SCOPES });
  const { email, key } = await readServiceAccount(keyFile);
  const account = new library.JWT({ email, key, scopes: SCOPES });
  return {
    getAccessToken: async () => (await account.getAccessToken()).token,
    getCredentials: async () => ({ client_email: email }),
  };
}

/** Only keys of service accounts: other kinds of file tell the library which URL to send credentials to. */
async function readServiceAccount(file: string): Promise<{ readonly email: string; readonly key: string }> {
  const bytes = await readSecretFile("service_account_file", file, MAX_KEY_FILE);
  try {
    const { type, client_email: email, private_key: key } = JSON.parse(bytes.toString("utf8")) as KeyFile;
    if (type === "service_account" && typeof email === "string" && typeof key === "string")
      return { email, key };
  } catch {
    // What is wrong with it is said below, without quoting it.
  } finally {
    bytes.fill(0);
  }
  throw new AssayError(
    "CONFIG_INVALID",
    `service_account_file ${file} must hold the key of a service account in JSON`,
  );
}

interface KeyFile {
  readonly type?: unknown;
  readonly client_email?: unknown;
  readonly private_key?: unknown;
}

const SCOPES = ["https://www.googleapis.com/auth/cloud-platform"];
const MAX_KEY_FILE = 65_536;
