/**
 * agent/admin/ — the agent's admin socket: why a workload got what it got, how the agent is doing.
 *
 * Must never issue anything nor change what is issued.
 * Called by the agent's composition.
 */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { LiveProcess } from "../../attestation/attest-workload.ts";
import { CODES } from "../../errors/codes.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { judge, type WorkloadEvidence, type WorkloadQuestion } from "../../issuance/workload/verdict.ts";
import { nearMissText } from "../../issuance/workload/issuance-record.ts";
import type { AuditLog } from "../../observe/audit-log.ts";
import { readProcessFacts } from "../../peer/process-facts.ts";
import type { Explain, ExplainPidResponseSchema } from "../../proto/gen/assay/api/agent/v1/explain_pb.ts";
import { Decision_Outcome } from "../../proto/gen/assay/api/types/v1/decision_pb.ts";
import type { CallContext } from "../../rpc/call-context.ts";
import type { ServiceHandlers } from "../../rpc/handlers.ts";
import type { AgentCache } from "../cache/agent-cache.ts";
import { decisionToWire } from "../../wire/decision.ts";
import { agentEntryToWire } from "../../wire/entry.ts";
import { type EvidenceOptions, executableOf, gatherEvidence } from "../workload-api/workload-call.ts";

/** What explaining needs. */
export interface ExplainOptions extends EvidenceOptions {
  readonly cache: AgentCache;
  readonly audit: Pick<AuditLog, "find">;
}

/** `assay.api.agent.v1.Explain`. */
export function explainHandlers<Peer>(
  options: ExplainOptions,
): Required<ServiceHandlers<typeof Explain, CallContext<Peer, undefined>>> {
  return {
    explainPid: async ({ pid }, { signal }) => explainPid(pid, options, signal),
    explainDecision: async ({ decisionId }) => {
      const record = decisionId === "" ? undefined : await options.audit.find(decisionId);
      if (record === undefined) {
        throw new AssayError("DECISION_NOT_FOUND", "the agent's audit log has no decision of this id");
      }
      return { decision: decisionToWire(record, "workload") };
    },
  };
}

async function explainPid(
  pid: number,
  options: ExplainOptions,
  signal: AbortSignal,
): Promise<MessageInitShape<typeof ExplainPidResponseSchema>> {
  const process = runningProcess(pid);
  const evidence = await gatherEvidence(process, options, signal);
  const path = await executableOf(pid);
  const { cache, clock } = options;
  const seen = {
    process: { pid, uid: process.uid, gid: process.gid, path: path ?? "" },
    selectors: evidence.selectors.map(({ type, value }) => ({ type, value })),
  };
  if (!cache.synchronised) {
    const detail = "the agent has not heard from its server yet";
    return { ...seen, outcome: Decision_Outcome.FAILED, code: "NOT_READY", detail };
  }
  const question: WorkloadQuestion = {
    requestId: "",
    method: "explain",
    at: clock.now(),
    event: "x509_svid.issue",
    process,
    evidence,
  };
  const verdict = judge(question, cache.table.index);
  const nearest = cache.table.index.nearest(evidence.selectors, MAX_NEAR_MISSES);
  const near = {
    nearMisses: nearest.map((miss) => ({
      entry: agentEntryToWire(miss.entry),
      missing: miss.missing.map(({ type, value }) => ({ type, value })),
      reason: nearMissText(miss),
    })),
  };
  if (verdict.granted) {
    const matchedEntries = verdict.entries.map((entry) => agentEntryToWire(entry));
    return {
      ...seen,
      ...near,
      matchedEntries,
      outcome: Decision_Outcome.ISSUED,
      detail: faultsText(evidence),
    };
  }
  const denied = CODES[verdict.code].grpc === "PERMISSION_DENIED";
  return {
    ...seen,
    ...near,
    outcome: denied ? Decision_Outcome.DENIED : Decision_Outcome.FAILED,
    code: verdict.code,
    detail: [verdict.detail, faultsText(evidence)].filter((text) => text !== "").join("; "),
  };
}

function runningProcess(pid: number): LiveProcess {
  const facts = pid > 0 ? readProcessFacts(pid) : undefined;
  if (facts === undefined) throw new AssayError("NOT_FOUND", `there is no process ${pid}`);
  return {
    pid,
    uid: facts.uid,
    gid: facts.gid,
    isAlive: () => readProcessFacts(pid)?.startTime === facts.startTime,
  };
}

function faultsText({ faults }: WorkloadEvidence): string {
  return faults.map(({ attestor, detail }) => `attestor ${attestor} failed: ${detail}`).join("; ");
}

const MAX_NEAR_MISSES = 10;
