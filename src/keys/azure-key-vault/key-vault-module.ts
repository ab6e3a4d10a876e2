import type { AzureCredential } from "../../cloud/azure/azure-credential.ts";

/** As much of `@azure/keyvault-keys` as we use. */
export interface KeyVaultModule {
  readonly KeyClient: new (
    vaultUrl: string,
    credential: AzureCredential,
    options: KeyVaultClientOptions,
  ) => KeyVaultClient;
  readonly CryptographyClient: new (
    /** The key's whole identifier, its version with it. */
    keyId: string,
    credential: AzureCredential,
    options: KeyVaultClientOptions,
  ) => KeyVaultSigner;
}

/** How clients of Key Vault behave. */
export interface KeyVaultClientOptions {
  readonly retryOptions: { readonly maxRetries: number; readonly maxRetryDelayInMs: number };
  /** PEM of the authority that an emulator is believed by. */
  readonly tlsOptions?: { readonly ca: string };
  /** An emulator names another domain in its challenge than Azure does. */
  readonly disableChallengeResourceVerification?: boolean;
}

/** The last argument of every call. */
export interface KeyVaultCallOptions {
  readonly abortSignal: AbortSignal;
}

/** A vault's keys. */
export interface KeyVaultClient {
  createKey(
    name: string,
    type: "EC" | "RSA",
    options: KeyVaultCallOptions & {
      readonly curve?: "P-256" | "P-384";
      readonly keySize?: number;
      readonly keyOps: readonly string[];
      readonly tags: Readonly<Record<string, string>>;
    },
  ): Promise<KeyVaultKey>;
  getKey(name: string, options: KeyVaultCallOptions & { readonly version?: string }): Promise<KeyVaultKey>;
  updateKeyProperties(
    name: string,
    version: string,
    options: KeyVaultCallOptions & { readonly keyOps: readonly string[] },
  ): Promise<unknown>;
  beginDeleteKey(name: string, options: KeyVaultCallOptions): Promise<unknown>;
  listPropertiesOfKeys(options: KeyVaultCallOptions): AsyncIterable<KeyVaultProperties>;
}

/** What is said of a key without its public half. */
export interface KeyVaultProperties {
  readonly name: string;
  readonly version?: string;
  readonly enabled?: boolean;
  readonly createdOn?: Date;
  readonly updatedOn?: Date;
  readonly tags?: Readonly<Record<string, string>>;
}

/** A key: the public half as a JWK with octets in place of base64url. */
export interface KeyVaultKey {
  readonly id?: string;
  readonly name: string;
  readonly properties: KeyVaultProperties;
  readonly key?: {
    readonly kty?: string;
    readonly crv?: string;
    readonly n?: Uint8Array;
    readonly e?: Uint8Array;
    readonly x?: Uint8Array;
    readonly y?: Uint8Array;
  };
}

/** Signs with one version of one key. */
export interface KeyVaultSigner {
  sign(
    algorithm: "ES256" | "ES384" | "RS256",
    digest: Uint8Array,
    options: KeyVaultCallOptions,
  ): Promise<{ readonly result: Uint8Array }>;
}
