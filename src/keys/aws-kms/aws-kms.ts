/**
 * keys/aws-kms/ — a key manager whose keys are made, kept and used in the AWS Key Management Service.
 *
 * Must never hold a private key, nor put a credential into an error; the SDK is loaded only where this is chosen.
 * Called by the server's composition.
 */
import { z } from "zod";
import { awsClientConfig, STS_PACKAGE } from "../../cloud/aws/aws-client-config.ts";
import { type AwsSettings, awsSettings, awsSettingsShape } from "../../cloud/aws/aws-settings.ts";
import type { StsModule } from "../../cloud/aws/sts.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { loadOptionalPackage } from "../../files/optional-package.ts";
import type { PluginHost } from "../../plugin/host.ts";
import { defineKeyManager, type KeyManager } from "../../plugin/key-manager.ts";
import { resolveKeyIdentifier } from "../key-identifier.ts";
import { openTendedKeys } from "../tended-keys.ts";
import { defaultKeyPolicy, readKeyPolicy } from "./key-policy.ts";
import { kmsCalls } from "./kms-calls.ts";
import { kmsChores } from "./kms-chores.ts";
import type { KmsClient, KmsModule, KmsTag } from "./kms-client.ts";
import { kmsKeys } from "./kms-keys.ts";
import { kmsNames } from "./kms-names.ts";

const text = z.string().min(1).max(4096);
const tagText = /^[\p{L}\p{N}\s+\-=._:/@]*$/u;
const { region, ...aws } = awsSettingsShape({ service: "KMS", region: "Region whose KMS holds the keys" });
const config = z.strictObject({
  region,
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
  ...aws,
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
    const access = awsSettings(settings);
    const { KMS } = await loadOptionalPackage<KmsModule>(KMS_PACKAGE, { folder: settings.packages_folder });
    const kms = new KMS(await awsClientConfig(access, host.clock));
    return openAwsKms(settings, host, kms, await policyOf(settings, access, host));
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
  return openTendedKeys(service, (manager) => kmsChores({ calls, names, manager, tagged, clock, log }), {
    clock,
    log,
  });
}

async function policyOf(
  settings: AwsKmsConfig,
  access: AwsSettings,
  { clock, log }: PluginHost,
): Promise<() => Promise<string | undefined>> {
  const { key_policy_file: file, packages_folder: folder } = settings;
  if (file !== undefined) {
    const policy = await readKeyPolicy(file);
    return async () => policy;
  }
  const { STS } = await loadOptionalPackage<StsModule>(STS_PACKAGE, { folder });
  // Asked as whoever asks KMS, an assumed role included: that is whom the policy must let in.
  const sts = new STS(await awsClientConfig({ ...access, endpoint: access.stsEndpoint }, clock));
  return defaultKeyPolicy(sts, clock, log);
}

const KMS_PACKAGE = "@aws-sdk/client-kms";
const MAX_ALIAS = 256;
const ROOM_FOR_ID = 32;
