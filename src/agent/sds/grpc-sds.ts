import type { MessageInitShape } from "@bufbuild/protobuf";
import { AssayError } from "../../errors/assay-error.ts";
import type {
  DiscoveryRequest,
  DiscoveryResponseSchema,
} from "../../proto/gen/envoy/service/discovery/v3/discovery_pb.ts";
import type { SecretDiscoveryService } from "../../proto/gen/envoy/service/secret/v3/sds_pb.ts";
import type { ServiceHandlers } from "../../rpc/handlers.ts";
import { ChangeWaiter } from "../workload-api/change-waiter.ts";
import type { WorkloadContext } from "../workload-api/grpc-workload-api.ts";
import type { WorkloadCall } from "../workload-api/workload-call.ts";
import { DeltaSession } from "./delta-session.ts";
import { validationFor } from "./envoy-node.ts";
import type { SecretSource } from "./secret-source.ts";
import { answerSecrets, requireSecrets } from "./secret-stream.ts";
import { SotwSession } from "./sotw-session.ts";

/** Envoy's secret discovery service. It needs no security header: Envoy sends none. */
export function sdsHandlers(
  source: SecretSource,
): Required<ServiceHandlers<typeof SecretDiscoveryService, WorkloadContext>> {
  const { newNonce } = source.options;
  return {
    streamSecrets: (requests, context) =>
      answerSecrets(requests, new SotwSession(newNonce), callOf(context), source),
    deltaSecrets: (requests, context) =>
      answerSecrets(requests, new DeltaSession(newNonce), callOf(context), source),
    fetchSecrets: (request, context) => fetchSecrets(request, callOf(context), source),
  };
}

/**
 * Answers one question with what is there, waiting a while for SVIDs that are being signed.
 * @throws AssayError `NOT_FOUND` where nothing is, or `NO_IDENTITY_ISSUED` if that is why; and others as streams.
 */
async function fetchSecrets(
  request: DiscoveryRequest,
  call: WorkloadCall,
  source: SecretSource,
): Promise<MessageInitShape<typeof DiscoveryResponseSchema>> {
  const { cache, clock, settings, signingPatience, newNonce } = source.options;
  requireSecrets(request);
  const validation = validationFor(request.node, settings.disableSpiffeCertValidation);
  using caller = await source.open(call);
  using waiter = new ChangeWaiter(cache.bell, call.signal, clock);
  const patienceEnds = clock.now() + signingPatience;
  for (;;) {
    const session = new SotwSession(newNonce);
    session.take(request);
    const finder = caller.look(validation);
    const answer = session.answer(finder);
    caller.demand(finder);
    const isAwaited = [...finder.missing.values()].includes("awaited");
    if (isAwaited && clock.now() < patienceEnds) {
      await waiter.next(patienceEnds);
      continue;
    }
    if (answer === undefined) {
      throw caller.denial ?? new AssayError("NOT_FOUND", "the caller has no secret of these resource_names");
    }
    caller.record(answer.secrets);
    return answer.response;
  }
}

function callOf({ peer, method, signal }: WorkloadContext): WorkloadCall {
  return { caller: peer, method: method.slice(1), signal };
}
