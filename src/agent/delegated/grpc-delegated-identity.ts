import type { MessageInitShape } from "@bufbuild/protobuf";
import { AssayError } from "../../errors/assay-error.ts";
import type { PeerProcess } from "../../peer/identify-peer.ts";
import type {
  DelegatedIdentity,
  SubscribeToX509SVIDsResponseSchema,
} from "../../proto/gen/spire/api/agent/delegatedidentity/v1/delegatedidentity_pb.ts";
import type { CallContext } from "../../rpc/call-context.ts";
import type { ServiceHandlers } from "../../rpc/handlers.ts";
import { concatenatedX509Authorities, type SpiffeBundle } from "../../spiffe/bundle.ts";
import type { SpiffeId } from "../../spiffe/id.ts";
import { trustDomainUri } from "../../spiffe/trust-domain.ts";
import { spiffeIdToWire } from "../../wire/spiffe-id.ts";
import { type HeldSubject, processSubject, type ProcessSubjectOptions } from "../subject/process-subject.ts";
import { selectorSubject } from "../subject/selector-subject.ts";
import { jwksText } from "../workload-api/jwks-bytes.ts";
import type { ReferredCall, WorkloadCall } from "../workload-api/workload-call.ts";
import type { WorkloadService } from "../workload-api/workload-service.ts";
import type { X509State } from "../workload-api/x509-state.ts";
import { type BundleWatchOptions, watchAllBundles } from "./bundle-watch.ts";
import { Delegates } from "./delegates.ts";

/** What the API needs. */
export interface DelegatedIdentityOptions extends BundleWatchOptions, ProcessSubjectOptions {
  readonly service: WorkloadService;
  /** SPIFFE IDs of the delegates; nobody is one unless named. */
  readonly authorizedDelegates?: readonly SpiffeId[];
}

type Context = CallContext<PeerProcess, undefined>;

/** `spire.api.agent.delegatedidentity.v1.DelegatedIdentity`, in the message forms that SPIRE's clients expect. */
export function delegatedIdentityHandlers(
  options: DelegatedIdentityOptions,
): Required<ServiceHandlers<typeof DelegatedIdentity, Context>> {
  const { service } = options;
  const delegates = new Delegates({ ...options, authorized: options.authorizedDelegates ?? [] });
  return {
    async *subscribeToX509SVIDs(request, context) {
      const { asker } = await delegates.admit(callOf(context), "x509_svid.issue");
      using subject = subjectOf(request, options);
      // A delegate waits on one stream for workloads that have no entry yet.
      const call: ReferredCall = { ...referredCall(asker, subject, context), mayHaveNone: true };
      for await (const state of service.watchX509Svids(call)) yield x509SvidsResponse(state);
    },
    async *subscribeToX509Bundles(_request, context) {
      const delegate = await delegates.admit(callOf(context), "x509_bundles.read");
      for await (const bundles of watchAllBundles(delegate, context.signal, options)) {
        yield { caCertificates: byTrustDomain(bundles, concatenatedX509Authorities) };
      }
    },
    async fetchJWTSVIDs(request, context) {
      if (request.audience.length === 0) {
        throw new AssayError("INVALID_AUDIENCE", "audience must be specified");
      }
      const { asker } = await delegates.admit(callOf(context), "jwt_svid.issue");
      using subject = subjectOf(request, options);
      const call = referredCall(asker, subject, context);
      const identities = await service.fetchJwtSvids(call, request.audience, "");
      return {
        svids: identities.map(({ entry, svid }) => ({
          token: svid.token,
          id: spiffeIdToWire(svid.spiffeId),
          issuedAt: BigInt(svid.issuedAt),
          expiresAt: BigInt(svid.expiresAt),
          hint: entry.hint,
        })),
      };
    },
    async *subscribeToJWTBundles(_request, context) {
      const delegate = await delegates.admit(callOf(context), "jwt_bundles.read");
      for await (const bundles of watchAllBundles(delegate, context.signal, options)) {
        yield { bundles: byTrustDomain(bundles, (bundle) => Buffer.from(jwksText(bundle))) };
      }
    },
  };
}

function callOf({ peer, method, signal }: Context): WorkloadCall {
  return { caller: peer, method: method.slice(1), signal };
}

function referredCall(
  asker: ReferredCall["asker"],
  subject: HeldSubject,
  { method, signal }: Context,
): ReferredCall {
  return { asker, subject, method: method.slice(1), signal: AbortSignal.any([signal, subject.gone]) };
}

function subjectOf(
  {
    selectors,
    pid,
  }: {
    readonly selectors: readonly { readonly type: string; readonly value: string }[];
    readonly pid: number;
  },
  options: ProcessSubjectOptions,
): HeldSubject {
  if (selectors.length > 0 === (pid !== 0)) {
    throw new AssayError(
      "INVALID_REQUEST",
      "must provide either selectors or a pid other than 0, but not both",
    );
  }
  return pid === 0 ? selectorSubject(selectors) : processSubject(pid, options);
}

function x509SvidsResponse(state: X509State): MessageInitShape<typeof SubscribeToX509SVIDsResponseSchema> {
  return {
    x509Svids: state.identities.map(({ entry, svid }) => ({
      x509Svid: {
        id: spiffeIdToWire(svid.spiffeId),
        certChain: [...svid.chain],
        expiresAt: BigInt(svid.notAfter),
        hint: entry.hint,
      },
      x509SvidKey: svid.privateKey,
    })),
    federatesWith: state.federated.map(({ trustDomain }) => trustDomainUri(trustDomain)),
  };
}

function byTrustDomain(
  bundles: readonly SpiffeBundle[],
  bytes: (bundle: SpiffeBundle) => Uint8Array,
): Record<string, Uint8Array> {
  return Object.fromEntries(bundles.map((bundle) => [trustDomainUri(bundle.trustDomain), bytes(bundle)]));
}
