import { z } from "zod";
import { isLoopbackHost } from "../loopback.ts";
import { serviceEndpoint } from "../service-endpoint.ts";

/** How Vault is reached and as whom. */
export interface VaultSettings {
  readonly address: URL;
  /** Sent as `X-Vault-Namespace`. */
  readonly namespace?: string | undefined;
  /** PEM file with the authorities that Vault is believed by; read anew where Vault could not be reached. */
  readonly caFile?: string | undefined;
  /** The name in Vault's certificate, where it is not the address's host. */
  readonly serverName?: string | undefined;
  /** Believe anybody; on loopback only. */
  readonly skipVerify: boolean;
  readonly auth: VaultAuth;
}

/** One of Vault's ways to log in. Every secret is in a file that is read anew for each login. */
export type VaultAuth =
  | { readonly method: "token"; readonly tokenFile: string }
  | {
      readonly method: "approle";
      readonly mount: string;
      readonly roleId: string;
      readonly secretIdFile: string;
    }
  | {
      readonly method: "cert";
      readonly mount: string;
      readonly certificateFile: string;
      readonly keyFile: string;
      readonly role?: string | undefined;
    }
  | {
      readonly method: "kubernetes";
      readonly mount: string;
      readonly role: string;
      readonly tokenFile: string;
    };

const file = z.string().min(1).max(4096);
const name = z.string().min(1).max(512);

/** A path in Vault where an engine or a login method is mounted; slashes around it do not count. */
export const mountPath = z
  .string()
  .max(512)
  .transform((path) => path.replace(/^\/+|\/+$/g, ""))
  .refine(
    (path) => /^[A-Za-z0-9_][A-Za-z0-9_.-]*(?:\/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$/.test(path),
    "expected the path of a mount: letters, digits, dots, dashes and underscores, parts divided by slashes",
  );

/** The settings that every plugin on Vault has, named as SPIRE's are, except that secrets are in files. */
export const vaultSettingsShape = {
  vault_addr: z
    .string()
    .refine(
      (url) => serviceEndpoint(url) !== undefined,
      "expected an https URL without user, query and fragment; http on loopback only",
    )
    .describe("URL of Vault, such as https://vault.example.org:8200"),
  namespace: name
    .regex(/^[\x21-\x7e]+$/)
    .optional()
    .describe("Namespace of Vault Enterprise or OpenBao"),
  ca_cert_path: file
    .optional()
    .describe("PEM file with the authorities that Vault is believed by; the web's where there is none"),
  tls_server_name: name.optional().describe("Name in Vault's certificate where it is not the URL's host"),
  insecure_skip_verify: z
    .boolean()
    .default(false)
    .describe("Believe whoever answers; only where vault_addr is on loopback"),
  token_auth: z
    .strictObject({
      token_file: file.describe(
        "File with the token, closed to others; read again when the token is refused",
      ),
    })
    .optional()
    .describe("Log in with a token"),
  approle_auth: z
    .strictObject({
      approle_auth_mount_point: mountPath.default("approle").describe("Where the method is mounted"),
      approle_id: name.describe("Role ID"),
      approle_secret_id_file: file.describe("File with the secret ID, closed to others; read for each login"),
    })
    .optional()
    .describe("Log in by AppRole"),
  cert_auth: z
    .strictObject({
      cert_auth_mount_point: mountPath.default("cert").describe("Where the method is mounted"),
      client_cert_path: file.describe("PEM file with the client certificate; read for each login"),
      client_key_path: file.describe("PEM file with its private key, closed to others; read for each login"),
      cert_auth_role_name: name.optional().describe("Role to log in with; Vault tries all where absent"),
    })
    .optional()
    .describe("Log in with a client certificate"),
  k8s_auth: z
    .strictObject({
      k8s_auth_mount_point: mountPath.default("kubernetes").describe("Where the method is mounted"),
      k8s_auth_role_name: name.describe("Role to log in with"),
      token_path: file
        .default("/var/run/secrets/kubernetes.io/serviceaccount/token")
        .describe("File with the service account's token; read for each login"),
    })
    .optional()
    .describe("Log in with a Kubernetes service account"),
} as const;

type VaultConfig = z.output<z.ZodObject<typeof vaultSettingsShape>>;

/**
 * What is wrong between the settings, or `undefined`: exactly one way to log in, and no blind trust in what is not on this
 * machine.
 */
export function vaultSettingsFault(config: VaultConfig): { path: string[]; message: string } | undefined {
  const given = METHODS.filter((method) => config[method] !== undefined);
  if (given.length !== 1) {
    return { path: [given[1] ?? "token_auth"], message: `expected exactly one of ${METHODS.join(", ")}` };
  }
  const address = new URL(config.vault_addr);
  if (config.insecure_skip_verify && !isLoopbackHost(address.hostname)) {
    return {
      path: ["insecure_skip_verify"],
      message:
        "expected false: whoever answers in Vault's place would be sent our credentials; give its authority in ca_cert_path",
    };
  }
  if (config.cert_auth !== undefined && address.protocol === "http:") {
    return {
      path: ["cert_auth"],
      message: "expected an https vault_addr, as the certificate is shown in TLS",
    };
  }
  return undefined;
}

/** The settings as parsed. */
export function vaultSettings(config: VaultConfig): VaultSettings {
  return {
    address: new URL(config.vault_addr),
    namespace: config.namespace,
    caFile: config.ca_cert_path,
    serverName: config.tls_server_name,
    skipVerify: config.insecure_skip_verify,
    auth: authOf(config),
  };
}

function authOf({ token_auth, approle_auth, cert_auth, k8s_auth }: VaultConfig): VaultAuth {
  if (token_auth !== undefined) return { method: "token", tokenFile: token_auth.token_file };
  if (approle_auth !== undefined) {
    return {
      method: "approle",
      mount: approle_auth.approle_auth_mount_point,
      roleId: approle_auth.approle_id,
      secretIdFile: approle_auth.approle_secret_id_file,
    };
  }
  if (cert_auth !== undefined) {
    return {
      method: "cert",
      mount: cert_auth.cert_auth_mount_point,
      certificateFile: cert_auth.client_cert_path,
      keyFile: cert_auth.client_key_path,
      role: cert_auth.cert_auth_role_name,
    };
  }
  if (k8s_auth === undefined) throw new Error("the settings were not checked");
  return {
    method: "kubernetes",
    mount: k8s_auth.k8s_auth_mount_point,
    role: k8s_auth.k8s_auth_role_name,
    tokenFile: k8s_auth.token_path,
  };
}

const METHODS = ["token_auth", "approle_auth", "cert_auth", "k8s_auth"] as const;
