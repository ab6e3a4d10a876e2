import { AssayError } from "../../errors/assay-error.ts";
import { issueJwtSvid, mintJwtSvid } from "../../issuance/jwt-svids.ts";
import { issueX509Svids, mintX509Svid, type WorkloadIssuanceOptions } from "../../issuance/x509-svids.ts";
import type { AgentCaller } from "../../issuance/caller.ts";
import { SVID } from "../../proto/gen/spire/api/server/svid/v1/svid_pb.ts";
import type { ServiceHandlers } from "../../rpc/handlers.ts";
import { agentOf, type ServerCall } from "../call.ts";
import { type ServerLimits, takeFrom } from "../limits.ts";
import { spiffeIdFromWire } from "../../wire/spiffe-id.ts";
import { OK, statusOf } from "../wire/status.ts";
import { jwtSvidToWire, x509SvidToWire } from "../wire/svid.ts";

/** What `spire.api.server.svid.v1.SVID` is served with. */
export interface SvidServiceOptions {
  readonly issuance: WorkloadIssuanceOptions;
  readonly limits: ServerLimits;
}

/** Handlers of `spire.api.server.svid.v1.SVID`. */
export function svidService({
  issuance,
  limits,
}: SvidServiceOptions): ServiceHandlers<typeof SVID, ServerCall> {
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

    async batchNewX509SVID({ params }, { caller }) {
      if (params.length === 0) throw new AssayError("INVALID_REQUEST", "missing parameters");
      const agent = agentOf(caller);
      takeFrom(limits.x509Signing, agent, params.length);
      const decided = await issueX509Svids(issuance, agent, params);
      return {
        results: decided.map(({ value, error }, index) =>
          error === undefined
            ? { status: OK, svid: x509SvidToWire(value, hintOf(agent, params[index]?.entryId)) }
            : { status: statusOf(error) },
        ),
      };
    },

    async newJWTSVID({ entryId, audience }, { caller }) {
      if (entryId === "") throw new AssayError("INVALID_REQUEST", "missing entry ID");
      const agent = agentOf(caller);
      takeFrom(limits.jwtSigning, agent);
      const svid = await issueJwtSvid(issuance, agent, { entryId, audience });
      return { svid: jwtSvidToWire(svid, hintOf(agent, entryId)) };
    },
  };
}

function checkedTtl(ttl: number): number {
  if (ttl < 0) throw new AssayError("INVALID_REQUEST", "ttl: expected seconds, 0 for the default");
  return ttl;
}
