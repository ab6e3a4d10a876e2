import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { systemClock } from "../../src/clock.ts";
import { VaultClient } from "../../src/cloud/vault/vault-client.ts";
import { vaultSettings, vaultSettingsShape } from "../../src/cloud/vault/vault-settings.ts";
import { toPem } from "../../src/crypto/pem.ts";
import type { PluginHost } from "../../src/plugin/host.ts";
import { parseTrustDomain } from "../../src/spiffe/trust-domain.ts";
import { Program } from "../e2e/program.ts";
import { freePorts, type Scratch } from "../e2e/scratch.ts";
import { makeCertificate, makeKey } from "../fakes/certificates.ts";
import { buildPeer } from "./peers.ts";

/** A Vault in development mode, and us as its root. */
export interface DevVault extends AsyncDisposable {
  /** Settings that reach it, without a way to log in. */
  readonly reach: { readonly vault_addr: string; readonly ca_cert_path: string };
  readonly rootTokenFile: string;
  post(path: string, body?: Record<string, unknown>): Promise<Record<string, unknown>>;
  /** Of every token that is alive. */
  accessors(): Promise<readonly string[]>;
  /** Makes a role of AppRole with a policy, and gives the settings that log in with it. */
  appRole(name: string, policy: string, role?: Record<string, unknown>): Promise<ApproleSettings>;
  /** Makes a role for a new client certificate, and gives the settings that log in with it. */
  certificateRole(name: string, policy: string): Promise<CertSettings>;
}

/** What a test's plugins are told of the program. */
export const vaultHost: PluginHost = {
  trustDomain: parseTrustDomain("example.org"),
  clock: systemClock,
  log: { debug() {}, info() {}, warn() {}, error() {} },
};

interface ApproleSettings {
  readonly approle_auth: { readonly approle_id: string; readonly approle_secret_id_file: string };
}

interface CertSettings {
  readonly cert_auth: {
    readonly client_cert_path: string;
    readonly client_key_path: string;
    readonly cert_auth_role_name: string;
  };
}

/** Builds Vault where need be and starts it with TLS on a free port of the loopback. */
export async function startVault(scratch: Scratch): Promise<DevVault> {
  const folder = await buildPeer("vault");
  const [port = 0] = await freePorts(1);
  const certificates = scratch.at();
  const program = Program.start(
    "vault",
    join(folder, "vault"),
    [
      "server",
      "-dev",
      "-dev-tls",
      `-dev-tls-cert-dir=${certificates}`,
      "-dev-root-token-id=root-of-the-test",
      "-dev-no-store-token",
      `-dev-listen-address=127.0.0.1:${port}`,
    ],
    { cwd: certificates, env: { HOME: certificates, VAULT_DISABLE_MLOCK: "true" } },
  );
  await program.line((line) => line.includes("Vault server started!"), { patience: 120_000 });
  const rootTokenFile = scratch.at("root-token");
  await writeFile(rootTokenFile, "root-of-the-test\n", { mode: 0o600 });
  const reach = {
    vault_addr: `https://127.0.0.1:${port}`,
    ca_cert_path: join(certificates, "vault-ca.pem"),
  };
  const settings = z
    .object(vaultSettingsShape)
    .parse({ ...reach, token_auth: { token_file: rootTokenFile } });
  const root = new VaultClient(vaultSettings(settings), vaultHost);
  const post = async (path: string, body: Record<string, unknown> = {}) =>
    ((await root.call({ method: "POST", path, body })) ?? {}) as Record<string, unknown>;
  const get = async (path: string) => (await root.call({ method: "GET", path })) as Record<string, unknown>;
  await post("sys/auth/approle", { type: "approle" });
  await post("sys/auth/cert", { type: "cert" });

  return {
    reach,
    rootTokenFile,
    post,
    async accessors() {
      const { keys } = (await root.call({ method: "LIST", path: "auth/token/accessors" })) as {
        readonly keys: readonly string[];
      };
      return keys;
    },
    async appRole(name, policy, role = {}) {
      await post(`sys/policies/acl/${name}`, { policy });
      await post(`auth/approle/role/${name}`, { token_policies: name, ...role });
      const { role_id: id } = await get(`auth/approle/role/${name}/role-id`);
      const { secret_id: secret } = await post(`auth/approle/role/${name}/secret-id`);
      const file = scratch.at(`secret-id-${name}`);
      await writeFile(file, String(secret), { mode: 0o600 });
      return { approle_auth: { approle_id: String(id), approle_secret_id_file: file } };
    },
    async certificateRole(name, policy) {
      const key = makeKey();
      const now = Math.floor(Date.now() / 1000);
      const certificate = makeCertificate({
        subject: name,
        key,
        purposes: ["1.3.6.1.5.5.7.3.2"],
        notBefore: now - 60,
        notAfter: now + 3600,
      });
      const pem = toPem("CERTIFICATE", certificate.der);
      await post(`sys/policies/acl/${name}`, { policy });
      await post(`auth/cert/certs/${name}`, { certificate: pem, token_policies: name });
      const [certificateFile, keyFile] = [scratch.at(`${name}.pem`), scratch.at(`${name}.key`)];
      await writeFile(certificateFile, pem);
      await writeFile(keyFile, key.privateKey.export({ format: "pem", type: "pkcs8" }), { mode: 0o600 });
      return {
        cert_auth: {
          client_cert_path: certificateFile,
          client_key_path: keyFile,
          cert_auth_role_name: name,
        },
      };
    },
    async [Symbol.asyncDispose]() {
      await root[Symbol.asyncDispose]();
      await program[Symbol.asyncDispose]();
    },
  };
}
