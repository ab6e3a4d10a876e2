import type { JsonObject as WireJsonObject } from "@bufbuild/protobuf";
import { AssayError } from "../../errors/assay-error.ts";
import type { PeerProcess } from "../../peer/identify-peer.ts";
import type { SpiffeWorkloadAPI } from "../../proto/gen/spiffe/workload/workload_pb.ts";
import type { CallContext } from "../../rpc/call-context.ts";
import type { ServiceHandlers } from "../../rpc/handlers.ts";
import type { Feature } from "../../spiffe/features.ts";
import { trustDomainUri } from "../../spiffe/trust-domain.ts";
import { jwksText } from "./jwks-bytes.ts";
import { requireSecurityHeader, SECURITY_HEADER } from "./security-header.ts";
import type { WorkloadCall } from "./workload-call.ts";
import type { WorkloadService } from "./workload-service.ts";
import { jwtBundlesMessage, x509BundlesMessage, x509SvidsMessage } from "./wire-messages.ts";

/** A call on the Workload Endpoint. */
export type WorkloadContext = CallContext<PeerProcess, undefined>;

/** Refuses calls of the Workload API without the security header; other services on the socket need none. */
export function admitWorkloadCall(context: CallContext<PeerProcess, undefined>): undefined {
  if (context.method.startsWith(METHOD_PREFIX)) requireSecurityHeader(context.header(SECURITY_HEADER));
  return undefined;
}

/** The SPIFFE Workload API over gRPC; its WIT profile (§7) only where it is switched on. */
export function workloadApiHandlers(
  service: WorkloadService,
  features: readonly Feature[],
): Required<ServiceHandlers<typeof SpiffeWorkloadAPI, WorkloadContext>> {
  return {
    async *fetchX509SVID(_request, context) {
      for await (const state of service.watchX509Svids(callOf(context))) yield x509SvidsMessage(state);
    },
    async *fetchX509Bundles(_request, context) {
      for await (const state of service.watchBundles(callOf(context), "x509")) {
        const message = x509BundlesMessage(state);
        // It is there as soon as the server was heard.
        if (message !== undefined) yield message;
      }
    },
    async fetchJWTSVID({ audience, spiffeId }, context) {
      const identities = await service.fetchJwtSvids(callOf(context), audience, spiffeId);
      return {
        svids: identities.map(({ entry, svid }) => ({
          spiffeId: svid.spiffeId,
          svid: svid.token,
          hint: entry.hint,
        })),
      };
    },
    async *fetchJWTBundles(_request, context) {
      for await (const state of service.watchBundles(callOf(context), "jwt")) yield jwtBundlesMessage(state);
    },
    async validateJWTSVID({ audience, svid }, context) {
      const { spiffeId, claims } = await service.validateJwtSvid(callOf(context), audience, svid);
      return { spiffeId, claims: claims as WireJsonObject };
    },
    async *fetchWITSVID({ spiffeId }, context) {
      requireWit(features);
      for await (const { identities } of service.watchWitSvids(callOf(context), spiffeId)) {
        yield {
          svids: identities.map(({ entry, svid }) => ({
            spiffeId: svid.spiffeId,
            witSvid: svid.token,
            witSvidKey: svid.privateJwk,
            hint: entry.hint,
          })),
        };
      }
    },
    async *fetchWITBundles(_request, context) {
      requireWit(features);
      for await (const { bundles } of service.watchBundles(callOf(context), "wit")) {
        yield {
          bundles: Object.fromEntries(
            bundles.map((bundle) => [trustDomainUri(bundle.trustDomain), jwksText(bundle, "wit")]),
          ),
        };
      }
    },
  };
}

// The methods are registered all the same, so that the security header is asked for first as with every other one.
function requireWit(features: readonly Feature[]): void {
  if (!features.includes("wit-svid")) throw new AssayError("UNIMPLEMENTED", "WIT-SVIDs are not supported");
}

function callOf(context: WorkloadContext): WorkloadCall {
  return { caller: context.peer, method: context.method.slice(1), signal: context.signal };
}

const METHOD_PREFIX = "/SpiffeWorkloadAPI/";
