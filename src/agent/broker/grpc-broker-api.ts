import { AssayError } from "../../errors/assay-error.ts";
import type { ErrorCode } from "../../errors/codes.ts";
import type { AuditRecord } from "../../observe/audit-record.ts";
import type { API, WorkloadReference } from "../../proto/gen/spiffe/broker/api_pb.ts";
import type { CallContext } from "../../rpc/call-context.ts";
import type { ServiceHandlers } from "../../rpc/handlers.ts";
import type { WorkloadEvent } from "../../issuance/workload/verdict.ts";
import { ObjectSubjects } from "../subject/object-subject.ts";
import { type HeldSubject, processSubject, type ProcessSubjectOptions } from "../subject/process-subject.ts";
import { jwtBundlesMessage, x509BundlesMessage, x509SvidsMessage } from "../workload-api/wire-messages.ts";
import type { ReferredCall } from "../workload-api/workload-call.ts";
import type { WorkloadService } from "../workload-api/workload-service.ts";
import type { AdmittedBroker, BrokerPeer } from "./admit-broker.ts";
import { type ParsedReference, parseReference, referenceText } from "./workload-reference.ts";

/** What the API needs. */
export interface BrokerApiOptions extends ProcessSubjectOptions {
  readonly service: WorkloadService;
  readonly audit: { append(records: readonly AuditRecord[]): void };
}

/** A call on the Broker Endpoint. */
export type BrokerContext = CallContext<BrokerPeer, AdmittedBroker>;

/**
 * `spiffe.broker.API`. The reference of a request is judged before anything else is looked at (Broker API §4.8); what is
 * answered about the workload is what the workload itself would be answered, by the same rules.
 */
export function brokerApiHandlers(
  options: BrokerApiOptions,
): Required<ServiceHandlers<typeof API, BrokerContext>> {
  const { service } = options;
  const parts: BrokerParts = { ...options, objects: new ObjectSubjects(options) };
  return {
    async *subscribeToX509SVID({ reference }, context) {
      yield* answered("x509_svid.issue", reference, context, parts, async function* (call) {
        for await (const state of service.watchX509Svids(call)) yield x509SvidsMessage(state);
      });
    },
    async *subscribeToX509Bundles({ reference }, context) {
      yield* answered("x509_bundles.read", reference, context, parts, async function* (call) {
        for await (const state of service.watchBundles(call, "x509")) {
          const message = x509BundlesMessage(state);
          if (message !== undefined) yield message;
        }
      });
    },
    async fetchJWTSVID({ reference, audience, spiffeId }, context) {
      const answer = answered("jwt_svid.issue", reference, context, parts, async function* (call) {
        const identities = await service.fetchJwtSvids(call, audience, spiffeId);
        yield {
          svids: identities.map(({ entry, svid }) => ({
            spiffeId: svid.spiffeId,
            svid: svid.token,
            hint: entry.hint,
          })),
        };
      });
      for await (const message of answer) return message;
      throw new AssayError("INTERNAL", "there is no answer");
    },
    async *subscribeToJWTBundles({ reference }, context) {
      yield* answered("jwt_bundles.read", reference, context, parts, async function* (call) {
        for await (const state of service.watchBundles(call, "jwt")) {
          yield jwtBundlesMessage(state);
        }
      });
    },
  };
}

interface BrokerParts extends BrokerApiOptions {
  readonly objects: ObjectSubjects;
}

/** Answers about the workload that is named, in the words of the Broker API where nothing can be answered. */
async function* answered<Answer>(
  event: WorkloadEvent,
  wire: WorkloadReference | undefined,
  context: BrokerContext,
  parts: BrokerParts,
  answer: (call: ReferredCall) => AsyncIterable<Answer>,
): AsyncGenerator<Answer, void, undefined> {
  const reference = parseReference(wire);
  const { asker } = context.caller;
  // Before anything is looked for or written down, which is what a limit is to spare.
  parts.service.count(asker.spiffeId, event);
  requireAllowed(reference, context);
  let hasAnswered = false;
  try {
    using subject = subjectOf(reference, context, parts);
    const call: ReferredCall = {
      asker,
      subject,
      isCounted: true,
      method: context.method.slice(1),
      signal: AbortSignal.any([context.signal, subject.gone]),
    };
    for await (const message of answer(call)) {
      hasAnswered = true;
      yield message;
    }
  } catch (error) {
    if (!(error instanceof AssayError)) throw error;
    // Decided and recorded: only its name is another here.
    if (error.code === "NO_IDENTITY_ISSUED") {
      throw new AssayError("WORKLOAD_NOT_ENTITLED", error.detail, { cause: error });
    }
    if (!hasAnswered && UNRECORDED.has(error.code)) record(reference, error, context, parts);
    throw error;
  }
}

function subjectOf(reference: ParsedReference, { caller }: BrokerContext, parts: BrokerParts): HeldSubject {
  switch (reference.type) {
    case "workload_pid":
      return processSubject(reference.pid, parts);
    case "kubernetes_object":
      return parts.objects.hold({
        object: reference,
        reference: referenceText(reference),
        broker: caller.asker.spiffeId,
      });
    default:
      throw new AssayError("WORKLOAD_REFERENCE_INVALID", "reference must be of a known type");
  }
}

function requireAllowed({ type }: ParsedReference, { caller, peer }: BrokerContext): void {
  const { id, references } = caller.allowance;
  const allowed = references.find((reference) => reference.type === type);
  if (allowed === undefined) {
    throw caller.denial(`${id} may not name workloads by ${type}`);
  }
  if (peer.transport !== "unix" && !allowed.allowOverTcp) {
    throw caller.denial(`${id} may not name workloads by ${type} over TCP`);
  }
}

function record(
  reference: ParsedReference,
  { code, detail }: AssayError,
  { caller, method }: BrokerContext,
  { audit }: BrokerApiOptions,
): void {
  const { spiffeId, address } = caller.asker;
  audit.append([
    {
      event: "svid.denied",
      outcome: "denied",
      code,
      method: method.slice(1),
      caller_id: spiffeId,
      ...(address === "" ? {} : { caller_address: address }),
      reference: referenceText(reference),
      reasons: [detail],
    },
  ]);
}

// What was found out about the workload before there was a question to decide.
const UNRECORDED: ReadonlySet<ErrorCode> = new Set(["WORKLOAD_NOT_FOUND", "WORKLOAD_NOT_ENTITLED"]);
