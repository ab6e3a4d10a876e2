import type { Clock } from "../../clock.ts";
import { pause } from "../../cloud/deadline.ts";
import { crc32c } from "../../cloud/google/crc32c.ts";
import type { GoogleCall, GoogleClient } from "../../cloud/google/google-client.ts";
import { GoogleError, googleError } from "../../cloud/google/google-error.ts";
import { AssayError } from "../../errors/assay-error.ts";

/** A CryptoKey, as much of it as we use. */
export interface CryptoKey {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly algorithm: string;
}

/** A CryptoKeyVersion: what holds key material and signs. */
export interface CryptoKeyVersion {
  readonly name: string;
  readonly state: string;
  readonly algorithm: string;
}

/** An IAM policy. Members beside `bindings` are kept as they came. */
export type IamPolicy = Readonly<Record<string, unknown>> & {
  readonly bindings?: readonly unknown[];
};

/** Cloud KMS version 1, its REST face, as much of it as we use. Every method throws `KEY_UNAVAILABLE`. */
export interface KmsService {
  /** Google's own time, in milliseconds. */
  time(): Promise<number>;
  /** One CryptoKey. */
  cryptoKey(name: string): Promise<CryptoKey>;
  /** The CryptoKeys of the key ring that the filter fits. */
  cryptoKeys(filter: string): AsyncIterable<CryptoKey>;
  /** The versions of a CryptoKey that are enabled. */
  enabledVersions(cryptoKey: string): AsyncIterable<CryptoKeyVersion>;
  /** Makes a CryptoKey without a version; `false` where it is there already. */
  createCryptoKey(id: string, algorithm: string, labels: Readonly<Record<string, string>>): Promise<boolean>;
  /** Changes labels, and the algorithm of versions to come where it is given. */
  updateCryptoKey(name: string, labels: Readonly<Record<string, string>>, algorithm?: string): Promise<void>;
  /** Makes a version and waits until it can sign. */
  createVersion(cryptoKey: string): Promise<CryptoKeyVersion>;
  /** Gives a version up for destruction; one that is gone or given up already is no fault. */
  destroyVersion(name: string): Promise<void>;
  /** The state of a version, `undefined` where there is no such version. */
  stateOf(version: string): Promise<string | undefined>;
  /** DER SubjectPublicKeyInfo. */
  publicKey(version: string): Promise<Uint8Array>;
  /** Signs a digest; ECDSA in DER. */
  sign(
    version: string,
    digest: { readonly sha256: Uint8Array } | { readonly sha384: Uint8Array },
  ): Promise<Uint8Array>;
  getIamPolicy(name: string): Promise<IamPolicy>;
  setIamPolicy(name: string, policy: IamPolicy): Promise<void>;
  nameOf(cryptoKeyId: string): string;
  readonly signal: AbortSignal;
  close(): void;
}

/** Opens the keys of one key ring: `projects/P/locations/L/keyRings/R`. */
export function openKmsService(client: GoogleClient, keyRing: string, clock: Clock): KmsService {
  const closing = new AbortController();
  const { signal } = closing;

  async function ask(
    action: string,
    call: Omit<GoogleCall, "signal" | "timeout"> & { readonly timeout?: number },
    unless: readonly string[] = [],
  ): Promise<Readonly<Record<string, unknown>> | undefined> {
    try {
      return await client.ask({ timeout: TIMEOUT, ...call, signal });
    } catch (error) {
      if (error instanceof GoogleError && unless.includes(error.reason)) return undefined;
      if (signal.aborted) throw new AssayError("KEY_UNAVAILABLE", "key manager is closed");
      throw googleError("KEY_UNAVAILABLE", `cloudkms.${action}`, error);
    }
  }

  async function* listed(action: string, path: string, member: string, filter: string) {
    let pageToken = "";
    for (let pages = 0; pages < MAX_PAGES; pages++) {
      const query = { filter, pageSize: "100", ...(pageToken === "" ? {} : { pageToken }) };
      const page = (await ask(action, { method: "GET", path, query })) ?? {};
      const items = page[member];
      if (Array.isArray(items)) yield* items as unknown[];
      const { nextPageToken } = page as { readonly nextPageToken?: unknown };
      if (typeof nextPageToken !== "string" || nextPageToken === "") return;
      pageToken = nextPageToken;
    }
    throw new AssayError("KEY_UNAVAILABLE", `cloudkms.${action} failed: more than ${MAX_PAGES} pages`);
  }

  async function enabled(version: CryptoKeyVersion): Promise<CryptoKeyVersion> {
    let current = version;
    for (const delay of GENERATION_DELAYS) {
      if (current.state !== "PENDING_GENERATION") break;
      await pause(clock, delay, signal).catch(() => {
        throw new AssayError("KEY_UNAVAILABLE", "key manager is closed");
      });
      current = versionIn(await ask("cryptoKeyVersions.get", { method: "GET", path: version.name }));
    }
    if (current.state === "ENABLED") return current;
    throw new AssayError("KEY_UNAVAILABLE", `a new key version in Cloud KMS is in state ${current.state}`);
  }

  return {
    async time() {
      let time: number | undefined;
      await ask("cryptoKeys.list", {
        method: "GET",
        path: `${keyRing}/cryptoKeys`,
        query: { pageSize: "1" },
        tellTime: (told) => {
          time = told;
        },
      });
      if (time === undefined) throw new AssayError("KEY_UNAVAILABLE", "Cloud KMS does not tell its time");
      return time;
    },
    async cryptoKey(name) {
      return cryptoKeyIn(await ask("cryptoKeys.get", { method: "GET", path: name }));
    },
    async *cryptoKeys(filter) {
      for await (const item of listed("cryptoKeys.list", `${keyRing}/cryptoKeys`, "cryptoKeys", filter)) {
        yield cryptoKeyIn(item);
      }
    },
    async *enabledVersions(cryptoKey) {
      const path = `${cryptoKey}/cryptoKeyVersions`;
      for await (const item of listed(
        "cryptoKeyVersions.list",
        path,
        "cryptoKeyVersions",
        "state = ENABLED",
      )) {
        const version = versionIn(item);
        // Whatever became of the filter.
        if (version.state === "ENABLED") yield version;
      }
    },
    async createCryptoKey(id, algorithm, labels) {
      const made = await ask(
        "cryptoKeys.create",
        {
          method: "POST",
          path: `${keyRing}/cryptoKeys`,
          query: { cryptoKeyId: id, skipInitialVersionCreation: "true" },
          body: { purpose: "ASYMMETRIC_SIGN", versionTemplate: { algorithm }, labels },
        },
        ["ALREADY_EXISTS"],
      );
      return made !== undefined;
    },
    async updateCryptoKey(name, labels, algorithm) {
      const template = algorithm === undefined ? {} : { versionTemplate: { algorithm } };
      const updateMask = algorithm === undefined ? "labels" : "labels,versionTemplate.algorithm";
      await ask("cryptoKeys.update", {
        method: "PATCH",
        path: name,
        query: { updateMask },
        body: { labels, ...template },
        repeatable: true,
      });
    },
    async createVersion(cryptoKey) {
      const path = `${cryptoKey}/cryptoKeyVersions`;
      return enabled(
        versionIn(
          await ask("cryptoKeyVersions.create", { method: "POST", path, body: { state: "ENABLED" } }),
        ),
      );
    },
    async destroyVersion(name) {
      const path = `${name}:destroy`;
      // A version that is not enabled any more cannot be given up again.
      const gone = ["NOT_FOUND", "FAILED_PRECONDITION"];
      await ask("cryptoKeyVersions.destroy", { method: "POST", path, body: {}, repeatable: true }, gone);
    },
    async stateOf(version) {
      const call = { method: "GET", path: version, timeout: SIGN_TIMEOUT } as const;
      const answer = await ask("cryptoKeyVersions.get", call, ["NOT_FOUND"]);
      return answer === undefined ? undefined : versionIn(answer).state;
    },
    async publicKey(version) {
      const answer = await ask("cryptoKeyVersions.viewPublicKey", {
        method: "GET",
        path: `${version}/publicKey`,
      });
      const { pem, pemCrc32c } = (answer ?? {}) as { readonly pem?: unknown; readonly pemCrc32c?: unknown };
      if (typeof pem !== "string" || !isChecksum(pemCrc32c, Buffer.from(pem))) corrupted("a public key");
      return publicKeyIn(pem);
    },
    async sign(version, digest) {
      const [[name, bytes] = ["", new Uint8Array()]] = Object.entries(digest);
      const answer = await ask("cryptoKeyVersions.useToSign", {
        method: "POST",
        path: `${version}:asymmetricSign`,
        body: {
          digest: { [name]: Buffer.from(bytes).toString("base64") },
          digestCrc32c: String(crc32c(bytes)),
        },
        repeatable: true,
        timeout: SIGN_TIMEOUT,
      });
      return signatureIn(answer ?? {}, version);
    },
    async getIamPolicy(name) {
      const answer = await ask("cryptoKeys.getIamPolicy", {
        method: "GET",
        path: `${name}:getIamPolicy`,
        query: { "options.requestedPolicyVersion": "3" },
      });
      return answer ?? {};
    },
    async setIamPolicy(name, policy) {
      await ask("cryptoKeys.setIamPolicy", {
        method: "POST",
        path: `${name}:setIamPolicy`,
        body: { policy },
        repeatable: true,
      });
    },
    nameOf: (cryptoKeyId) => `${keyRing}/cryptoKeys/${cryptoKeyId}`,
    signal,
    close() {
      closing.abort(new Error("the key manager is being closed"));
      client[Symbol.dispose]();
    },
  };
}

function cryptoKeyIn(item: unknown): CryptoKey {
  const { name, labels, versionTemplate } = (item ?? {}) as Readonly<Record<string, unknown>>;
  const { algorithm } = (versionTemplate ?? {}) as Readonly<Record<string, unknown>>;
  if (typeof name !== "string" || !CRYPTO_KEY.test(name)) corrupted("a key's name");
  const kept = Object.entries(labels ?? {}).map(([label, value]) => [label, textIn(value)] as const);
  return { name, labels: Object.fromEntries(kept), algorithm: textIn(algorithm) };
}

function versionIn(item: unknown): CryptoKeyVersion {
  const { name, state, algorithm } = (item ?? {}) as Readonly<Record<string, unknown>>;
  if (typeof name !== "string" || !VERSION.test(name)) corrupted("a key version's name");
  return { name, state: textIn(state), algorithm: textIn(algorithm) };
}

function textIn(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function signatureIn(answer: Readonly<Record<string, unknown>>, version: string): Uint8Array {
  const { signature, signatureCrc32c, verifiedDigestCrc32c, name } = answer as {
    readonly [member in "signature" | "signatureCrc32c" | "verifiedDigestCrc32c" | "name"]?: unknown;
  };
  if (verifiedDigestCrc32c !== true) corrupted("the digest");
  if (name !== version) corrupted("the key's name");
  const bytes = Buffer.from(typeof signature === "string" ? signature : "", "base64");
  if (bytes.length === 0 || !isChecksum(signatureCrc32c, bytes)) corrupted("the signature");
  return bytes;
}

/** Checksums are 64-bit numbers in Google's JSON, and so texts. */
function isChecksum(value: unknown, bytes: Uint8Array): boolean {
  return (typeof value === "string" || typeof value === "number") && String(value) === String(crc32c(bytes));
}

function publicKeyIn(pem: string): Uint8Array {
  const [, body = ""] = PUBLIC_KEY.exec(pem) ?? [];
  const der = Buffer.from(body, "base64");
  if (der.length === 0) corrupted("a public key");
  return der;
}

function corrupted(what: string): never {
  throw new AssayError("KEY_UNAVAILABLE", `${what} was corrupted on the way from or to Cloud KMS`);
}

const TIMEOUT = 15_000;
const SIGN_TIMEOUT = 5000;
const MAX_PAGES = 1000;
// RSA-4096 takes a few seconds; together these are half a minute.
const GENERATION_DELAYS = [50, 100, 200, 400, 800, 1000, 2000, 2000, 4000, 4000, 8000, 8000];
const CRYPTO_KEY = /^projects\/[^/]+\/locations\/[^/]+\/keyRings\/[^/]+\/cryptoKeys\/[A-Za-z0-9_-]{1,63}$/;
const VERSION =
  /^projects\/[^/]+\/locations\/[^/]+\/keyRings\/[^/]+\/cryptoKeys\/[A-Za-z0-9_-]{1,63}\/cryptoKeyVersions\/\d{1,10}$/;
const PUBLIC_KEY = /^-----BEGIN PUBLIC KEY-----\s([A-Za-z0-9+/=\s]{1,2000})-----END PUBLIC KEY-----\s*$/;
