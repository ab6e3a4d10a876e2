import { readBounded } from "../../files/read-bounded.ts";
import { readSecretFile } from "../secret-file.ts";
import { VaultError } from "./vault-error.ts";
import type { VaultAuth } from "./vault-settings.ts";
import type { VaultAnswer, VaultTransport } from "./vault-transport.ts";

/** A token of Vault's and how long it lives. */
export interface VaultLease {
  readonly token: string;
  /** Seconds from when it was given, 0 for ever. */
  readonly seconds: number;
  readonly renewable: boolean;
  /** Whether it was given to us by a login, so that it is ours to revoke; `false` for one that the operator gave. */
  readonly isOurs: boolean;
}

/**
 * Logs in, with whatever the files hold now.
 * @throws VaultError, AssayError where a file cannot be read, `CONFIG_INVALID` where others can read it too.
 */
export async function logIn(
  transport: VaultTransport,
  auth: VaultAuth,
  signal?: AbortSignal,
): Promise<VaultLease> {
  const post = async (mount: string, body: Record<string, unknown>, secrets: readonly string[] = []) =>
    leaseOf(
      await transport.send({ method: "POST", path: `auth/${mount}/login`, body, secrets }, undefined, signal),
    );
  switch (auth.method) {
    case "token": {
      const token = await secretIn("token_file", auth.tokenFile);
      const path = "auth/token/lookup-self";
      return ownLease(token, await transport.send({ method: "GET", path }, token, signal));
    }
    case "approle": {
      const secretId = await secretIn("approle_secret_id_file", auth.secretIdFile);
      return post(auth.mount, { role_id: auth.roleId, secret_id: secretId }, [secretId]);
    }
    case "cert":
      transport.refreshPeer();
      return post(auth.mount, auth.role === undefined ? {} : { name: auth.role });
    case "kubernetes": {
      // Kubernetes itself mounts it readable by all of the pod.
      const bytes = await readBounded(auth.tokenFile, MAX_SECRET, { code: "REMOTE_UNAVAILABLE" });
      const jwt = credentialIn(bytes, auth.tokenFile);
      return post(auth.mount, { role: auth.role, jwt }, [jwt]);
    }
    default:
      throw new Error(`no such way to log in: ${JSON.stringify(auth satisfies never)}`);
  }
}

/** Has the token's life prolonged. @throws VaultError. */
export async function renewLease(
  transport: VaultTransport,
  { token, isOurs }: VaultLease,
  signal?: AbortSignal,
): Promise<VaultLease> {
  const call = { method: "POST", path: "auth/token/renew-self", body: {} } as const;
  return { ...leaseOf(await transport.send(call, token, signal)), isOurs };
}

/** Has a token end now. @throws VaultError, what the signal was aborted with. */
export async function revoke(transport: VaultTransport, token: string, signal: AbortSignal): Promise<void> {
  await transport.send({ method: "POST", path: "auth/token/revoke-self", body: {} }, token, signal);
}

function leaseOf({ body }: VaultAnswer): VaultLease {
  const { client_token, lease_duration, renewable } = (body as { auth?: RawAuth } | undefined)?.auth ?? {};
  if (typeof client_token !== "string" || !TOKEN.test(client_token)) {
    throw new VaultError("refused", "Vault answers a login without a token");
  }
  return {
    token: client_token,
    seconds: secondsOf(lease_duration),
    renewable: renewable === true,
    isOurs: true,
  };
}

function ownLease(token: string, { body }: VaultAnswer): VaultLease {
  const { ttl, renewable } = (body as { data?: RawLookup } | undefined)?.data ?? {};
  return { token, seconds: secondsOf(ttl), renewable: renewable === true, isOurs: false };
}

function secondsOf(value: unknown): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw new VaultError("refused", "Vault does not tell how long its token lives");
}

async function secretIn(setting: string, path: string): Promise<string> {
  return credentialIn(await readSecretFile(setting, path, MAX_SECRET), path);
}

function credentialIn(bytes: Buffer, path: string): string {
  const text = bytes.toString("latin1").trim();
  if (!TOKEN.test(text))
    throw new VaultError("unavailable", `${path} must hold one credential and nothing else`);
  return text;
}

interface RawAuth {
  readonly client_token?: unknown;
  readonly lease_duration?: unknown;
  readonly renewable?: unknown;
}

interface RawLookup {
  readonly ttl?: unknown;
  readonly renewable?: unknown;
}

// What may stand in a header, so that no credential can be more than one.
const TOKEN = /^[\x21-\x7e]{1,16384}$/;
const MAX_SECRET = 16_384;
