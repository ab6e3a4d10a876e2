import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes } from "node:crypto";
import type { Clock } from "../../src/clock.ts";
import type {
  KeyVaultClient,
  KeyVaultKey,
  KeyVaultModule,
  KeyVaultSigner,
} from "../../src/keys/azure-key-vault/key-vault-module.ts";
import { KeyVaultService } from "../../src/keys/azure-key-vault/key-vault-service.ts";
import { derToP1363 } from "../../src/keys/ecdsa-form.ts";
import type { PluginHost } from "../../src/plugin/host.ts";
import { signDigest } from "./sign-digest.ts";

/** A key of the fake vault. */
export interface FakeVaultKey {
  readonly privateKey: KeyObject;
  readonly version: string;
  readonly tags: Record<string, string>;
  readonly createdOn: Date;
  updatedOn: Date;
  enabled: boolean;
}

/**
 * Azure's packages in place of a vault: what they answer as far as Assay asks, from keys in memory that really sign. It is no
 * Key Vault: it answers as the packages' documentation says.
 */
export class FakeKeyVault {
  readonly keys = new Map<string, FakeVaultKey>();
  readonly calls: string[] = [];
  /** Called before each call; what it throws is what the call throws, and it may stall. */
  fault: (call: string) => void | Promise<void> = () => {};
  /** Makes something else of each signature. */
  bend: (signature: Uint8Array) => Uint8Array = (signature) => signature;
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** What stands in the place of `@azure/keyvault-keys`. */
  get sdk(): KeyVaultModule {
    const client = (): KeyVaultClient => this.#client();
    const signer = (id: string): KeyVaultSigner => this.#signer(id);
    return {
      KeyClient: function make(this: object) {
        Object.assign(this, client());
      } as unknown as KeyVaultModule["KeyClient"],
      CryptographyClient: function make(this: object, id: string) {
        Object.assign(this, signer(id));
      } as unknown as KeyVaultModule["CryptographyClient"],
    };
  }

  /** The keys of a server in it, asked for once each time. */
  service(host: PluginHost, serverId = "s"): KeyVaultService {
    return new KeyVaultService({
      vault: "https://fake.vault.azure.net/",
      serverId,
      credential: { getToken: async () => ({}) },
      sdk: this.sdk,
      client: { retryOptions: { maxRetries: 0, maxRetryDelayInMs: 0 } },
      host,
    });
  }

  /** Puts a key into the vault. */
  put(
    name: string,
    type: "EC" | "RSA",
    wanted: Partial<FakeVaultKey> & { curve?: string; size?: number } = {},
  ) {
    if (!/^[A-Za-z0-9-]{1,127}$/.test(name)) throw restError(400, "BadParameter");
    const { curve = "P-256", size = 2048, ...others } = wanted;
    const { privateKey } =
      type === "EC"
        ? generateKeyPairSync("ec", { namedCurve: curve })
        : generateKeyPairSync("rsa", { modulusLength: size });
    const now = new Date(this.#clock.now());
    const key = {
      privateKey,
      version: randomBytes(16).toString("hex"),
      tags: {},
      createdOn: now,
      updatedOn: now,
    };
    this.keys.set(name, { ...key, enabled: true, ...others });
  }

  #client(): KeyVaultClient {
    return {
      createKey: async (name, type, { curve, keySize, tags }) => {
        await this.#note(`create ${name}`);
        const size = {
          ...(curve === undefined ? {} : { curve }),
          ...(keySize === undefined ? {} : { size: keySize }),
        };
        this.put(name, type, { tags: { ...tags }, ...size });
        return this.#show(name);
      },
      getKey: async (name, { version }) => {
        await this.#note(`get ${name}`);
        if (version !== undefined && this.#held(name).version !== version)
          throw restError(404, "KeyNotFound");
        return this.#show(name);
      },
      updateKeyProperties: async (name, version, { keyOps }) => {
        await this.#note(`update ${name} ${keyOps.join()}`);
        const key = this.#held(name);
        if (key.version !== version) throw restError(404, "KeyNotFound");
        key.updatedOn = new Date(this.#clock.now());
      },
      beginDeleteKey: async (name) => {
        await this.#note(`delete ${name}`);
        this.#held(name);
        this.keys.delete(name);
      },
      listPropertiesOfKeys: () => this.#list(),
    };
  }

  async *#list() {
    await this.#note("list");
    for (const [name, { version: _version, privateKey: _key, ...shown }] of this.keys)
      yield { name, ...shown };
  }

  #signer(id: string): KeyVaultSigner {
    return {
      sign: async (algorithm, digest) => {
        const [name = "", version] = id.split("/").slice(-2);
        await this.#note(`sign ${name} ${algorithm}`);
        const { privateKey, version: held } = this.#held(name);
        if (held !== version) throw restError(404, "KeyNotFound");
        const signature = signDigest(privateKey, digest);
        const size = { ES256: 32, ES384: 48, RS256: 0 }[algorithm];
        return { result: this.bend(size === 0 ? signature : derToP1363(signature, size)) };
      },
    };
  }

  #show(name: string): KeyVaultKey {
    const { privateKey, version, ...properties } = this.#held(name);
    const jwk = createPublicKey(privateKey).export({ format: "jwk" });
    const octets = (value: string | undefined) =>
      value === undefined ? {} : { value: new Uint8Array(Buffer.from(value, "base64url")) };
    const part = (label: "n" | "e" | "x" | "y") => {
      const { value } = octets(jwk[label]);
      return value === undefined ? {} : { [label]: value };
    };
    return {
      id: `https://fake.vault.azure.net/keys/${name}/${version}`,
      name,
      properties: { name, version, ...properties },
      key: {
        kty: jwk.kty ?? "",
        ...(jwk.crv === undefined ? {} : { crv: jwk.crv }),
        ...part("n"),
        ...part("e"),
        ...part("x"),
        ...part("y"),
      },
    };
  }

  #held(name: string): FakeVaultKey {
    const key = this.keys.get(name);
    if (key === undefined) throw restError(404, "KeyNotFound");
    return key;
  }

  async #note(call: string): Promise<void> {
    this.calls.push(call);
    await this.fault(call);
  }
}

/** An error as Azure's packages throw it. */
export function restError(statusCode: number, code: string): Error {
  return Object.assign(new Error(`a message that quotes secret-of-the-test`), {
    name: "RestError",
    statusCode,
    code,
  });
}
