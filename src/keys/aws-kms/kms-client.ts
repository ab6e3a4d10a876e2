import type { AwsCallOptions, AwsClientConfig } from "../../cloud/aws/sdk.ts";

/** As much of `@aws-sdk/client-kms` 3 as we use. */
export interface KmsModule {
  readonly KMS: new (config: AwsClientConfig) => KmsClient;
}

/** A client of the Key Management Service. What it answers is read as if every field could be missing. */
export interface KmsClient {
  createKey(
    input: {
      readonly Description: string;
      readonly KeyUsage: "SIGN_VERIFY";
      readonly KeySpec: string;
      readonly Policy?: string;
      readonly Tags?: KmsTag[];
    },
    options: AwsCallOptions,
  ): Promise<{ readonly KeyMetadata?: KmsKeyMetadata | undefined }>;
  describeKey(
    input: { readonly KeyId: string },
    options: AwsCallOptions,
  ): Promise<{ readonly KeyMetadata?: KmsKeyMetadata | undefined }>;
  getPublicKey(
    input: { readonly KeyId: string },
    options: AwsCallOptions,
  ): Promise<{ readonly PublicKey?: Uint8Array | undefined }>;
  createAlias(
    input: { readonly AliasName: string; readonly TargetKeyId: string },
    options: AwsCallOptions,
  ): Promise<unknown>;
  updateAlias(
    input: { readonly AliasName: string; readonly TargetKeyId: string },
    options: AwsCallOptions,
  ): Promise<unknown>;
  deleteAlias(input: { readonly AliasName: string }, options: AwsCallOptions): Promise<unknown>;
  listAliases(
    input: { readonly KeyId?: string; readonly Limit: number; readonly Marker?: string },
    options: AwsCallOptions,
  ): Promise<KmsPage & { readonly Aliases?: readonly KmsAlias[] | undefined }>;
  listKeys(
    input: { readonly Limit: number; readonly Marker?: string },
    options: AwsCallOptions,
  ): Promise<KmsPage & { readonly Keys?: readonly { readonly KeyArn?: string | undefined }[] | undefined }>;
  scheduleKeyDeletion(
    input: { readonly KeyId: string; readonly PendingWindowInDays: number },
    options: AwsCallOptions,
  ): Promise<unknown>;
  tagResource(
    input: { readonly KeyId: string; readonly Tags: KmsTag[] },
    options: AwsCallOptions,
  ): Promise<unknown>;
  sign(
    input: {
      readonly KeyId: string;
      readonly Message: Uint8Array;
      readonly MessageType: "DIGEST";
      readonly SigningAlgorithm: string;
    },
    options: AwsCallOptions,
  ): Promise<{ readonly Signature?: Uint8Array | undefined }>;
  destroy(): void;
}

/** What KMS says of a key. */
export interface KmsKeyMetadata {
  readonly Arn?: string | undefined;
  readonly KeyState?: string | undefined;
  readonly KeySpec?: string | undefined;
  readonly KeyUsage?: string | undefined;
  readonly Description?: string | undefined;
  readonly CreationDate?: Date | undefined;
}

/** A name of a key. */
export interface KmsAlias {
  readonly AliasName?: string | undefined;
  readonly TargetKeyId?: string | undefined;
  readonly LastUpdatedDate?: Date | undefined;
}

/** A tag of a key. */
export interface KmsTag {
  readonly TagKey: string;
  readonly TagValue: string;
}

/** How an answer says that there is more. */
export interface KmsPage {
  readonly Truncated?: boolean | undefined;
  readonly NextMarker?: string | undefined;
}
