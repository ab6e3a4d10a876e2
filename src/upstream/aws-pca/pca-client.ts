import type { AwsCallOptions, AwsClientConfig } from "../../cloud/aws/sdk.ts";

/** As much of `@aws-sdk/client-acm-pca` 3 as we use. */
export interface PcaModule {
  readonly ACMPCA: new (config: AwsClientConfig) => PcaClient;
}

/** A client of AWS Private CA. What it answers is read as if every field could be missing. */
export interface PcaClient {
  describeCertificateAuthority(
    input: { readonly CertificateAuthorityArn: string },
    options: AwsCallOptions,
  ): Promise<{
    readonly CertificateAuthority?:
      | {
          readonly Status?: string | undefined;
          readonly CertificateAuthorityConfiguration?:
            | { readonly SigningAlgorithm?: string | undefined }
            | undefined;
        }
      | undefined;
  }>;
  issueCertificate(
    input: {
      readonly CertificateAuthorityArn: string;
      /** PEM. */
      readonly Csr: Uint8Array;
      readonly SigningAlgorithm: string;
      readonly TemplateArn: string;
      /** Unix seconds. */
      readonly Validity: { readonly Type: "ABSOLUTE"; readonly Value: number };
      readonly IdempotencyToken: string;
    },
    options: AwsCallOptions,
  ): Promise<{ readonly CertificateArn?: string | undefined }>;
  getCertificate(
    input: { readonly CertificateAuthorityArn: string; readonly CertificateArn: string },
    options: AwsCallOptions,
  ): Promise<{ readonly Certificate?: string | undefined; readonly CertificateChain?: string | undefined }>;
  destroy(): void;
}
