import type { ConfigSchema } from "./config-schema.ts";
import type { PluginHost } from "./host.ts";

/**
 * Holds the private keys of authorities. A key never leaves its manager: the contract has no way to export one.
 */
export interface KeyManagerPlugin<Config = unknown> {
  readonly kind: "keyManager";
  readonly apiVersion: 1;
  readonly name: string;
  readonly config: ConfigSchema<Config>;
  create(config: Config, host: PluginHost): KeyManager | Promise<KeyManager>;
}

/** A key manager at work. */
export interface KeyManager extends AsyncDisposable {
  /**
   * Makes a new key under this id, in place of one that had it. When the promise resolves the key is as durable as
   * the manager can make it.
   * @throws AssayError `KEY_UNAVAILABLE`.
   */
  generateKey(id: string, type: KeyType): Promise<ManagedKey>;
  /** The key of this id, or `undefined`. @throws AssayError `KEY_UNAVAILABLE`. */
  getKey(id: string): Promise<ManagedKey | undefined>;
  /** Every key the manager holds. @throws AssayError `KEY_UNAVAILABLE`. */
  listKeys(): Promise<readonly ManagedKey[]>;
  /** Destroys the key; nothing happens where there is none. @throws AssayError `KEY_UNAVAILABLE`. */
  deleteKey(id: string): Promise<void>;
}

/** A private key as a capability: something that signs. */
export interface ManagedKey {
  readonly id: string;
  readonly type: KeyType;
  /** DER SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array;
  /**
   * Signs the bytes: ECDSA with SHA-256 (P-256) or SHA-384 (P-384), or RSASSA-PKCS1-v1_5 with SHA-256. ECDSA
   * signatures come in the asked form. A local key answers at once, a remote one with a promise; a caller that awaits
   * either has one code path.
   * @throws AssayError `KEY_UNAVAILABLE`.
   */
  sign(data: Uint8Array, form: SignatureForm): Uint8Array | Promise<Uint8Array>;
}

/** `der` is the ASN.1 form of X.509 (RFC 3279 §2.2.3), `p1363` the fixed-length form of JWS (RFC 7518 §3.4). */
export type SignatureForm = "der" | "p1363";

/** The key types an authority can have. */
export type KeyType = "ec-p256" | "ec-p384" | "rsa-2048" | "rsa-4096";

/** Marks an object as a key manager plugin and checks its type where it is written. */
export function defineKeyManager<Config>(plugin: KeyManagerPlugin<Config>): KeyManagerPlugin<Config> {
  return plugin;
}
