import { type Clock, unixSeconds } from "../../clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { PluginLog } from "../../plugin/host.ts";
import type { KeyType } from "../../plugin/key-manager.ts";
import { readFoundKeys } from "../found-keys.ts";
import type { RemoteKey, RemoteKeyService } from "../remote-key-manager.ts";
import type { CryptoKeyNames } from "./kms-names.ts";
import type { CryptoKey, CryptoKeyVersion, KmsService } from "./kms-service.ts";

/** What a server's keys in Cloud KMS are made with. */
export interface KmsKeysOptions {
  readonly kms: KmsService;
  readonly names: CryptoKeyNames;
  /** Says who may use a CryptoKey that was just made, or that may have been left without that. */
  readonly allow: (cryptoKey: string, isNew: boolean) => Promise<void>;
  /** The versions that this process listed or made: no other may be given up. */
  readonly seen: Set<string>;
  readonly clock: Clock;
  readonly log: PluginLog;
}

/**
 * The keys of one server in Cloud KMS: a CryptoKey for each id, whose newest enabled version is the key. A handle is the
 * name of a version. A CryptoKey itself can never be deleted, so a key that is deleted leaves one without versions behind,
 * and the next key of its id goes into it.
 */
export function gcpKmsKeys({
  kms,
  names,
  allow,
  seen,
  clock,
  log,
}: KmsKeysOptions): RemoteKeyService<string> {
  return {
    list: () => readFoundKeys(found(), ([id, cryptoKey]) => keyOf(id, cryptoKey)),

    async create(id, type, replaced) {
      const cryptoKey = kms.nameOf(names.cryptoKeyIdOf(id));
      const labels = names.labelsOf(id, unixSeconds(clock));
      const algorithm = ALGORITHMS[type];
      if (replaced === undefined) {
        const isNew = await kms.createCryptoKey(names.cryptoKeyIdOf(id), algorithm, labels);
        if (!isNew) await takeUp(cryptoKey, labels, algorithm);
        // What a failure left without a policy must get it now.
        await allow(cryptoKey, isNew);
      } else await kms.updateCryptoKey(cryptoKey, labels, algorithm);
      const version = await kms.createVersion(cryptoKey);
      seen.add(version.name);
      const publicKey = await kms.publicKey(version.name).catch(async (error: unknown) => {
        await giveUp(version.name);
        throw error;
      });
      if (replaced !== undefined) await giveUp(replaced.handle);
      return { id, type, publicKey, handle: version.name };
    },

    async remove({ id, handle }) {
      const cryptoKey = cryptoKeyOf(handle);
      for await (const { name } of kms.enabledVersions(cryptoKey)) {
        if (seen.has(name)) await kms.destroyVersion(name);
      }
      const labels = names.labelsOf(id, unixSeconds(clock));
      await kms.updateCryptoKey(cryptoKey, { ...labels, "spire-active": "false" });
    },

    sign: ({ type, handle }, digest) =>
      kms.sign(handle, type === "ec-p384" ? { sha384: digest } : { sha256: digest }),

    async exists({ handle }) {
      const state = await kms.stateOf(handle);
      return state !== undefined && state !== "DESTROYED" && state !== "DESTROY_SCHEDULED";
    },

    close: () => kms.close(),
  };

  /** A CryptoKey that is there already: our own of earlier, whose key was deleted. */
  async function takeUp(name: string, labels: Readonly<Record<string, string>>, algorithm: string) {
    if (!names.isOurs((await kms.cryptoKey(name)).labels)) {
      throw new AssayError(
        "KEY_UNAVAILABLE",
        `${name} belongs to another trust domain or server; servers that share a key ring each need a key identifier of their own`,
      );
    }
    await kms.updateCryptoKey(name, labels, algorithm);
  }

  async function* found(): AsyncIterable<readonly [id: string, cryptoKey: CryptoKey]> {
    for await (const cryptoKey of kms.cryptoKeys(names.ownFilter)) {
      const id = names.idOf(cryptoKey.name, cryptoKey.labels);
      if (id !== undefined && names.isOurs(cryptoKey.labels)) yield [id, cryptoKey];
    }
  }

  async function keyOf(id: string, cryptoKey: CryptoKey): Promise<RemoteKey<string> | undefined> {
    let newest: CryptoKeyVersion | undefined;
    for await (const version of kms.enabledVersions(cryptoKey.name)) {
      seen.add(version.name);
      if (newest === undefined || numberOf(version.name) > numberOf(newest.name)) newest = version;
    }
    const type = typeOf(newest?.algorithm);
    if (newest === undefined || type === undefined) {
      // As one in a file that was deleted: another is made in its place.
      log.warn("a key in Cloud KMS cannot be used and is taken for lost", {
        key_id: id,
        algorithm: newest?.algorithm ?? "none enabled",
      });
      return undefined;
    }
    return { id, type, publicKey: await kms.publicKey(newest.name), handle: newest.name };
  }

  /** What stays behind is found and given up by the care for keys later. */
  async function giveUp(version: string): Promise<void> {
    await kms.destroyVersion(version).catch((error: unknown) => {
      log.warn("a replaced key version could not be given up yet", { version, error: String(error) });
    });
  }
}

/** The CryptoKey of a version. */
export function cryptoKeyOf(version: string): string {
  return version.slice(0, version.indexOf("/cryptoKeyVersions/"));
}

/** The number of a version, which counts up in each CryptoKey. */
export function numberOf(version: string): number {
  return Number(version.slice(version.lastIndexOf("/") + 1));
}

function typeOf(algorithm: string | undefined): KeyType | undefined {
  return (Object.keys(ALGORITHMS) as KeyType[]).find((type) => ALGORITHMS[type] === algorithm);
}

const ALGORITHMS: Readonly<Record<KeyType, string>> = {
  "ec-p256": "EC_SIGN_P256_SHA256",
  "ec-p384": "EC_SIGN_P384_SHA384",
  "rsa-2048": "RSA_SIGN_PKCS1_2048_SHA256",
  "rsa-4096": "RSA_SIGN_PKCS1_4096_SHA256",
};
