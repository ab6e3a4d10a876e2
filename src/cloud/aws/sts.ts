import type { AwsCallOptions, AwsClientConfig } from "./sdk.ts";

/** As much of `@aws-sdk/client-sts` 3 as we use. */
export interface StsModule {
  readonly STS: new (config: AwsClientConfig) => StsClient;
}

/** A client of the Security Token Service. */
export interface StsClient {
  assumeRole(
    input: { readonly RoleArn: string; readonly RoleSessionName: string },
    options: AwsCallOptions,
  ): Promise<{
    readonly Credentials?:
      | {
          readonly AccessKeyId: string | undefined;
          readonly SecretAccessKey: string | undefined;
          readonly SessionToken: string | undefined;
          readonly Expiration: Date | undefined;
        }
      | undefined;
  }>;
  getCallerIdentity(
    input: Readonly<Record<string, never>>,
    options: AwsCallOptions,
  ): Promise<{ readonly Account?: string | undefined; readonly Arn?: string | undefined }>;
  destroy(): void;
}
