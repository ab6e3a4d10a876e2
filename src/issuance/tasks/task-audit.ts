import { formatSelector } from "../../spiffe/selector.ts";
import type { TaskRecord } from "../../store/task-store.ts";
import type { TaskIdentities, TaskIdentity } from "../../registry/task-identities.ts";
import type { DecisionFacts } from "../decision.ts";
import type { AttestedTask } from "./task-options.ts";

/** What the audit log says of verified evidence: what the platform vouches for apart from what the job's authors chose. */
export function attestedFacts({ instance, attestation }: AttestedTask): DecisionFacts {
  return {
    attestor: instance,
    platform: attestation.platform,
    selectors: attestation.selectors.map(formatSelector),
    ...provenance(attestation),
  };
}

/** The same of a task, with its id. */
export function taskFacts(task: TaskRecord): DecisionFacts {
  return { task_id: task.id, attestor: task.attestor, platform: task.platform };
}

/** All that the audit log says of a task where it begins or ends. */
export function wholeTaskFacts(task: TaskRecord): DecisionFacts {
  return { ...taskFacts(task), selectors: task.selectors.map(formatSelector), ...provenance(task) };
}

/** What the audit log says of an identity that was earned. */
export function identityFacts({ entry, spiffeId }: TaskIdentity): DecisionFacts {
  return {
    spiffe_id: spiffeId,
    entry_id: entry.id,
    entry_revision: entry.revision,
    parent_id: entry.parentId,
  };
}

/** Why a task earned nothing, entry by entry, those that came nearest. */
export function nothingEarned({ faults, nearest }: TaskIdentities): readonly string[] {
  return [
    ...faults.slice(0, NAMED).map(({ entry, reason }) => `entry ${entry.id} matched: ${reason}`),
    ...nearest.slice(0, NAMED).map(({ entry, missing, unnamed }) => {
      const wants = missing.map(formatSelector);
      const dangers = unnamed.map(formatSelector);
      return [
        `entry ${entry.id} came near:`,
        ...(wants.length > 0 ? [`not seen ${wants.join(", ")}`] : []),
        ...(dangers.length > 0 ? [`does not name ${dangers.join(", ")}`] : []),
      ].join(" ");
    }),
  ];
}

function provenance({
  claims,
  authoredClaims,
}: Pick<TaskRecord, "claims" | "authoredClaims">): DecisionFacts {
  const authored = new Set(authoredClaims);
  const texts = (chosen: boolean) =>
    Object.entries(claims)
      .filter(([name]) => authored.has(name) === chosen)
      .map(([name, value]) => `${name}=${value}`);
  return { claims: texts(false), author_claims: texts(true) };
}

const NAMED = 5;
