import { type Clock } from "../../clock.ts";
import { readCertificate } from "../../crypto/certificate-reader.ts";
import { readName } from "../../crypto/x501-name.ts";
import { Debug } from "../../proto/gen/spire/api/server/debug/v1/debug_pb.ts";
import type { ServiceHandlers } from "../../rpc/handlers.ts";
import { tryParseSpiffeId } from "../../spiffe/id.ts";
import type { ServerCall } from "../call.ts";
import { distinguishedNameText } from "../wire/distinguished-name.ts";
import { spiffeIdToWire } from "../../wire/spiffe-id.ts";

/** What `spire.api.server.debug.v1.Debug` is served with. */
export interface DebugServiceOptions {
  readonly clock: Clock;
  /** Unix milliseconds. */
  readonly startedAt: number;
  /** DER of the server's own chain, leaf first. */
  readonly chain: () => readonly Uint8Array[];
  readonly counts: () => Promise<{
    readonly agents: number;
    readonly entries: number;
    readonly federatedBundles: number;
  }>;
}

/** Handlers of `spire.api.server.debug.v1.Debug`. */
export function debugService(options: DebugServiceOptions): ServiceHandlers<typeof Debug, ServerCall> {
  return {
    async getInfo() {
      const { agents, entries, federatedBundles } = await options.counts();
      return {
        svidChain: options.chain().map((der) => {
          const { notAfter, subject, subjectAltName } = readCertificate(der);
          const id = tryParseSpiffeId(subjectAltName?.uris[0] ?? "");
          return {
            expiresAt: BigInt(notAfter),
            subject: distinguishedNameText(readName(subject, "INTERNAL")),
            ...(id === undefined ? {} : { id: spiffeIdToWire(id) }),
          };
        }),
        uptime: Math.floor((options.clock.now() - options.startedAt) / 1000),
        agentsCount: agents,
        entriesCount: entries,
        federatedBundlesCount: federatedBundles,
      };
    },
  };
}
