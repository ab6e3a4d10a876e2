import type { WorkloadEntry } from "../../issuance/workload/workload-entry.ts";
import { createPrivateKey, type KeyObject } from "node:crypto";
import type { Clock } from "../../clock.ts";
import { unixSeconds } from "../../clock.ts";
import type { SvidAlgorithm } from "../../crypto/jose/svid-algorithms.ts";
import { makeWitProof, MAX_WIT_PROOFS } from "../../crypto/jose/wit-proof.ts";
import { parseWitSvidInsecure } from "../../crypto/jose/wit-svid-verify.ts";
import { generateEcKeyPair, generateRsaKeyPair, type KeyPair } from "../../crypto/keys.ts";
import { AssayError, toAssayError } from "../../errors/assay-error.ts";
import type { SpiffeId } from "../../spiffe/id.ts";
import type { WitSvid } from "../../spiffe/svid.ts";
import { trustDomainOf } from "../../spiffe/id.ts";
import type { ServerApi, WitOutcome } from "../link/server-api.ts";
import { inSlices } from "./in-slices.ts";
import type { SigningOutcome, SvidKind } from "./svid-cache.ts";
import type { WorkloadKeyType } from "./x509-signing.ts";

/** What signing WIT-SVIDs needs. */
export interface WitSigningOptions {
  readonly signer: Pick<ServerApi, "signWit">;
  readonly keyType: WorkloadKeyType;
  /** The agent's own SPIFFE ID, in whose name possession of a key is proved. */
  readonly agentId: () => SpiffeId | undefined;
  readonly clock: Clock;
}

/** WIT-SVIDs of workloads, each bound to a key of its own; signed only while a workload asks for them. */
export function witSvidKind({ signer, keyType, agentId, clock }: WitSigningOptions): SvidKind<WitSvid> {
  return {
    name: "WIT-SVID",
    maxBatch: MAX_WIT_PROOFS,
    onDemand: () => true,
    endOf: (svid) => svid.expiresAt,
    async sign(entries, signal) {
      const caller = agentId();
      if (caller === undefined) throw new AssayError("SERVER_UNAVAILABLE", "the agent has not attested yet");
      const typeOf = ({ svidKeyType }: WorkloadEntry) => svidKeyType || keyType;
      const keys = await inSlices(entries, (entry) => newKey(typeOf(entry)));
      const now = unixSeconds(clock);
      const requests = entries.map((entry, i) => {
        const { publicKey, privateKey } = keys[i] as WitKey;
        const algorithm = ALGORITHMS[typeOf(entry)];
        const context = {
          trustDomain: trustDomainOf(caller),
          caller,
          subject: entry.id,
          publicKey,
          algorithm,
        };
        return { entryId: entry.id, publicKey, algorithm, proof: makeWitProof(context, privateKey, now) };
      });
      const outcomes = await signer.signWit(requests, signal);
      return entries.map((entry, i) =>
        outcomeOf(entry.spiffeId, outcomes[i], keys[i] as WitKey, ALGORITHMS[typeOf(entry)]),
      );
    },
    authoritiesOf: (svid) => [svid.keyId],
    authoritiesIn: (bundle) => new Map(bundle.witAuthorities.map(({ keyId, tainted }) => [keyId, tainted])),
  };
}

interface WitKey {
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Uint8Array;
  readonly privateKey: KeyObject;
}

async function newKey(type: WorkloadKeyType): Promise<WitKey> {
  const { pkcs8, spki }: KeyPair =
    type === "rsa-2048" || type === "rsa-4096"
      ? await generateRsaKeyPair(type === "rsa-4096" ? 4096 : 2048)
      : generateEcKeyPair(type);
  return {
    publicKey: spki,
    privateKey: createPrivateKey({ key: Buffer.from(pkcs8), format: "der", type: "pkcs8" }),
  };
}

/** What a server sends is checked before it is handed to anyone: it is over our key and names what the entry promises. */
function outcomeOf(
  expected: SpiffeId,
  outcome: WitOutcome | undefined,
  { publicKey, privateKey }: WitKey,
  algorithm: SvidAlgorithm,
): SigningOutcome<WitSvid> | undefined {
  if (outcome === undefined) return undefined;
  if ("error" in outcome) return { error: new AssayError("SERVER_UNAVAILABLE", outcome.error.message) };
  try {
    const { spiffeId, keyId, expiresAt, confirmationKey, claims } = parseWitSvidInsecure(outcome.token);
    const bound = confirmationKey.export({ format: "der", type: "spki" });
    if (Buffer.compare(bound, publicKey) !== 0) throw unfit("is bound to another key");
    if (spiffeId !== expected) throw unfit(`is for ${spiffeId}, expected ${expected}`);
    const { jti } = claims;
    return {
      svid: {
        spiffeId,
        keyId,
        expiresAt,
        token: outcome.token,
        privateJwk: JSON.stringify({ ...privateKey.export({ format: "jwk" }), alg: algorithm }),
        ...(typeof jti === "string" ? { jti } : {}),
      },
    };
  } catch (error) {
    return { error: toAssayError(error) };
  }
}

function unfit(detail: string): AssayError {
  return new AssayError("INVALID_WIT_SVID", `the server's WIT-SVID ${detail}`);
}

const ALGORITHMS: Readonly<Record<WorkloadKeyType, SvidAlgorithm>> = {
  "ec-p256": "ES256",
  "ec-p384": "ES384",
  "rsa-2048": "RS256",
  "rsa-4096": "RS256",
};
