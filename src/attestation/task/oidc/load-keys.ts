import { type OidcKeySet, OIDC_KEY_SET_LIMITS, parseOidcKeys } from "../../../crypto/jose/oidc-token-keys.ts";
import { parseJsonObject } from "../../../crypto/jose/strict-json.ts";
import { AssayError } from "../../../errors/assay-error.ts";
import { readBounded } from "../../../files/read-bounded.ts";
import { type HttpsUrl, parseHttpsUrl } from "../../../outbound/https-url.ts";
import type { Outbound } from "../../../outbound/outbound.ts";
import type { ServerProof } from "../../../outbound/server-proof.ts";

/** Where to ask and whom to believe. */
export interface RemoteKeys {
  readonly issuer: string;
  /** Where the keys are; found by discovery unless given. */
  readonly jwksUrl?: string;
  readonly outbound: Outbound;
  readonly proof: ServerProof;
}

/**
 * The issuer's keys from its server (OpenID Connect Discovery §4): from where the discovery document of exactly this
 * issuer says, over https with no redirect, to addresses that are permitted, bounded in bytes and time.
 * @throws AssayError `REMOTE_UNAVAILABLE`.
 */
export async function fetchKeys(options: RemoteKeys, signal: AbortSignal): Promise<OidcKeySet> {
  const url =
    options.jwksUrl === undefined ? await discover(options, signal) : parseHttpsUrl(options.jwksUrl);
  return parsed("the issuer's keys", await get(options, url, OIDC_KEY_SET_LIMITS.bytes, signal));
}

/**
 * The keys in a file that the operator put there.
 * @throws AssayError `REMOTE_UNAVAILABLE` naming the file.
 */
export async function readKeys(file: string): Promise<OidcKeySet> {
  const bytes = await readBounded(file, OIDC_KEY_SET_LIMITS.bytes, { code: "REMOTE_UNAVAILABLE" });
  return parsed(`the keys in ${file}`, bytes);
}

async function discover(options: RemoteKeys, signal: AbortSignal): Promise<HttpsUrl> {
  const url = `${options.issuer.replace(/\/$/, "")}/.well-known/openid-configuration`;
  const document = parseJsonObject(await get(options, parseHttpsUrl(url), MAX_DOCUMENT_BYTES, signal));
  if (typeof document === "string") return fail(`the issuer's discovery document ${document}`);
  // OpenID Connect Discovery §4.3: exactly the issuer that was asked for.
  if (document["issuer"] !== options.issuer) return fail("the discovery document is of another issuer");
  const { jwks_uri: keys } = document;
  if (typeof keys !== "string") return fail("the discovery document has no jwks_uri");
  try {
    return parseHttpsUrl(keys);
  } catch (cause) {
    return fail(`jwks_uri of the discovery document: ${reasonOf(cause)}`, cause);
  }
}

async function get(
  { outbound, proof }: RemoteKeys,
  url: HttpsUrl,
  maxBytes: number,
  signal: AbortSignal,
): Promise<Uint8Array> {
  return (await outbound.get({ url, proof, maxBytes, maxRedirects: 0, timeout: TIMEOUT, signal })).body;
}

function parsed(what: string, bytes: Uint8Array): OidcKeySet {
  try {
    return parseOidcKeys(bytes);
  } catch (cause) {
    return fail(`${what} cannot be used: ${reasonOf(cause)}`, cause);
  }
}

function reasonOf(cause: unknown): string {
  return cause instanceof AssayError ? cause.detail : "unknown reason";
}

function fail(detail: string, cause?: unknown): never {
  throw new AssayError("REMOTE_UNAVAILABLE", detail, { cause });
}

const MAX_DOCUMENT_BYTES = 65_536;
const TIMEOUT = 4_000;
