import type { JsonObject as WireJsonObject, MessageInitShape } from "@bufbuild/protobuf";
import { AssayError } from "../../errors/assay-error.ts";
import type { PeerProcess } from "../../peer/identify-peer.ts";
import type {
  SpiffeWorkloadAPI,
  X509BundlesResponseSchema,
  X509SVIDResponseSchema,
} from "../../proto/gen/spiffe/workload/workload_pb.ts";
import type { CallContext } from "../../rpc/call-context.ts";
import type { ServiceHandlers } from "../../rpc/handlers.ts";
import { concatenatedX509Authorities, type SpiffeBundle } from "../../spiffe/bundle.ts";
import type { Feature } from "../../spiffe/features.ts";
import { trustDomainUri } from "../../spiffe/trust-domain.ts";
import type { BundleState } from "./bundle-state.ts";
import { jwksText } from "./jwks-bytes.ts";
import { requireSecurityHeader, SECURITY_HEADER } from "./security-header.ts";
import type { WorkloadCall } from "./workload-call.ts";
import type { WorkloadService } from "./workload-service.ts";
import type { X509State } from "./x509-state.ts";

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
      for await (const state of service.watchX509Svids(callOf(context))) yield x509SvidResponse(state);
    },
    async *fetchX509Bundles(_request, context) {
      for await (const state of service.watchBundles(callOf(context), "x509")) {
        const response = x509BundlesResponse(state);
        // An empty own bundle would break clients for good; it is there as soon as the server was heard.
        if (response !== undefined) yield response;
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
      for await (const { bundles } of service.watchBundles(callOf(context), "jwt")) {
        yield {
          bundles: Object.fromEntries(
            bundles.map((bundle) => [trustDomainUri(bundle.trustDomain), Buffer.from(jwksText(bundle))]),
          ),
        };
      }
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

function x509SvidResponse(state: X509State): MessageInitShape<typeof X509SVIDResponseSchema> {
  const bundle = concatenatedX509Authorities(state.bundle);
  return {
    svids: state.identities.map(({ entry, svid }) => ({
      spiffeId: svid.spiffeId,
      x509Svid: Buffer.concat(svid.chain),
      x509SvidKey: svid.privateKey,
      bundle,
      hint: entry.hint,
    })),
    federatedBundles: concatenatedByName(state.federated),
    crl: [...state.crls],
  };
}

function x509BundlesResponse({
  bundles,
  crls,
}: BundleState): MessageInitShape<typeof X509BundlesResponseSchema> | undefined {
  if (bundles[0]?.x509Authorities.length === 0) return undefined;
  return { bundles: concatenatedByName(bundles), crl: [...crls] };
}

function concatenatedByName(bundles: readonly SpiffeBundle[]): Record<string, Uint8Array> {
  return Object.fromEntries(
    bundles.map((bundle) => [trustDomainUri(bundle.trustDomain), concatenatedX509Authorities(bundle)]),
  );
}

const METHOD_PREFIX = "/SpiffeWorkloadAPI/";
