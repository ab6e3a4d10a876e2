import { unixSeconds } from "../../clock.ts";
import type { IssuedToken } from "../../signing/signing.ts";
import type { TaskRecord } from "../../store/task-store.ts";
import type { Caller } from "../caller.ts";
import { issueOne } from "../entry-svids.ts";
import { taskFacts } from "../tasks/task-audit.ts";
import { taskSubject } from "../tasks/task-options.ts";
import { type ExchangeOptions, taskAudience } from "./exchange-options.ts";
import { recordedToken } from "./recorded-token.ts";

/** The one scope of tokens for the task API. */
export const TASK_SCOPE = "task";

/**
 * The access token by which a task speaks to this server, bound to the task's key. It says as long as the task's hard end,
 * and is worth nothing from the moment that the task is over.
 * @throws AssayError `NO_IDENTITY_ISSUED` where it ended meanwhile, `STORE_UNAVAILABLE`, `AUDIT_UNAVAILABLE`, signing's.
 */
export async function issueTaskToken(
  options: ExchangeOptions,
  caller: Caller,
  task: TaskRecord,
): Promise<IssuedToken> {
  const subject = taskSubject(options.trustDomain, task);
  const audience = taskAudience(options.issuer);
  const known = { ...taskFacts(task), spiffe_id: subject, audience: [audience] };
  return issueOne(options, TOKEN, caller, known, async () =>
    recordedToken(
      options,
      {
        subject,
        clientId: subject,
        audience,
        scope: TASK_SCOPE,
        confirmation: { jkt: task.keyThumbprint },
        ttl: task.hardEnd - unixSeconds(options.clock),
      },
      { spiffeId: subject, entryId: "", taskId: task.id, parent: "" },
    ),
  );
}

const TOKEN = {
  events: { issued: "token.issued", refused: "token.denied" },
  facts: ({ jti, keyId, expiresAt }: IssuedToken) => ({ jti, authority_id: keyId, expires_at: expiresAt }),
} as const;
