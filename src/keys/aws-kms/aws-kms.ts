/**
 * keys/aws-kms/ — a key manager whose keys are made, kept and used in the AWS Key Management Service.
 *
 * Must never hold a private key, nor put a credential into an error; the SDK is loaded only where this is chosen.
 * Called by the server's composition.
 */
import { z } from "zod";
import { awsClientConfig, type AwsSettings, STS_PACKAGE } from "../../cloud/aws/aws-settings.ts";
import type { StsModule } from "../../cloud/aws/sts.ts";
import { serviceEndpoint } from "../../cloud/service-endpoint.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { loadOptionalPackage } from "../../files/optional-package.ts";
import type { PluginHost } from "../../plugin/host.ts";
import { defineKeyManager, type KeyManager } from "../../plugin/key-manager.ts";
import { startChores } from "../chores.ts";
import { resolveKeyIdentifier } from "../key-identifier.ts";
import { openRemoteKeys, type RemoteKeyManager } from "../remote-key-manager.ts";
import { defaultKeyPolicy, readKeyPolicy } from "./key-policy.ts";
import { kmsCalls } from "./kms-calls.ts";
import { kmsChores } from "./kms-chores.ts";
import type { KmsClient, KmsModule, KmsTag } from "./kms-client.ts";
import { kmsKeys } from "./kms-keys.ts";
import { kmsNames } from "./kms-names.ts";

const text = z.string().min(1).max(4096);
const tagText = /^[\p{L}\p{N}\s+\-=._:/@]*$/u;
const serviceUrl = z
  .string()
  .max(4096)
  .refine(
    (url) => serviceEndpoint(url) !== undefined,
    "must be an https URL, or an http one on loopback, without user, query and fragment",
  );
const config = z.strictObject({
  region: z
    .string()
    .regex(/^[a-z0-9-]{1,64}$/)
    .describe("Region whose KMS holds the keys"),
  key_identifier_file: text
    .optional()
    .describe("File that keeps the identifier of this server's keys; it is made where there is none"),
  key_identifier_value: z
    .string()
    .max(128)
    .regex(/^[A-Za-z0-9_-]+(?:\/[A-Za-z0-9_-]+)*$/)
    .optional()
    .describe("The identifier itself, in place of key_identifier_file"),
  key_policy_file: text.optional().describe("JSON file with the key policy of new keys"),
  key_tags: z
    .record(
      z
        .string()
        .min(1)
        .max(128)
        .regex(tagText)
        .refine((key) => !/^(?:aws:|spire-)/i.test(key), "must not begin with aws: or spire-"),
      z.string().max(256).regex(tagText),
    )
    .refine((tags) => Object.keys(tags).length <= 40, "must be at most 40")
    .default({})
    .describe("Tags of new keys"),
  enable_tag_based_key_discovery: z
    .boolean()
    .default(false)
    .describe("Whether keys get the tags by which SPIRE servers with this setting find keys"),
  access_key_id: z
    .string()
    .regex(/^\w{1,128}$/)
    .optional()
    .describe("Access key, together with secret_access_key_file; the SDK's own chain of sources without"),
  secret_access_key_file: text.optional().describe("File with the secret access key"),
  assume_role_arn: text.optional().describe("ARN of a role that is assumed for every call"),
  endpoint: serviceUrl.optional().describe("URL of KMS, in place of the region's own"),
  sts_endpoint: serviceUrl.optional().describe("URL of STS, in place of the region's own"),
  packages_folder: text.optional().describe("Folder whose node_modules holds the AWS SDK"),
});

/** The settings of the plugin. */
export type AwsKmsConfig = z.output<typeof config>;

/** The `aws_kms` key manager plugin. */
export const awsKmsKeyManager = defineKeyManager({
  kind: "keyManager",
  apiVersion: 1,
  name: "aws_kms",
  config,
  create: async (settings: AwsKmsConfig, host) => {
    const aws = settingsOf(settings);
    const { KMS } = await loadOptionalPackage<KmsModule>(KMS_PACKAGE, { folder: settings.packages_folder });
    const kms = new KMS(await awsClientConfig(aws, host.clock));
    return openAwsKms(settings, host, kms, await policyOf(settings, aws, host));
  },
});

/**
 * Opens the keys of this server in KMS. Where KMS cannot be asked yet, the first call asks it again.
 * @param policy The key policy of new keys; KMS's own where it gives `undefined`.
 * @throws AssayError `CONFIG_INVALID`.
 */
export async function openAwsKms(
  settings: AwsKmsConfig,
  { trustDomain, clock, log }: PluginHost,
  kms: KmsClient,
  policy: () => Promise<string | undefined>,
): Promise<KeyManager> {
  const serverId = await resolveKeyIdentifier({
    file: settings.key_identifier_file,
    value: settings.key_identifier_value,
  });
  const names = kmsNames(trustDomain, serverId);
  if (names.serverPrefix.length + ROOM_FOR_ID > MAX_ALIAS) {
    throw new AssayError(
      "CONFIG_INVALID",
      `trust domain and key identifier leave no room for a key id in the ${MAX_ALIAS} characters of an alias`,
    );
  }
  const calls = kmsCalls(kms, clock);
  const tagged = settings.enable_tag_based_key_discovery;
  const tags: readonly KmsTag[] = Object.entries(settings.key_tags).map(([TagKey, TagValue]) => ({
    TagKey,
    TagValue,
  }));
  const service = kmsKeys({ calls, names, trustDomain, serverId, policy, tags, tagged, clock, log });
  const manager = await openRemoteKeys(service, { clock, log });
  const chores = startChores(clock, log, kmsChores({ calls, names, manager, tagged, clock, log }));
  return withChores(manager, chores);
}

function withChores(manager: RemoteKeyManager<string>, chores: AsyncDisposable): KeyManager {
  return {
    generateKey: (id, type) => manager.generateKey(id, type),
    getKey: (id) => manager.getKey(id),
    listKeys: () => manager.listKeys(),
    deleteKey: (id) => manager.deleteKey(id),
    async [Symbol.asyncDispose]() {
      // The manager ends the calls that a chore waits for.
      await Promise.all([chores[Symbol.asyncDispose](), manager[Symbol.asyncDispose]()]);
    },
  };
}

async function policyOf(
  settings: AwsKmsConfig,
  aws: AwsSettings,
  { clock, log }: PluginHost,
): Promise<() => Promise<string | undefined>> {
  const { key_policy_file: file, packages_folder: folder } = settings;
  if (file !== undefined) {
    const policy = await readKeyPolicy(file);
    return async () => policy;
  }
  const { STS } = await loadOptionalPackage<StsModule>(STS_PACKAGE, { folder });
  // Asked as whoever asks KMS, an assumed role included: that is whom the policy must let in.
  const sts = new STS(await awsClientConfig({ ...aws, endpoint: aws.stsEndpoint }, clock));
  return defaultKeyPolicy(sts, clock, log);
}

function settingsOf(settings: AwsKmsConfig): AwsSettings {
  return {
    region: settings.region,
    endpoint: settings.endpoint,
    stsEndpoint: settings.sts_endpoint,
    accessKeyId: settings.access_key_id,
    secretAccessKeyFile: settings.secret_access_key_file,
    assumeRoleArn: settings.assume_role_arn,
    packagesFolder: settings.packages_folder,
  };
}

const KMS_PACKAGE = "@aws-sdk/client-kms";
const MAX_ALIAS = 256;
const ROOM_FOR_ID = 32;
