import { z } from "zod";
import type { TaskIdentities, TaskIdentity, TaskNearMiss } from "../../registry/task-identities.ts";
import { formatSelector } from "../../spiffe/selector.ts";

const entryFacts = {
  entry_id: z.string().describe("Registration entry"),
  spiffe_id: z.string().describe("The entry's SPIFFE ID; with a template, what all its IDs lie below"),
  id_template: z.string().describe("The entry's template; empty where it has none"),
};

/** What entries give for evidence, and what they do not. */
export const taskMatchingSchema = z
  .object({
    identities: z
      .array(
        z.object({
          ...entryFacts,
          earned: z.string().describe("SPIFFE ID that is earned: the entry's own, or its template's"),
          hint: z.string(),
          max_task_duration: z.int().describe("Longest life that the entry allows, seconds; 0 for no word"),
        }),
      )
      .describe("In order of creation: the first is the default"),
    faults: z
      .array(z.object({ ...entryFacts, reason: z.string() }))
      .describe("Entries that matched and whose template could not be filled"),
    near_misses: z
      .array(
        z.object({
          ...entryFacts,
          missing: z.array(z.string()).describe("Selectors that the entry demands and that were not seen"),
          unnamed: z.array(z.string()).describe("Guarded selectors that the entry does not name"),
        }),
      )
      .describe("Entries that came nearest without matching, best first"),
  })
  .meta({ id: "TaskMatching", description: "What the entries give for a run's evidence, and why not more" });

/** What entries give, for an answer. */
export function matchingToJson(matching: TaskIdentities): z.output<typeof taskMatchingSchema> {
  return {
    identities: matching.identities.map(({ entry, spiffeId }) => ({
      ...entryToJson(entry),
      earned: spiffeId,
      hint: entry.hint,
      max_task_duration: entry.maxTaskDuration,
    })),
    faults: matching.faults.map(({ entry, reason }) => ({ ...entryToJson(entry), reason })),
    near_misses: matching.nearest.map(nearMissToJson),
  };
}

function nearMissToJson({ entry, missing, unnamed }: TaskNearMiss) {
  return {
    ...entryToJson(entry),
    missing: missing.map(formatSelector),
    unnamed: unnamed.map(formatSelector),
  };
}

function entryToJson(entry: TaskIdentity["entry"]) {
  return { entry_id: entry.id, spiffe_id: entry.spiffeId, id_template: entry.idTemplate };
}
