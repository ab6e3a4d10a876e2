/**
 * keys/gcp-kms/ — a key manager whose keys are made, kept and used in Google's Cloud Key Management Service.
 *
 * Must never hold a private key, nor put a credential into an error; the library of credentials is loaded only here.
 * Called by the server's composition.
 */
import { z } from "zod";
import type { GoogleClient } from "../../cloud/google/google-client.ts";
import { googleSettingsShape, openConfiguredGoogle } from "../../cloud/google/google-settings.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { readBounded } from "../../files/read-bounded.ts";
import type { PluginHost, PluginLog } from "../../plugin/host.ts";
import { defineKeyManager, type KeyManager } from "../../plugin/key-manager.ts";
import { resolveKeyIdentifier } from "../key-identifier.ts";
import { openTendedKeys } from "../tended-keys.ts";
import { gcpKmsChores } from "./kms-chores.ts";
import { gcpKmsKeys } from "./kms-keys.ts";
import { cryptoKeyNames } from "./kms-names.ts";
import { type IamPolicy, type KmsService, openKmsService } from "./kms-service.ts";

const text = z.string().min(1).max(4096);
const config = z.strictObject({
  key_ring: z
    .string()
    .max(512)
    .regex(/^projects\/[a-z0-9][a-z0-9:.-]*\/locations\/[a-z0-9-]+\/keyRings\/[A-Za-z0-9_-]{1,63}$/)
    .describe("Key ring that holds the keys: projects/P/locations/L/keyRings/R"),
  key_identifier_file: text
    .optional()
    .describe("File that keeps the identifier of this server's keys; it is made where there is none"),
  key_identifier_value: z
    .string()
    .regex(/^[a-z0-9_-]{1,40}$/)
    .optional()
    .describe("The identifier itself, in place of key_identifier_file"),
  key_policy_file: text.optional().describe("JSON file with the IAM policy, version 3, of new keys"),
  ...googleSettingsShape({ service: "Cloud KMS", endpoint: "https://cloudkms.googleapis.com" }),
});

/** The settings of the plugin. */
export type GcpKmsConfig = z.output<typeof config>;

/** The `gcp_kms` key manager plugin. */
export const gcpKmsKeyManager = defineKeyManager({
  kind: "keyManager",
  apiVersion: 1,
  name: "gcp_kms",
  config,
  create: async (settings: GcpKmsConfig, host) =>
    openGcpKms(settings, host, await openConfiguredGoogle(settings, host.clock)),
});

/**
 * Opens the keys of this server in Cloud KMS. Where it cannot be asked yet, the first call asks it again.
 * @throws AssayError `CONFIG_INVALID`.
 */
export async function openGcpKms(
  settings: GcpKmsConfig,
  { trustDomain, clock, log }: PluginHost,
  client: GoogleClient,
): Promise<KeyManager> {
  const serverId = await resolveKeyIdentifier({
    file: settings.key_identifier_file,
    value: settings.key_identifier_value,
  });
  const { key_policy_file: file } = settings;
  const policy = file === undefined ? undefined : await readIamPolicy(file);
  const names = cryptoKeyNames(trustDomain, serverId);
  const kms = openKmsService(client, settings.key_ring, clock);
  const allow = (cryptoKey: string, isNew: boolean) =>
    allowUse({ kms, client, policy, log }, cryptoKey, isNew);
  const seen = new Set<string>();
  return openTendedKeys(
    gcpKmsKeys({ kms, names, allow, seen, clock, log }),
    (manager) => gcpKmsChores({ kms, names, manager, seen, clock, log }),
    { clock, log },
  );
}

interface Granter {
  readonly kms: KmsService;
  readonly client: GoogleClient;
  readonly policy: IamPolicy | undefined;
  readonly log: PluginLog;
}

/**
 * Binds the operator's policy, or the service account that we are as signer, to a new CryptoKey; one that has bindings
 * keeps them. Policies of Google only ever add to what is allowed further up.
 */
async function allowUse(
  { kms, client, policy, log }: Granter,
  cryptoKey: string,
  isNew: boolean,
): Promise<void> {
  const present = await kms.getIamPolicy(cryptoKey);
  if ((present.bindings?.length ?? 0) > 0) {
    if (isNew) log.warn("a new key has an IAM policy already, which is left as it is", { key: cryptoKey });
    return;
  }
  if (policy !== undefined) return kms.setIamPolicy(cryptoKey, policy);
  const email = await client.email();
  if (email === undefined) {
    log.warn("the credentials name no service account, so a new key gets no IAM policy", { key: cryptoKey });
    return;
  }
  const bindings = [{ role: "roles/cloudkms.signerVerifier", members: [`serviceAccount:${email}`] }];
  await kms.setIamPolicy(cryptoKey, { ...present, version: 3, bindings });
}

async function readIamPolicy(file: string): Promise<IamPolicy> {
  const bytes = await readBounded(file, MAX_POLICY, { code: "CONFIG_INVALID" });
  try {
    const policy = JSON.parse(bytes.toString("utf8")) as IamPolicy | null;
    if (policy?.["version"] === 3 && Array.isArray(policy.bindings)) return policy;
  } catch {
    // What is wrong with it is said below.
  }
  throw new AssayError(
    "CONFIG_INVALID",
    `key_policy_file ${file} must hold an IAM policy of version 3 with bindings`,
  );
}

const MAX_POLICY = 65_536;
