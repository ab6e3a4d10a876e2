import { GetInfoResponse_Sync, type Status } from "../../proto/gen/assay/api/agent/v1/status_pb.ts";
import type { CallContext } from "../../rpc/call-context.ts";
import type { ServiceHandlers } from "../../rpc/handlers.ts";
import type { AgentCache } from "../cache/agent-cache.ts";
import type { IdentityKeeper } from "../identity/identity-keeper.ts";
import { spiffeIdToWire } from "../../wire/spiffe-id.ts";
import type { Syncer, SyncState } from "../sync/syncer.ts";

/** What the status is read from. */
export interface StatusOptions {
  readonly cache: AgentCache;
  readonly syncer: Syncer;
  readonly keeper: IdentityKeeper;
  readonly version: string;
  /** Unix milliseconds, 0 before that. */
  readonly servingSince: () => number;
}

/** `assay.api.agent.v1.Status`. */
export function statusHandlers<Peer>(
  options: StatusOptions,
): Required<ServiceHandlers<typeof Status, CallContext<Peer, undefined>>> {
  const { cache, syncer, keeper, version, servingSince } = options;
  return {
    getInfo: () => {
      const identity = keeper.current;
      return {
        ...(identity === undefined
          ? {}
          : { agentId: spiffeIdToWire(identity.agentId), svidExpiresAt: BigInt(identity.notAfter) }),
        servingSince: seconds(servingSince()),
        sync: STATES[syncer.state],
        lastSyncAt: seconds(syncer.lastSyncAt),
        entriesCount: cache.table.entries.size,
        cachedX509SvidsCount: cache.x509.size,
        cachedJwtSvidsCount: cache.jwt.size,
        version,
      };
    },
  };
}

function seconds(milliseconds: number): bigint {
  return BigInt(Math.floor(milliseconds / 1000));
}

const STATES: Readonly<Record<SyncState, (typeof GetInfoResponse_Sync)[keyof typeof GetInfoResponse_Sync]>> =
  {
    disconnected: GetInfoResponse_Sync.DISCONNECTED,
    stream: GetInfoResponse_Sync.STREAM,
    polling: GetInfoResponse_Sync.POLLING,
  };
