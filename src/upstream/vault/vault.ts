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
import { OIDS } from "../../crypto/der/oid.ts";
import { toPem } from "../../crypto/pem.ts";
import { readCertificationRequest } from "../../crypto/pkcs10.ts";
import {
  defineUpstreamAuthority,
  type UpstreamX509Ca,
  type UpstreamX509CaOrder,
} from "../../plugin/upstream-authority.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
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
      const body = { ...signingFields(csr, trustDomain), ttl: `${ttl}s` };
      const answer = await withDeadline({ clock, timeout: TIMEOUT, signal: wait }, (signal) =>
        // Made twice it would be two authorities.
        client.call({ method: "POST", path, body, repeatable: false }, signal),
      ).catch((error: unknown) => {
        throw vaultFailure(error, CODES);
      });
      return readSignedIntermediate(answer);
    };
    return {
      mintX509Ca: mint,
      [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
    };
  },
});

/**
 * What Vault is told besides the request: its newer versions refuse to take a CA's values out of a request, so the subject
 * and the one name (X509-SVID §3.2) are told apart from it. Lists are JSON's, as a text would be divided at its commas.
 */
function signingFields(csr: Uint8Array, trustDomain: TrustDomain): Record<string, unknown> {
  const { subject } = readCertificationRequest(csr);
  const all = (oid: string) => subject.filter((attribute) => attribute.oid === oid).map(({ value }) => value);
  return {
    csr: toPem("CERTIFICATE REQUEST", csr),
    common_name: all(OIDS.commonName)[0] ?? "",
    // A common name that looks like a host's would become a DNS name of the authority.
    exclude_cn_from_sans: true,
    country: all(OIDS.country),
    organization: all(OIDS.organization),
    ou: all(OIDS.organizationalUnit),
    ...(all(OIDS.serialNumber)[0] === undefined ? {} : { serial_number: all(OIDS.serialNumber)[0] }),
    uri_sans: [`spiffe://${trustDomain}`],
    format: "pem",
  };
}

const CODES = { refused: "UPSTREAM_REFUSED", unavailable: "UPSTREAM_UNAVAILABLE" } as const;
const TIMEOUT = 60_000;
