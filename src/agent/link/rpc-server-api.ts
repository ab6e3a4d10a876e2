import type { SyncUpdate } from "../cache/sync-update.ts";
import { WIT_PROOF_HEADER } from "../../crypto/jose/wit-proof.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { WorkloadEntry } from "../../issuance/workload/workload-entry.ts";
import { FIELD } from "../../observe/fields.ts";
import type { Log } from "../../observe/log.ts";
import type { EvidenceSession } from "../../plugin/agent-node-attestor.ts";
import { AgentSync } from "../../proto/gen/assay/api/server/v1/agent_sync_pb.ts";
import { Agent } from "../../proto/gen/spire/api/server/agent/v1/agent_pb.ts";
import { Bundle } from "../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import { Entry } from "../../proto/gen/spire/api/server/entry/v1/entry_pb.ts";
import { SVID } from "../../proto/gen/spire/api/server/svid/v1/svid_pb.ts";
import type { Entry as WireEntry } from "../../proto/gen/spire/api/types/entry_pb.ts";
import type { RpcClient } from "../../rpc/client.ts";
import type { Audience } from "../../spiffe/audience.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import type { JwtSvid } from "../../spiffe/svid.ts";
import { parseTrustDomain, type TrustDomain } from "../../spiffe/trust-domain.ts";
import { readAuthorizedEntries } from "./authorized-entries.ts";
import type { Attested, ServerApi, WitOutcome, WitRequest, X509Outcome, X509Request } from "./server-api.ts";
import { spiffeIdFromWire } from "../../wire/spiffe-id.ts";
import { bundleFromWire, crlsFromWire, entryFromWire, revokedTokensFromWire } from "./wire.ts";

/** SPIRE's server API and our extension to it, over one connection. */
export class RpcServerApi implements ServerApi {
  readonly #client: RpcClient;
  readonly #log: Log;

  constructor(client: RpcClient, log: Log) {
    this.#client = client;
    this.#log = log;
  }

  async attest(
    type: string,
    evidence: EvidenceSession,
    csr: Uint8Array,
    signal: AbortSignal,
  ): Promise<Attested> {
    const call = this.#client.service(Agent).attestAgent({ signal, timeout: ATTEST_TIMEOUT });
    await call.send({
      step: { case: "params", value: { data: { type, payload: evidence.payload }, params: { csr } } },
    });
    for await (const { step } of call) {
      switch (step.case) {
        case "challenge":
          await call.send({ step: { case: "challengeResponse", value: await evidence.answer(step.value) } });
          break;
        case "result": {
          const { svid, reattestable } = step.value;
          return { chain: (svid?.certChain ?? []).map((der) => Uint8Array.from(der)), reattestable };
        }
        default:
          throw new AssayError("ATTESTATION_FAILED", "the server's answer is neither challenge nor result");
      }
    }
    throw new AssayError("ATTESTATION_FAILED", "the server ended the attestation without a result");
  }

  async renew(csr: Uint8Array, signal: AbortSignal): Promise<readonly Uint8Array[]> {
    const { svid } = await this.#client
      .service(Agent)
      .renewAgent({ params: { csr } }, { signal, timeout: CALL_TIMEOUT });
    return (svid?.certChain ?? []).map((der) => Uint8Array.from(der));
  }

  async postStatus(status: { version: string; bundleSequence: bigint }, signal: AbortSignal): Promise<void> {
    await this.#client
      .service(Agent)
      .postStatus(
        { agentVersion: status.version, currentBundleSerial: status.bundleSequence },
        { signal, timeout: CALL_TIMEOUT },
      );
  }

  async *watch(signal: AbortSignal): AsyncGenerator<SyncUpdate, void, undefined> {
    let gathered = noUpdate();
    for await (const message of this.#client.service(AgentSync).watchAuthorizedEntries({}, { signal })) {
      gathered.complete ||= message.complete;
      gathered.upserted.push(...this.#entries(message.upserted));
      gathered.deleted.push(...message.deleted);
      if (message.bundle !== undefined) gathered.bundle = bundleFromWire(message.bundle);
      gathered.federatedBundles.push(...message.federatedBundles.map(bundleFromWire));
      gathered.deletedFederatedBundles.push(...message.deletedFederatedBundles.map(parseTrustDomain));
      if (message.revocationLists !== undefined) gathered.crls = crlsFromWire(message.revocationLists);
      if (message.revokedTokens !== undefined) {
        gathered.revokedTokens ??= { complete: false, ends: new Map() };
        gathered.revokedTokens.complete ||= message.revokedTokens.complete;
        for (const [id, end] of revokedTokensFromWire(message.revokedTokens))
          gathered.revokedTokens.ends.set(id, end);
      }
      if (message.more) continue;
      yield gathered;
      gathered = noUpdate();
    }
  }

  authorizedEntries(
    known: ReadonlyMap<string, WorkloadEntry>,
    signal: AbortSignal,
  ): Promise<readonly WorkloadEntry[]> {
    const call = this.#client.service(Entry).syncAuthorizedEntries({ signal, timeout: CALL_TIMEOUT });
    return readAuthorizedEntries(call, known, (entries) => this.#entries(entries));
  }

  async bundle(signal: AbortSignal): Promise<SpiffeBundle> {
    return bundleFromWire(
      await this.#client.service(Bundle).getBundle({}, { signal, timeout: CALL_TIMEOUT }),
    );
  }

  async federatedBundle(trustDomain: TrustDomain, signal: AbortSignal): Promise<SpiffeBundle | undefined> {
    try {
      const options = { signal, timeout: CALL_TIMEOUT };
      return bundleFromWire(await this.#client.service(Bundle).getFederatedBundle({ trustDomain }, options));
    } catch (error) {
      if (error instanceof AssayError && error.code === "NOT_FOUND") return undefined;
      throw error;
    }
  }

  async signX509(requests: readonly X509Request[], signal: AbortSignal): Promise<readonly X509Outcome[]> {
    const params = requests.map(({ entryId, csr }) => ({ entryId, csr }));
    const { results } = await this.#client
      .service(SVID)
      .batchNewX509SVID({ params }, { signal, timeout: CALL_TIMEOUT });
    return results.map(({ status, svid }): X509Outcome => {
      if (status !== undefined && status.code !== 0) {
        return { error: { code: status.code, message: status.message } };
      }
      return { chain: (svid?.certChain ?? []).map((der) => Uint8Array.from(der)) };
    });
  }

  async signWit(requests: readonly WitRequest[], signal: AbortSignal): Promise<readonly WitOutcome[]> {
    const params = requests.map(({ entryId, publicKey, algorithm }) => ({
      entryId,
      publicKey,
      signingAlgorithm: algorithm,
    }));
    const headers = { [WIT_PROOF_HEADER]: requests.map(({ proof }) => proof).join() };
    const { results } = await this.#client
      .service(SVID)
      .batchNewWITSVID({ params }, { signal, timeout: CALL_TIMEOUT, headers });
    return results.map(({ status, svid }): WitOutcome => {
      if (status !== undefined && status.code !== 0) {
        return { error: { code: status.code, message: status.message } };
      }
      return { token: svid?.token ?? "" };
    });
  }

  async signJwt(entryId: string, audience: readonly Audience[], signal: AbortSignal): Promise<JwtSvid> {
    const request = { entryId, audience: [...audience] };
    const { svid } = await this.#client.service(SVID).newJWTSVID(request, { signal, timeout: CALL_TIMEOUT });
    if (svid === undefined || svid.token === "") {
      throw new AssayError("INTERNAL", "the server's answer holds no JWT-SVID");
    }
    return {
      spiffeId: spiffeIdFromWire(svid.id, "id"),
      token: svid.token,
      issuedAt: Number(svid.issuedAt),
      expiresAt: Number(svid.expiresAt),
    };
  }

  /** An entry that cannot be read earns nothing; it must not keep the others from earning. */
  #entries(entries: readonly WireEntry[]): readonly WorkloadEntry[] {
    return entries.flatMap((entry) => {
      try {
        return [entryFromWire(entry)];
      } catch (error) {
        this.#log.warn("entry from the server is malformed and left out", {
          [FIELD.entryId]: entry.id,
          [FIELD.error]: error,
        });
        return [];
      }
    });
  }
}

function noUpdate(): Gathered {
  return {
    complete: false,
    upserted: [],
    deleted: [],
    federatedBundles: [],
    deletedFederatedBundles: [],
  };
}

/** An update that is being put together from several messages. */
interface Gathered extends SyncUpdate {
  complete: boolean;
  bundle?: SpiffeBundle;
  crls?: NonNullable<SyncUpdate["crls"]>;
  revokedTokens?: { complete: boolean; readonly ends: Map<string, number> };
  readonly upserted: WorkloadEntry[];
  readonly deleted: string[];
  readonly federatedBundles: SpiffeBundle[];
  readonly deletedFederatedBundles: TrustDomain[];
}

const CALL_TIMEOUT = 30_000;
const ATTEST_TIMEOUT = 60_000;
