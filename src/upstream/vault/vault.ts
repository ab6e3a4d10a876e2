/**
 * upstream/vault/ — an upstream authority that is a PKI engine of HashiCorp Vault or OpenBao.
 *
 * Must never judge what was signed: whoever asks checks that chains chain and that the key is the asked one.
 * Called by signing, by way of the server's composition.
 */
import { z } from "zod";
import { withDeadline } from "../../cloud/deadline.ts";
import { VaultClient } from "../../cloud/vault/vault-client.ts";
import { vaultFailure } from "../../cloud/vault/vault-error.ts";
import {
  mountPath,
  vaultSettings,
  vaultSettingsFault,
  vaultSettingsShape,
} from "../../cloud/vault/vault-settings.ts";
import { toPem } from "../../crypto/pem.ts";
import {
  defineUpstreamAuthority,
  type UpstreamX509Ca,
  type UpstreamX509CaOrder,
} from "../../plugin/upstream-authority.ts";
import { readSignedIntermediate } from "./signed-intermediate.ts";

/** The `vault` upstream authority plugin. */
export const vaultUpstream = defineUpstreamAuthority({
  kind: "upstreamAuthority",
  apiVersion: 1,
  name: "vault",
  config: z
    .strictObject({
      ...vaultSettingsShape,
      pki_mount_point: mountPath.default("pki").describe("Where the PKI engine is mounted"),
    })
    .superRefine((value, context) => {
      const fault = vaultSettingsFault(value);
      if (fault !== undefined) context.addIssue({ code: "custom", ...fault });
    }),
  create(settings, { clock, log, trustDomain }) {
    const client = new VaultClient(vaultSettings(settings), { clock, log });
    const path = `${settings.pki_mount_point}/root/sign-intermediate`;
    const mint = async ({ csr, ttl, signal: wait }: UpstreamX509CaOrder): Promise<UpstreamX509Ca> => {
      const body = {
        csr: toPem("CERTIFICATE REQUEST", csr),
        ttl: `${ttl}s`,
        // Vault takes the subject and further names out of the request, so that an engine's own rules for names do not apply.
        use_csr_values: true,
        uri_sans: `spiffe://${trustDomain}`,
        format: "pem",
      };
      const answer = await withDeadline({ clock, timeout: TIMEOUT, signal: wait }, (signal) =>
        client.call({ method: "POST", path, body }, signal),
      ).catch((error: unknown) => {
        throw vaultFailure(error, CODES);
      });
      return readSignedIntermediate(answer);
    };
    return {
      mintX509Ca: mint,
      async [Symbol.asyncDispose]() {
        client[Symbol.dispose]();
      },
    };
  },
});

const CODES = { refused: "UPSTREAM_REFUSED", unavailable: "UPSTREAM_UNAVAILABLE" } as const;
const TIMEOUT = 60_000;
