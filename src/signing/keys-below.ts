import { AssayError } from "../errors/assay-error.ts";
import type { JwtAuthorityKey, SpiffeBundle } from "../spiffe/bundle.ts";
import type { AuthorityRecord } from "../store/records.ts";
import { type BundleAdditions, checkAdditions, withAuthorities } from "./bundle-edit.ts";

/** What publishing keys of servers below works with. */
export interface KeysBelowDependencies {
  readonly bundle: () => SpiffeBundle;
  /** Every authority that is written down, of all servers. */
  readonly records: () => Promise<readonly AuthorityRecord[]>;
  /** Publishes a JWT authority upstream; `undefined` where none are published there. */
  readonly publishUpstream: (key: JwtAuthorityKey) => Promise<readonly JwtAuthorityKey[] | undefined>;
  /** Writes the own bundle. */
  readonly commit: (edit: (bundle: SpiffeBundle) => SpiffeBundle) => Promise<SpiffeBundle>;
}

/** The way by which keys of servers below come into the own bundle, or into the one upstream. */
export interface KeysBelow {
  /** As `Signing.publishJwtAuthority`. */
  publishJwtAuthority(key: JwtAuthorityKey): Promise<readonly JwtAuthorityKey[]>;
  /** As `Signing.publishWitAuthority`. */
  publishWitAuthority(key: JwtAuthorityKey): Promise<readonly JwtAuthorityKey[]>;
}

/** Publishes JWT and WIT authorities of servers below. */
export function createKeysBelow(dependencies: KeysBelowDependencies): KeysBelow {
  const { bundle, records, publishUpstream, commit } = dependencies;

  async function check(
    field: "jwtAuthorities" | "witAuthorities",
    additions: BundleAdditions,
  ): Promise<void> {
    checkAdditions(bundle(), additions);
    const gone = (await records()).filter(({ state }) => state === "revoked");
    for (const { keyId, publicKey } of additions[field] ?? []) {
      if (gone.some((one) => one.id === keyId || Buffer.compare(one.publicKey, publicKey) === 0)) {
        throw new AssayError("PRECONDITION_FAILED", `authority ${keyId} or its key was revoked here`);
      }
    }
    const held = bundle()[field];
    const isNew = additions[field]?.some(({ keyId }) => !held.some((one) => one.keyId === keyId)) === true;
    if (isNew && held.length >= MAX_KEYS) {
      const kind = field === "jwtAuthorities" ? "JWT" : "WIT";
      throw new AssayError(
        "PRECONDITION_FAILED",
        `there are ${MAX_KEYS} ${kind} authorities, so no more are taken`,
      );
    }
  }

  return {
    async publishJwtAuthority(key) {
      const additions = { x509Authorities: [], jwtAuthorities: [key] };
      await check("jwtAuthorities", additions);
      const upstream = await publishUpstream(key);
      if (upstream !== undefined) return upstream;
      return (await commit((stored) => withAuthorities(stored, additions))).jwtAuthorities;
    },
    async publishWitAuthority(key) {
      const additions = { x509Authorities: [], jwtAuthorities: [], witAuthorities: [key] };
      await check("witAuthorities", additions);
      return (await commit((stored) => withAuthorities(stored, additions))).witAuthorities;
    },
  };
}

// A server has two at a time, a nested one of many levels some dozens below it.
const MAX_KEYS = 1000;
