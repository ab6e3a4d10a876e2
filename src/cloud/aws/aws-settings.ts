import { z } from "zod";
import { serviceEndpoint } from "../service-endpoint.ts";

/** How AWS is reached and as whom, out of a plugin's configuration. */
export interface AwsSettings {
  readonly region: string;
  /** URL in place of the service's own: an emulator or a VPC endpoint. */
  readonly endpoint?: string | undefined;
  /** The same for STS. */
  readonly stsEndpoint?: string | undefined;
  /** Together with `secretAccessKeyFile`; without both, the SDK's own chain of sources is asked. */
  readonly accessKeyId?: string | undefined;
  /** File with the secret access key; read again every few minutes, as it may be rotated. */
  readonly secretAccessKeyFile?: string | undefined;
  /** ARN of a role that is assumed for every call. */
  readonly assumeRoleArn?: string | undefined;
  /** Where the SDK is looked for besides beside Assay. */
  readonly packagesFolder?: string | undefined;
}

/** What a service of AWS is called in the descriptions of its plugin's settings. */
export interface AwsServiceWords {
  /** The service itself: `KMS`. */
  readonly service: string;
  /** Its region: `Region whose KMS holds the keys`. */
  readonly region: string;
}

/** The settings that every plugin on AWS has, named as SPIRE's are, except that secrets are in files. */
export function awsSettingsShape({ service, region }: AwsServiceWords) {
  return {
    region: z
      .string()
      .regex(/^[a-z0-9-]{1,64}$/)
      .describe(region),
    access_key_id: z
      .string()
      .regex(/^\w{1,128}$/)
      .optional()
      .describe("Access key, together with secret_access_key_file; the SDK's own chain of sources without"),
    secret_access_key_file: text.optional().describe("File with the secret access key"),
    assume_role_arn: text.optional().describe("ARN of a role that is assumed for every call"),
    endpoint: serviceUrl.optional().describe(`URL of ${service}, in place of the region's own`),
    sts_endpoint: serviceUrl.optional().describe("URL of STS, in place of the region's own"),
    packages_folder: text.optional().describe("Folder whose node_modules holds the AWS SDK"),
  } as const;
}

/** The settings as parsed. */
export function awsSettings(config: AwsConfig): AwsSettings {
  return {
    region: config.region,
    endpoint: config.endpoint,
    stsEndpoint: config.sts_endpoint,
    accessKeyId: config.access_key_id,
    secretAccessKeyFile: config.secret_access_key_file,
    assumeRoleArn: config.assume_role_arn,
    packagesFolder: config.packages_folder,
  };
}

type AwsConfig = z.output<z.ZodObject<ReturnType<typeof awsSettingsShape>>>;

const text = z.string().min(1).max(4096);
const serviceUrl = z
  .string()
  .max(4096)
  .refine(
    (url) => serviceEndpoint(url) !== undefined,
    "must be an https URL, or an http one on loopback, without user, query and fragment",
  );
