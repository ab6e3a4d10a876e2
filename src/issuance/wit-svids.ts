import { keyFactsOf, type KeyWanted } from "./key-facts.ts";
import { unixSeconds } from "../clock.ts";
import { fitsKeyType, type SvidAlgorithm, svidAlgorithmOf } from "../crypto/jose/svid-algorithms.ts";
import { checkWitProof } from "../crypto/jose/wit-proof.ts";
import { importPublicKey, keyTypeOf } from "../crypto/keys.ts";
import type { KeyType } from "../crypto/spki.ts";
import { AssayError } from "../errors/assay-error.ts";
import { decideWitSvid } from "../policy/wit-svid.ts";
import type { IssuedWitSvid } from "../signing/signing.ts";
import type { SpiffeId } from "../spiffe/id.ts";
import type { EntryRecord } from "../store/records.ts";
import type { AgentCaller, Caller } from "./caller.ts";
import type { Decided, DecisionFacts } from "./decision.ts";
import { type IssuanceCall, issueForEntries, issueOne, type SvidWanted } from "./entry-svids.ts";
import { allowedTtl, type SvidOptions, type WorkloadIssuanceOptions } from "./x509-svids.ts";

/** The key that a WIT-SVID is to be bound to, as the caller names it. */
export interface WitKeyOrder {
  /** DER SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array;
  /** The JWS algorithm by which the holder will sign with it. */
  readonly signingAlgorithm: string;
  /** Proof that the caller has the private key, where it offers one. */
  readonly proof?: string;
}

/** One WIT-SVID that an agent asks for. */
export interface WitSvidOrder extends WitKeyOrder {
  readonly entryId: string;
}

/**
 * Issues WIT-SVIDs for entries of an agent, each with its own outcome, in order. All records are written, by one call,
 * before any of them leaves.
 * @throws AssayError `SIGNING_BUSY`, `AUDIT_UNAVAILABLE`, the reason of the call's signal; and then for the whole batch.
 */
export async function issueWitSvids(
  options: WorkloadIssuanceOptions,
  caller: AgentCaller,
  orders: readonly WitSvidOrder[],
  call?: IssuanceCall,
): Promise<readonly Decided<IssuedWitSvid>[]> {
  const make = (entry: EntryRecord, order: WitSvidOrder) => {
    const key = readWitKey(options, callerId(caller), order.entryId, order);
    const { spiffeId, x509SvidTtl: entryTtl, expiresAt: entryExpiresAt, svidKeyType } = entry;
    return witSvidFor(options, key, { spiffeId, entryTtl, entryExpiresAt, svidKeyType }, call);
  };
  return issueForEntries(options, WIT, caller, orders, make, call);
}

/**
 * Mints a WIT-SVID for an administrator, without an entry.
 * @throws AssayError `INVALID_REQUEST` for a key, algorithm or proof that is wrong, `POLICY_DENIED`,
 * `AUDIT_UNAVAILABLE` and signing's.
 */
export async function mintWitSvid(
  options: Omit<WorkloadIssuanceOptions, "authorizedEntry">,
  caller: Caller,
  request: WitKeyOrder & { readonly spiffeId: SpiffeId; readonly ttl: number },
): Promise<IssuedWitSvid> {
  const { spiffeId, ttl } = request;
  return issueOne(options, WIT, caller, { spiffe_id: spiffeId }, async () =>
    witSvidFor(options, readWitKey(options, callerId(caller), spiffeId, request), {
      spiffeId,
      requestedTtl: ttl,
    }),
  );
}

/** A key that a WIT-SVID can be bound to. */
export interface WitKey {
  readonly publicKey: Uint8Array;
  readonly algorithm: SvidAlgorithm;
  readonly keyType: KeyType;
  readonly proved: boolean;
}

/**
 * Reads the key that a WIT-SVID is to be bound to, and the proof that comes with it.
 * @param caller SPIFFE ID that the caller proved; empty on the admin socket.
 * @throws AssayError `INVALID_REQUEST`.
 */
export function readWitKey(
  options: Pick<SvidOptions, "trustDomain" | "clock">,
  caller: string,
  subject: string,
  { publicKey, signingAlgorithm, proof }: WitKeyOrder,
): WitKey {
  const keyType = keyTypeOf(publicKey, "INVALID_REQUEST");
  // A certificate signing request verifies with its key; here nothing else would find a point off its curve.
  importPublicKey(publicKey, "INVALID_REQUEST");
  const algorithm = svidAlgorithmOf(signingAlgorithm);
  if (algorithm === undefined || !fitsKeyType(algorithm, keyType)) {
    throw new AssayError(
      "INVALID_REQUEST",
      `signing_algorithm: expected one that a key of type ${keyType} can sign by`,
    );
  }
  if (proof !== undefined) {
    const context = {
      trustDomain: options.trustDomain,
      caller,
      subject,
      publicKey,
      algorithm,
    };
    checkWitProof(context, proof, unixSeconds(options.clock));
  }
  return { publicKey, algorithm, keyType, proved: proof !== undefined };
}

/**
 * A WIT-SVID bound to a key, if policy allows it.
 * @throws AssayError `POLICY_DENIED` and signing's.
 */
export async function witSvidFor(
  options: SvidOptions,
  { publicKey, algorithm, keyType, proved }: WitKey,
  wanted: SvidWanted & KeyWanted,
  call?: IssuanceCall,
): Promise<IssuedWitSvid> {
  const { signing, policy, trustDomain, clock } = options;
  const ttl = allowedTtl(
    decideWitSvid(
      {
        ...wanted,
        trustDomain,
        ...keyFactsOf(publicKey, keyType, wanted),
        proved,
        now: unixSeconds(clock),
        authorityNotAfter: signing.witAuthorityNotAfter(),
      },
      policy,
    ),
  );
  return signing.signWitSvid(
    signing.prepareWitSvid({ spiffeId: wanted.spiffeId, publicKey, keyAlgorithm: algorithm, ttl }),
    call,
  );
}

function callerId({ svid }: Caller): string {
  return svid?.spiffeId ?? "";
}

/** The part of an audit record that an issued WIT-SVID fills in. */
export function witFacts(issued: IssuedWitSvid): DecisionFacts {
  return { jti: issued.jti, authority_id: issued.keyId, expires_at: issued.expiresAt };
}

const WIT = { events: { issued: "svid.wit.issued", refused: "svid.denied" }, facts: witFacts } as const;
