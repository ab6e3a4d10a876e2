import { generateKeyPairSync, type KeyObject } from "node:crypto";
import type { Clock } from "../../src/clock.ts";
import type { AwsCallOptions } from "../../src/cloud/aws/sdk.ts";
import type { KmsAlias, KmsClient, KmsKeyMetadata, KmsTag } from "../../src/keys/aws-kms/kms-client.ts";
import { signDigest } from "./sign-digest.ts";

/** A key of the fake KMS, open to tests. */
export interface FakeKmsKey {
  readonly arn: string;
  readonly spec: string;
  state: string;
  usage: string;
  description: string;
  created: number;
  policy: string | undefined;
  tags: Map<string, string>;
  pair: { readonly publicKey: KeyObject; readonly privateKey: KeyObject };
}

/** What a test makes a call of the fake KMS do instead, and for which key where the call is about one. */
export type FakeKmsFault = (action: string, options: AwsCallOptions, keyId?: string) => Promise<void> | void;

/** An error with the form that the AWS SDK gives its errors. */
export function awsFailure(name: string, status = 400, message = "they said something"): Error {
  return Object.assign(new Error(message), {
    name,
    $fault: status >= 500 ? "server" : "client",
    $metadata: { httpStatusCode: status, requestId: "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0" },
  });
}

/**
 * KMS in this process: keys that really sign, aliases with the time of their last update, pages of two. It refuses
 * what the documentation of KMS refuses: names out of the pattern, digests of another length, keys in another state.
 */
export class FakeKms implements KmsClient {
  readonly keys = new Map<string, FakeKmsKey>();
  readonly aliases = new Map<string, { target: string; updated: number }>();
  /** Names of the calls so far. */
  readonly calls: string[] = [];
  fault: FakeKmsFault | undefined;
  destroyed = false;
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async createKey(input: Parameters<KmsClient["createKey"]>[0], options: AwsCallOptions) {
    await this.#begin("CreateKey", options);
    const number = String(this.keys.size + 1).padStart(12, "0");
    const arn = `arn:aws:kms:eu-central-1:111122223333:key/00000000-0000-4000-8000-${number}`;
    const tags = tagsOf(input.Tags ?? []);
    const { KeySpec: spec, Description: description, Policy: policy, KeyUsage: usage } = input;
    const created = this.#clock.now();
    this.keys.set(arn, {
      arn,
      spec,
      usage,
      state: "Enabled",
      description,
      created,
      policy,
      tags,
      pair: pairOf(spec),
    });
    return { KeyMetadata: this.#metadata(arn) };
  }

  async describeKey({ KeyId }: { readonly KeyId: string }, options: AwsCallOptions) {
    await this.#begin("DescribeKey", options, KeyId);
    return { KeyMetadata: this.#metadata(KeyId) };
  }

  async getPublicKey({ KeyId }: { readonly KeyId: string }, options: AwsCallOptions) {
    await this.#begin("GetPublicKey", options);
    const { pair } = this.#usable(KeyId);
    return { PublicKey: new Uint8Array(pair.publicKey.export({ format: "der", type: "spki" })) };
  }

  async createAlias({ AliasName, TargetKeyId }: AliasInput, options: AwsCallOptions) {
    await this.#begin("CreateAlias", options);
    checkAlias(AliasName);
    if (this.aliases.has(AliasName)) throw awsFailure("AlreadyExistsException");
    this.aliases.set(AliasName, { target: this.#key(TargetKeyId).arn, updated: this.#clock.now() });
  }

  async updateAlias({ AliasName, TargetKeyId }: AliasInput, options: AwsCallOptions) {
    await this.#begin("UpdateAlias", options);
    checkAlias(AliasName);
    if (!this.aliases.has(AliasName)) throw awsFailure("NotFoundException");
    this.aliases.set(AliasName, { target: this.#usable(TargetKeyId).arn, updated: this.#clock.now() });
  }

  async deleteAlias({ AliasName }: { readonly AliasName: string }, options: AwsCallOptions) {
    await this.#begin("DeleteAlias", options);
    if (!this.aliases.delete(AliasName)) throw awsFailure("NotFoundException");
  }

  async listAliases(
    input: { readonly KeyId?: string; readonly Limit: number; readonly Marker?: string },
    options: AwsCallOptions,
  ) {
    await this.#begin("ListAliases", options);
    const all: KmsAlias[] = [...this.aliases]
      .filter(([, { target }]) => input.KeyId === undefined || this.#key(input.KeyId).arn === target)
      .map(([AliasName, { target, updated }]) => ({
        AliasName,
        TargetKeyId: target,
        LastUpdatedDate: new Date(updated),
      }));
    // The aliases of AWS's own keys have no date, and some have no key.
    if (input.KeyId === undefined) all.unshift({ AliasName: "alias/aws/s3" });
    const { items, rest } = page(all, input.Marker);
    return { Aliases: items, ...rest };
  }

  async listKeys(input: { readonly Limit: number; readonly Marker?: string }, options: AwsCallOptions) {
    await this.#begin("ListKeys", options);
    const { items, rest } = page(
      [...this.keys.keys()].map((KeyArn) => ({ KeyArn })),
      input.Marker,
    );
    return { Keys: items, ...rest };
  }

  async scheduleKeyDeletion(
    { KeyId, PendingWindowInDays }: { readonly KeyId: string; readonly PendingWindowInDays: number },
    options: AwsCallOptions,
  ) {
    await this.#begin("ScheduleKeyDeletion", options, KeyId);
    if (PendingWindowInDays < 7 || PendingWindowInDays > 30) throw awsFailure("ValidationException");
    const key = this.#key(KeyId);
    if (key.state === "PendingDeletion") throw awsFailure("KMSInvalidStateException");
    key.state = "PendingDeletion";
  }

  async tagResource(input: { readonly KeyId: string; readonly Tags: KmsTag[] }, options: AwsCallOptions) {
    await this.#begin("TagResource", options);
    const key = this.#key(input.KeyId);
    for (const [name, value] of tagsOf(input.Tags)) key.tags.set(name, value);
  }

  async sign(input: Parameters<KmsClient["sign"]>[0], options: AwsCallOptions) {
    await this.#begin("Sign", options);
    const { spec, pair } = this.#usable(input.KeyId);
    const algorithm = SPECS.get(spec);
    if (input.MessageType !== "DIGEST" || input.SigningAlgorithm !== algorithm?.name) {
      throw awsFailure("InvalidKeyUsageException");
    }
    if (input.Message.length !== algorithm.digest) throw awsFailure("ValidationException");
    return { Signature: signDigest(pair.privateKey, input.Message) };
  }

  destroy(): void {
    this.destroyed = true;
  }

  async #begin(action: string, options: AwsCallOptions, keyId?: string): Promise<void> {
    this.calls.push(action);
    await this.fault?.(action, options, keyId);
  }

  #metadata(id: string): KmsKeyMetadata {
    const { arn, state, spec, usage, description, created } = this.#key(id);
    return {
      Arn: arn,
      KeyState: state,
      KeySpec: spec,
      KeyUsage: usage,
      Description: description,
      CreationDate: new Date(created),
    };
  }

  #usable(id: string): FakeKmsKey {
    const key = this.#key(id);
    if (key.state === "Disabled") throw awsFailure("DisabledException");
    if (key.state !== "Enabled") throw awsFailure("KMSInvalidStateException");
    return key;
  }

  #key(id: string): FakeKmsKey {
    const key = this.keys.get(this.aliases.get(id)?.target ?? id);
    if (key === undefined) throw awsFailure("NotFoundException");
    return key;
  }
}

interface AliasInput {
  readonly AliasName: string;
  readonly TargetKeyId: string;
}

function pairOf(spec: string): FakeKmsKey["pair"] {
  switch (spec) {
    case "ECC_NIST_P256":
      return generateKeyPairSync("ec", { namedCurve: "P-256" });
    case "ECC_NIST_P384":
      return generateKeyPairSync("ec", { namedCurve: "P-384" });
    case "RSA_2048":
      return generateKeyPairSync("rsa", { modulusLength: 2048 });
    case "RSA_4096":
      return generateKeyPairSync("rsa", { modulusLength: 4096 });
    default:
      throw awsFailure("UnsupportedOperationException");
  }
}

function checkAlias(name: string): void {
  if (!/^alias\/[a-zA-Z0-9/_-]{1,250}$/.test(name) || name.startsWith("alias/aws/")) {
    throw awsFailure("InvalidAliasNameException");
  }
}

function tagsOf(tags: readonly KmsTag[]): Map<string, string> {
  const known = new Map(tags.map(({ TagKey, TagValue }) => [TagKey, TagValue]));
  if (known.size !== tags.length || known.size > 50) throw awsFailure("TagException");
  for (const [key, value] of known) {
    if (!/^[\p{L}\p{N}\s+\-=._:/@]{1,128}$/u.test(key) || value.length > 256)
      throw awsFailure("TagException");
  }
  return known;
}

function page<Item>(all: readonly Item[], marker: string | undefined) {
  const start = marker === undefined ? 0 : Number(marker);
  const end = start + PAGE;
  const more = end < all.length;
  return {
    items: all.slice(start, end),
    rest: more ? { Truncated: true, NextMarker: String(end) } : { Truncated: false },
  };
}

const PAGE = 2;
const SPECS = new Map([
  ["ECC_NIST_P256", { name: "ECDSA_SHA_256", digest: 32 }],
  ["ECC_NIST_P384", { name: "ECDSA_SHA_384", digest: 48 }],
  ["RSA_2048", { name: "RSASSA_PKCS1_V1_5_SHA_256", digest: 32 }],
  ["RSA_4096", { name: "RSASSA_PKCS1_V1_5_SHA_256", digest: 32 }],
]);
