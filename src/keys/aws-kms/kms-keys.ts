import { type Clock, unixSeconds } from "../../clock.ts";
import type { AwsCallOptions } from "../../cloud/aws/sdk.ts";
import { pause } from "../../cloud/deadline.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { PluginLog } from "../../plugin/host.ts";
import type { KeyType } from "../../plugin/key-manager.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import { readFoundKeys } from "../found-keys.ts";
import type { RemoteKey, RemoteKeyService } from "../remote-key-manager.ts";
import type { KmsCalls } from "./kms-calls.ts";
import type { KmsClient, KmsKeyMetadata, KmsTag } from "./kms-client.ts";
import { discoveryTags, type KmsNames } from "./kms-names.ts";

/** What a server's keys in KMS are made with. */
export interface KmsKeysOptions {
  readonly calls: KmsCalls;
  readonly names: KmsNames;
  readonly trustDomain: TrustDomain;
  readonly serverId: string;
  /** Key policy of new keys; KMS's own, which leaves everything to IAM, where it is `undefined`. */
  readonly policy: () => Promise<string | undefined>;
  /** Tags of the operator for new keys. */
  readonly tags: readonly KmsTag[];
  /** Whether keys get the tags by which SPIRE discovers keys. */
  readonly tagged: boolean;
  readonly clock: Clock;
  readonly log: PluginLog;
}

/** The keys of one server in KMS. A handle is the ARN of a key, never an alias, which may point elsewhere tomorrow. */
export function kmsKeys(options: KmsKeysOptions): RemoteKeyService<string> {
  const { calls, names, trustDomain, serverId, policy, tags, tagged, clock, log } = options;

  return {
    list: () => readFoundKeys(found(), ([id, target]) => keyOf(id, target)),

    async create(id, type, replaced) {
      const { spec } = SPECS[type];
      const now = unixSeconds(clock);
      const allTags = [...(tagged ? discoveryTags(trustDomain, serverId, id, now) : []), ...tags];
      const keyPolicy = await policy();
      const made = await calls.call("kms:CreateKey", (kms, call) =>
        kms.createKey(
          {
            Description: names.descriptionOf(id),
            KeyUsage: "SIGN_VERIFY",
            KeySpec: spec,
            ...(keyPolicy === undefined ? {} : { Policy: keyPolicy }),
            ...(allTags.length === 0 ? {} : { Tags: [...allTags] }),
          },
          call,
        ),
      );
      const arn = made?.KeyMetadata?.Arn;
      if (!arn) throw new AssayError("KEY_UNAVAILABLE", "kms:CreateKey gave no ARN");
      const key = { id, type, publicKey: await publicKeyOf(arn), handle: arn };
      // What fails from here on leaves a key without an alias, which is swept up two days later: whether the alias
      // moved cannot be known after a lost answer, and a key that an alias points at must not be destroyed.
      await pointAlias(id, arn);
      if (replaced !== undefined) {
        await scheduleDeletion(replaced.handle).catch((error: unknown) => {
          log.warn("a replaced key could not be given up yet", {
            key: replaced.handle,
            error: String(error),
          });
        });
      }
      return key;
    },

    async remove({ id, handle }) {
      await scheduleDeletion(handle);
      await calls.call(
        "kms:DeleteAlias",
        (kms, call) => kms.deleteAlias({ AliasName: names.aliasOf(id) }, call),
        GONE,
      );
    },

    async sign({ type, handle }, digest) {
      const order = {
        KeyId: handle,
        Message: digest,
        MessageType: "DIGEST",
        SigningAlgorithm: SPECS[type].algorithm,
      } as const;
      const answer = await calls.call("kms:Sign", (kms, call) => kms.sign(order, call), [], SIGN_TIMEOUT);
      if (!answer?.Signature) throw new AssayError("KEY_UNAVAILABLE", "kms:Sign gave no signature");
      return answer.Signature;
    },

    async exists({ handle }) {
      const describe = (kms: KmsClient, call: AwsCallOptions) => kms.describeKey({ KeyId: handle }, call);
      const answer = await calls.call("kms:DescribeKey", describe, GONE, SIGN_TIMEOUT);
      return answer !== undefined && !DOOMED.has(answer.KeyMetadata?.KeyState ?? "");
    },

    close: () => calls.close(),
  };

  async function* found(): AsyncIterable<readonly [id: string, target: string]> {
    for await (const { AliasName, TargetKeyId } of calls.aliases()) {
      const id = names.idOf(AliasName ?? "");
      if (id !== undefined && TargetKeyId) yield [id, TargetKeyId];
    }
  }

  async function keyOf(id: string, target: string): Promise<RemoteKey<string> | undefined> {
    const answer = await calls.call(
      "kms:DescribeKey",
      (kms, call) => kms.describeKey({ KeyId: target }, call),
      GONE,
    );
    const facts: KmsKeyMetadata = answer?.KeyMetadata ?? {};
    const type = typeOf(facts);
    const state = facts.KeyState ?? "absent";
    if (TRANSIENT.has(state)) throw new AssayError("KEY_UNAVAILABLE", `key ${id} is in state ${state}`);
    if (state !== "Enabled" || type === undefined || !facts.Arn) {
      // A key that was taken away is lost to us, as one in a file is that was deleted: another is made in its place.
      log.warn("a key in KMS cannot be used and is taken for lost", {
        key_id: id,
        state,
        spec: facts.KeySpec,
      });
      return undefined;
    }
    return { id, type, publicKey: await publicKeyOf(facts.Arn), handle: facts.Arn };
  }

  async function publicKeyOf(arn: string): Promise<Uint8Array> {
    for (let attempt = 0; ; attempt++) {
      const last = attempt === FRESH_DELAYS.length;
      const answer = await calls.call(
        "kms:GetPublicKey",
        (kms, call) => kms.getPublicKey({ KeyId: arn }, call),
        last ? [] : GONE,
      );
      if (answer?.PublicKey) return answer.PublicKey;
      if (last || answer !== undefined) {
        throw new AssayError("KEY_UNAVAILABLE", "kms:GetPublicKey gave no public key");
      }
      // KMS is eventually consistent: a key that was just made may not be there yet.
      await pause(clock, FRESH_DELAYS[attempt] as number, calls.signal);
    }
  }

  async function pointAlias(id: string, arn: string): Promise<void> {
    const alias = { AliasName: names.aliasOf(id), TargetKeyId: arn };
    const updated = await calls.call(
      "kms:UpdateAlias",
      async (kms, call) => {
        await kms.updateAlias(alias, call);
        return true;
      },
      GONE,
    );
    if (updated === true) return;
    await calls.call("kms:CreateAlias", (kms, call) => kms.createAlias(alias, call));
  }

  async function scheduleDeletion(arn: string): Promise<void> {
    await calls.call(
      "kms:ScheduleKeyDeletion",
      (kms, call) => kms.scheduleKeyDeletion({ KeyId: arn, PendingWindowInDays: DELETION_DAYS }, call),
      // A key that is pending deletion already is in a state in which it cannot be given up again.
      [...GONE, "KMSInvalidStateException"],
    );
  }
}

function typeOf({ KeySpec, KeyUsage }: KmsKeyMetadata): KeyType | undefined {
  if (KeyUsage !== "SIGN_VERIFY") return undefined;
  return (Object.keys(SPECS) as KeyType[]).find((type) => SPECS[type].spec === KeySpec);
}

const SPECS: Readonly<Record<KeyType, { readonly spec: string; readonly algorithm: string }>> = {
  "ec-p256": { spec: "ECC_NIST_P256", algorithm: "ECDSA_SHA_256" },
  "ec-p384": { spec: "ECC_NIST_P384", algorithm: "ECDSA_SHA_384" },
  "rsa-2048": { spec: "RSA_2048", algorithm: "RSASSA_PKCS1_V1_5_SHA_256" },
  "rsa-4096": { spec: "RSA_4096", algorithm: "RSASSA_PKCS1_V1_5_SHA_256" },
};
/** Days that a key can still be called back, as SPIRE has it; the fewest that KMS knows. */
export const DELETION_DAYS = 7;
const GONE = ["NotFoundException"];
const TRANSIENT: ReadonlySet<string> = new Set(["Creating", "Updating", "Unavailable"]);
const DOOMED: ReadonlySet<string> = new Set(["PendingDeletion", "PendingReplicaDeletion"]);
const FRESH_DELAYS = [100, 200, 400, 800, 1600];
const SIGN_TIMEOUT = 5000;
