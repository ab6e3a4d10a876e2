import { AssayError } from "../../errors/assay-error.ts";
import { MAX_WIT_PROOFS, WIT_PROOF_HEADER } from "../../crypto/jose/wit-proof.ts";
import { issueJwtSvid, mintJwtSvid } from "../../issuance/jwt-svids.ts";
import { issueWitSvids, mintWitSvid } from "../../issuance/wit-svids.ts";
import { issueX509Svids, mintX509Svid, type WorkloadIssuanceOptions } from "../../issuance/x509-svids.ts";
import type { AgentCaller } from "../../issuance/caller.ts";
import { SVID } from "../../proto/gen/spire/api/server/svid/v1/svid_pb.ts";
import type { ServiceHandlers } from "../../rpc/handlers.ts";
import { agentOf, type ServerCall } from "../call.ts";
import { type ServerLimits, takeFrom } from "../limits.ts";
import { spiffeIdFromWire } from "../../wire/spiffe-id.ts";
import { OK, statusOf } from "../wire/status.ts";
import { jwtSvidToWire, witSvidToWire, x509SvidToWire } from "../wire/svid.ts";

/** What `spire.api.server.svid.v1.SVID` is served with. */
export interface SvidServiceOptions {
  readonly issuance: WorkloadIssuanceOptions;
  readonly limits: ServerLimits;
  /** Whether WIT-SVIDs are issued; their methods are Unimplemented otherwise. */
  readonly wit: boolean;
}

/** Handlers of `spire.api.server.svid.v1.SVID`. */
export function svidService(options: SvidServiceOptions): ServiceHandlers<typeof SVID, ServerCall> {
  const { issuance, limits } = options;
  const hintOf = ({ svid }: AgentCaller, entryId = ""): string =>
    issuance.authorizedEntry(svid.spiffeId, entryId)?.hint ?? "";

  return {
    async mintX509SVID({ csr, ttl }, { caller }) {
      if (csr.length === 0) throw new AssayError("INVALID_REQUEST", "missing CSR");
      const svid = await mintX509Svid(issuance, caller.who, { csr, ttl: checkedTtl(ttl) });
      return { svid: x509SvidToWire(svid) };
    },

    async mintJWTSVID({ id, audience, ttl }, { caller }) {
      const spiffeId = spiffeIdFromWire(id, "id");
      const svid = await mintJwtSvid(issuance, caller.who, { spiffeId, audience, ttl: checkedTtl(ttl) });
      return { svid: jwtSvidToWire(svid) };
    },

    async batchNewX509SVID({ params }, call) {
      if (params.length === 0) throw new AssayError("INVALID_REQUEST", "missing parameters");
      const agent = agentOf(call.caller);
      takeFrom(limits.x509Signing, agent, params.length);
      const decided = await issueX509Svids(issuance, agent, params, call);
      return {
        results: decided.map(({ value, error }, index) =>
          error === undefined
            ? { status: OK, svid: x509SvidToWire(value, hintOf(agent, params[index]?.entryId)) }
            : { status: statusOf(error) },
        ),
      };
    },

    async newJWTSVID({ entryId, audience }, call) {
      if (entryId === "") throw new AssayError("INVALID_REQUEST", "missing entry ID");
      const agent = agentOf(call.caller);
      takeFrom(limits.jwtSigning, agent);
      const svid = await issueJwtSvid(issuance, agent, { entryId, audience }, call);
      return { svid: jwtSvidToWire(svid, hintOf(agent, entryId)) };
    },

    ...(options.wit && witHandlers(options, hintOf)),
  };
}

function witHandlers(
  { issuance, limits }: SvidServiceOptions,
  hintOf: (agent: AgentCaller, entryId?: string) => string,
): Pick<ServiceHandlers<typeof SVID, ServerCall>, "mintWITSVID" | "batchNewWITSVID"> {
  return {
    async mintWITSVID({ id, publicKey, ttl, signingAlgorithm }, context) {
      const svid = await mintWitSvid(issuance, context.caller.who, {
        spiffeId: spiffeIdFromWire(id, "id"),
        ttl: checkedTtl(ttl),
        publicKey,
        signingAlgorithm,
        ...proofsOf(context, 1)[0],
      });
      return { svid: witSvidToWire(svid) };
    },

    async batchNewWITSVID({ params }, context) {
      if (params.length === 0) throw new AssayError("INVALID_REQUEST", "missing parameters");
      const agent = agentOf(context.caller);
      takeFrom(limits.witSigning, agent, params.length);
      const proofs = proofsOf(context, params.length);
      const orders = params.map((order, index) => ({ ...order, ...proofs[index] }));
      const decided = await issueWitSvids(issuance, agent, orders, context);
      return {
        results: decided.map(({ value, error }, index) =>
          error === undefined
            ? { status: OK, svid: witSvidToWire(value, hintOf(agent, params[index]?.entryId)) }
            : { status: statusOf(error) },
        ),
      };
    },
  };
}

/** The proofs of possession that came with a call, each beside its parameters. None at all is as good as all absent. */
function proofsOf(context: ServerCall, count: number): readonly { readonly proof?: string }[] {
  const text = context.header(WIT_PROOF_HEADER);
  if (text === undefined) return [];
  const proofs = text.split(",", MAX_WIT_PROOFS + 1).map((proof) => proof.trim());
  if (proofs.length !== count) {
    throw new AssayError(
      "INVALID_REQUEST",
      `${WIT_PROOF_HEADER}: expected ${count} proofs, at most ${MAX_WIT_PROOFS}, got ${proofs.length}`,
    );
  }
  return proofs.map((proof) => (proof === "-" ? {} : { proof }));
}

function checkedTtl(ttl: number): number {
  if (ttl < 0) throw new AssayError("INVALID_REQUEST", "ttl: expected seconds, 0 for the default");
  return ttl;
}
