/**
 * keys/azure-key-vault/ — a key manager whose keys are made, kept and used in an Azure Key Vault.
 *
 * Must never hold a private key, nor put a credential into an error; the SDK is loaded only where this is chosen.
 * Called by the server's composition.
 */
import { z } from "zod";
import { azureCredential } from "../../cloud/azure/azure-credential.ts";
import { loadOptionalPackage } from "../../files/optional-package.ts";
import { readBounded } from "../../files/read-bounded.ts";
import type { PluginHost } from "../../plugin/host.ts";
import { defineKeyManager, type KeyManager } from "../../plugin/key-manager.ts";
import { resolveKeyIdentifier } from "../key-identifier.ts";
import { openTendedKeys, tendEach } from "../tended-keys.ts";
import type { KeyVaultModule } from "./key-vault-module.ts";
import { KeyVaultService } from "./key-vault-service.ts";

const path = z.string().min(1).max(4096);
const id = z
  .string()
  .regex(/^[A-Za-z0-9.-]{1,256}$/, "expected at most 256 letters, digits, dots and dashes");

const config = z
  .strictObject({
    key_vault_uri: z
      .string()
      .refine(isVaultUri, "expected an https URL without user, path, query and fragment")
      .describe("URL of the vault, such as https://assay.vault.azure.net/"),
    key_identifier_file: path
      .optional()
      .describe("File that keeps the identifier of this server's keys; it is made where there is none"),
    key_identifier_value: z
      .string()
      .min(1)
      .max(256)
      .regex(/^[\x21-\x7e]+$/)
      .optional()
      .describe("The identifier itself, in place of key_identifier_file"),
    tenant_id: id.optional().describe("Tenant of Entra ID that the credential is of"),
    subscription_id: id
      .optional()
      .describe("Taken from SPIRE's settings and not used: a vault is named by its URL"),
    app_id: id.optional().describe("Application (client) ID; together with tenant_id and app_secret_file"),
    app_secret_file: path.optional().describe("File with the application's secret"),
    ca_cert_path: path
      .optional()
      .describe("PEM file with the authority that an emulator of Key Vault is believed by"),
    packages_folder: path
      .optional()
      .describe(
        "Folder whose node_modules holds @azure/identity and @azure/keyvault-keys, where they are not beside Assay",
      ),
  })
  .superRefine((value, context) => {
    const fail = (key: string, message: string) => context.addIssue({ code: "custom", path: [key], message });
    if ((value.key_identifier_file === undefined) === (value.key_identifier_value === undefined)) {
      fail("key_identifier_file", "expected exactly one of key_identifier_file and key_identifier_value");
    }
    const app = [value.app_id, value.app_secret_file].filter((one) => one !== undefined).length;
    if (app === 1 || (app === 2 && value.tenant_id === undefined)) {
      fail("app_id", "expected app_id, app_secret_file and tenant_id together");
    }
  });

/** The `azure_key_vault` key manager plugin. */
export const azureKeyVaultKeyManager = defineKeyManager({
  kind: "keyManager",
  apiVersion: 1,
  name: "azure_key_vault",
  config,
  create: openKeyVault,
});

async function openKeyVault(settings: z.output<typeof config>, host: PluginHost): Promise<KeyManager> {
  const serverId = await resolveKeyIdentifier({
    file: settings.key_identifier_file,
    value: settings.key_identifier_value,
  });
  const folder = settings.packages_folder;
  const sdk = await loadOptionalPackage<KeyVaultModule>(KEYS_PACKAGE, { folder });
  const credential = await azureCredential({
    tenantId: settings.tenant_id,
    appId: settings.app_id,
    appSecretFile: settings.app_secret_file,
    packagesFolder: folder,
  });
  const ca = settings.ca_cert_path;
  const service = new KeyVaultService({
    vault: settings.key_vault_uri,
    serverId,
    credential,
    sdk,
    host,
    client: {
      retryOptions: { maxRetries: 2, maxRetryDelayInMs: 1000 },
      ...(ca === undefined
        ? {}
        : {
            tlsOptions: {
              ca: (await readBounded(ca, MAX_PEM, { code: "CONFIG_INVALID" })).toString("latin1"),
            },
            disableChallengeResourceVerification: true,
          }),
    },
  });
  return openTendedKeys(
    service,
    (manager) => [
      {
        name: "deleting replaced keys",
        first: MINUTE,
        every: MINUTE,
        run: () => manager.withKeys(() => service.tidy()),
      },
      {
        name: "keeping keys alive",
        // Before a server that was away for long is taken for dead.
        first: MINUTE,
        every: 6 * HOUR,
        run: () => tendEach(manager, (key) => service.keepAlive(key)),
      },
      {
        name: "deleting keys of servers that are gone",
        // Servers that were all away together have come back by then, and one that is restarted every day gets that far.
        first: 12 * HOUR,
        every: 12 * HOUR,
        run: () => service.deleteStale(),
      },
    ],
    host,
  );
}

function isVaultUri(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password, pathname, search, hash } = new URL(text);
  return protocol === "https:" && `${username}${password}${search}${hash}` === "" && pathname === "/";
}

/** The package for keys. */
const KEYS_PACKAGE = "@azure/keyvault-keys";
const MAX_PEM = 1024 * 1024;
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
