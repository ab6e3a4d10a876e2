import type { Violation } from "../errors/assay-error.ts";
import { parseAudiences } from "../spiffe/audience.ts";
import type { EntryContent } from "../store/records.ts";

/**
 * What is wrong with the fields of a content that concern tasks. A template and a longest life are for entries of
 * tasks; no task runs a subordinate server or fills a secret store; and no ID that follows claims is an operator's.
 * @param isOfTasks Whether the parent is a task attestor's.
 */
export function taskRuleFaults(content: EntryContent, isOfTasks: boolean): readonly Violation[] {
  const { idTemplate, maxTaskDuration, admin, downstream, storeSvid } = content;
  const hasTemplate = idTemplate !== "";
  const faults: Violation[] = [];
  const refuse = (field: keyof EntryContent, detail: string) => faults.push({ pointer: `/${field}`, detail });
  if (hasTemplate && !isOfTasks) refuse("idTemplate", ONLY_OF_TASKS);
  if (maxTaskDuration !== 0 && !isOfTasks) refuse("maxTaskDuration", ONLY_OF_TASKS);
  if (admin && hasTemplate) refuse("admin", "an entry whose IDs follow claims cannot make administrators");
  if (downstream && (isOfTasks || hasTemplate))
    refuse("downstream", "a task cannot run a subordinate server");
  if (storeSvid && (isOfTasks || hasTemplate)) {
    refuse("storeSvid", "the SVIDs of a task go to the task, not to a secret store");
  }
  return faults;
}

/**
 * An audience that tokens may be exchanged for, as the standard bounds audiences (JWT-SVID §3.2).
 * @throws AssayError `INVALID_AUDIENCE`.
 */
export function exchangeAudience(text: string): string {
  const [audience = ""] = parseAudiences([text]);
  return audience;
}

const ONLY_OF_TASKS = "only an entry whose parent is /spire/task/ and a task attestor's name can have it";
