import type { JwtSvidAlgorithm } from "../crypto/jose/jwt-svid.ts";
import type { Random } from "../crypto/random.ts";
import type { KeyType, ManagedKey } from "../plugin/key-manager.ts";
import type { AuthorityRecord } from "../store/records.ts";
import type { Authority, AuthorityKind } from "./authority.ts";
import { withAuthorities, withoutJwtAuthority } from "./bundle-edit.ts";

/** A JWT authority ready to sign. Its ID is the `kid` of its tokens. */
export interface JwtAuthority extends Authority {
  readonly algorithm: JwtSvidAlgorithm;
}

/** What new JWT authorities are made of. */
export interface JwtAuthorityOptions {
  readonly serverId: string;
  readonly keyType: KeyType;
  /** Lifetime in seconds. */
  readonly ttlSeconds: number;
  readonly random: Random;
}

/** JWT authorities (JWT-SVID §6). */
export function jwtAuthorityKind(options: JwtAuthorityOptions): AuthorityKind<JwtAuthority> {
  return {
    kind: "jwt",
    slots: ["JWT-Signer-A", "JWT-Signer-B"],
    keyType: options.keyType,
    async found(key, now) {
      const record: AuthorityRecord = {
        id: randomKeyId(options.random),
        kind: "jwt",
        state: "prepared",
        serverId: options.serverId,
        keyId: key.id,
        publicKey: key.publicKey,
        chain: [],
        notBefore: now,
        notAfter: now + options.ttlSeconds,
        changedAt: now,
      };
      return revive(record, key);
    },
    revive,
    publish: (bundle, { id, publicKey, notAfter }) =>
      withAuthorities(bundle, {
        x509Authorities: [],
        jwtAuthorities: [{ keyId: id, publicKey, expiresAt: notAfter, tainted: false }],
      }),
    unpublish: (bundle, { id }) => withoutJwtAuthority(bundle, id),
  };
}

function revive(record: AuthorityRecord, key: ManagedKey): JwtAuthority {
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

/** 32 letters and digits, each equally likely. */
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
