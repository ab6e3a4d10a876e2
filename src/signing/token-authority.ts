import type { JwtSvidAlgorithm } from "../crypto/jose/jwt-svid.ts";
import type { Random } from "../crypto/random.ts";
import type { KeyType, ManagedKey } from "../plugin/key-manager.ts";
import type { JwtAuthorityKey } from "../spiffe/bundle.ts";
import type { AuthorityRecord } from "../store/records.ts";
import type { Authority, AuthorityKind } from "./authority.ts";
import { tokenAuthorityEdits } from "./bundle-edit.ts";

/** A JWT or WIT authority ready to sign. Its ID is the `kid` of its tokens. */
export interface TokenAuthority extends Authority {
  readonly algorithm: JwtSvidAlgorithm;
}

/** What new JWT and WIT authorities are made of. */
export interface TokenAuthorityOptions {
  readonly kind: "jwt" | "wit";
  /** The key manager's names for the line's keys; by them the journal tells lines of one kind apart. */
  readonly slots: readonly [string, string, string];
  readonly serverId: string;
  readonly keyType: KeyType;
  /** Lifetime in seconds. */
  readonly ttlSeconds: number;
  readonly random: Random;
  /** Publishes a JWT authority where others have to know it before it signs; nowhere but in the bundle where absent. */
  readonly publish?: (key: JwtAuthorityKey) => Promise<unknown>;
}

/** JWT authorities (JWT-SVID §6) and WIT authorities (WIT-SVID §6). */
export function tokenAuthorityKind(options: TokenAuthorityOptions): AuthorityKind<TokenAuthority> {
  const { kind, slots, serverId, keyType, ttlSeconds, random, publish } = options;
  return {
    kind,
    slots,
    keyType,
    async found(key, now) {
      const record: AuthorityRecord = {
        id: randomKeyId(random),
        kind,
        state: "prepared",
        serverId,
        keyId: key.id,
        publicKey: key.publicKey,
        chain: [],
        notBefore: now,
        notAfter: now + ttlSeconds,
        changedAt: now,
      };
      await publish?.({
        keyId: record.id,
        publicKey: record.publicKey,
        expiresAt: record.notAfter,
        tainted: false,
      });
      return revive(record, key);
    },
    revive,
    ...tokenAuthorityEdits(kind),
  };
}

function revive(record: AuthorityRecord, key: ManagedKey): TokenAuthority {
  return { record, key, algorithm: algorithmOf(key.type) };
}

function algorithmOf(type: KeyType): JwtSvidAlgorithm {
  switch (type) {
    case "ec-p256":
      return "ES256";
    case "ec-p384":
      return "ES384";
    case "rsa-2048":
    case "rsa-4096":
      return "RS256";
  }
}

/** 32 letters and digits, each equally likely: no other key of any bundle has the same. */
function randomKeyId(random: Random): string {
  let keyId = "";
  while (keyId.length < KEY_ID_LENGTH) {
    for (const octet of random(KEY_ID_LENGTH)) {
      // Octets from 248 on would favour the first letters of the alphabet.
      if (octet < 248 && keyId.length < KEY_ID_LENGTH) keyId += ALPHABET.charAt(octet % ALPHABET.length);
    }
  }
  return keyId;
}

const KEY_ID_LENGTH = 32;
const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
