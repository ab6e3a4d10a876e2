/**
 * keys/hashicorp-vault/ — a key manager whose keys are in the transit engine of HashiCorp Vault or OpenBao.
 *
 * Must never have a key exported, nor delete one whose name does not begin with this server's identifier.
 * Called by the server's composition.
 */
import { z } from "zod";
import { VaultClient } from "../../cloud/vault/vault-client.ts";
import {
  mountPath,
  vaultSettings,
  vaultSettingsFault,
  vaultSettingsShape,
} from "../../cloud/vault/vault-settings.ts";
import type { PluginHost } from "../../plugin/host.ts";
import { defineKeyManager, type KeyManager } from "../../plugin/key-manager.ts";
import { resolveKeyIdentifier } from "../key-identifier.ts";
import { RemoteKeyManager } from "../remote-key-manager.ts";
import { tendedKeys } from "../tended-keys.ts";
import { TransitService } from "./transit-service.ts";

const config = z
  .strictObject({
    ...vaultSettingsShape,
    transit_engine_path: mountPath.default("transit").describe("Where the transit engine is mounted"),
    key_identifier_file: z
      .string()
      .min(1)
      .max(4096)
      .optional()
      .describe("File with the identifier that this server's keys are named by; it is made if there is none"),
    key_identifier_value: z
      .string()
      .regex(
        /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/,
        "expected at most 128 letters, digits, dots, dashes and underscores",
      )
      .optional()
      .describe("The identifier itself"),
  })
  .superRefine((value, context) => {
    const fault = vaultSettingsFault(value);
    if (fault !== undefined) context.addIssue({ code: "custom", ...fault });
    if ((value.key_identifier_file === undefined) === (value.key_identifier_value === undefined)) {
      const message = "expected exactly one of key_identifier_file and key_identifier_value";
      context.addIssue({ code: "custom", path: ["key_identifier_file"], message });
    }
  });

/** The `hashicorp_vault` key manager plugin. */
export const hashicorpVaultKeyManager = defineKeyManager({
  kind: "keyManager",
  apiVersion: 1,
  name: "hashicorp_vault",
  config,
  create: openTransit,
});

async function openTransit(
  settings: z.output<typeof config>,
  { clock, log }: PluginHost,
): Promise<KeyManager> {
  const serverId = await resolveKeyIdentifier({
    file: settings.key_identifier_file,
    value: settings.key_identifier_value,
  });
  const client = new VaultClient(vaultSettings(settings), { clock, log });
  const service = new TransitService(client, { engine: settings.transit_engine_path, serverId, log });
  const manager = new RemoteKeyManager(service, { clock, log });
  const tidying = {
    name: "deleting replaced keys",
    first: TIDY_EVERY,
    every: TIDY_EVERY,
    run: () => manager.withKeys(() => service.tidy()),
  };
  const keys = tendedKeys(manager, [tidying], { clock, log });
  return {
    ...keys,
    async [Symbol.asyncDispose]() {
      await keys[Symbol.asyncDispose]();
      // Its token is given back when nothing needs it any more.
      await client[Symbol.asyncDispose]();
    },
  };
}

const TIDY_EVERY = 60_000;
