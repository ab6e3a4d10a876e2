import { randomUUID } from "node:crypto";
import { attestTask } from "../../attestation/attest-task.ts";
import { toAssayError } from "../../errors/assay-error.ts";
import { endedByItself } from "../../issuance/tasks/end-task.ts";
import type { JobExplanationOptions } from "../../issuance/tasks/explain-job.ts";
import type { TaskExplanationOptions } from "../../issuance/tasks/explain-task.ts";
import { type TaskIssuance, taskIssuance } from "../../issuance/tasks/task-issuance.ts";
import type { TaskIssuanceOptions, TaskSettings } from "../../issuance/tasks/task-options.ts";
import type { ExchangeOptions } from "../../issuance/token-exchange/exchange-options.ts";
import type { DecisionOptions } from "../../issuance/decision.ts";
import type { SvidOptions } from "../../issuance/x509-svids.ts";
import { FIELD } from "../../observe/fields.ts";
import type { Log } from "../../observe/log.ts";
import type { TaskAttestor } from "../../plugin/task-attestor.ts";
import type { Registry } from "../../registry/registry.ts";
import type { Store } from "../../store/store.ts";
import { openTasks } from "../../tasks/open-tasks.ts";
import type { Tasks } from "../../tasks/tasks.ts";
import { statusListUri } from "./status-list-uri.ts";

/** What a server's tasks are made of. */
export interface ServerTasksParts extends DecisionOptions, SvidOptions {
  readonly store: Store;
  readonly registry: Registry;
  readonly log: Log;
  /** By the operator's names. */
  readonly attestors: ReadonlyMap<string, TaskAttestor>;
  /** Issuer of tokens and base of the status lists' addresses, where there is one. */
  readonly issuer: string | undefined;
  readonly settings: TaskSettings | undefined;
  readonly witSvids: boolean;
  /** When the store was restored, Unix seconds, where it was. */
  readonly restoredAt: number | undefined;
  readonly searchAudit: TaskExplanationOptions["searchAudit"];
}

/** The tasks of a server, and what is decided about them and the tokens that belong to them. */
export interface ServerTasks extends AsyncDisposable {
  readonly tasks: Tasks;
  readonly issuance: TaskIssuance;
  readonly attestors: ReadonlyMap<string, TaskAttestor>;
  readonly explanation: TaskExplanationOptions & JobExplanationOptions;
  /** What access tokens are issued with; absent without an issuer. */
  readonly exchange: Omit<ExchangeOptions, "isNewProof"> | undefined;
}

/**
 * Opens the tasks of a server and what is decided about them. Tasks that are alive go on; those that ended while no server
 * was there wait for whoever tells of ends.
 * @throws AssayError `STORE_UNAVAILABLE`.
 */
export async function openServerTasks(parts: ServerTasksParts): Promise<ServerTasks> {
  const { store, registry, log, attestors, issuer, clock, audit, searchAudit } = parts;
  const tasks = await openTasks({
    store,
    clock,
    report: (event) => audit.append([endedByItself(event)]),
    onFault(error) {
      // Whoever tells of ends stops before the tasks do; what was not told is found at the next start.
      if (toAssayError(error).code === "SHUTTING_DOWN") return;
      log.error("tasks are in trouble, will be tried again", { [FIELD.error]: error });
    },
  });
  const options: TaskIssuanceOptions = {
    ...parts,
    tasks,
    attest: (token, signal) => attestTask({ attestors, token, clock, signal }),
    identities: (instance, facts) => registry.entries.taskIdentities(instance, facts),
    credentials: store.credentials,
    statusListUri: (list) => statusListUri(issuer ?? "", list),
    newTaskId: randomUUID,
    settings: parts.settings ?? DEFAULT_SETTINGS,
  };
  const { identities, settings } = options;
  const issuance = taskIssuance(options);
  return {
    tasks,
    issuance,
    attestors,
    explanation: {
      identities,
      attestors,
      tasks,
      taskRecords: store.tasks,
      credentials: store.credentials,
      settings,
      searchAudit,
    },
    exchange:
      issuer === undefined
        ? undefined
        : {
            ...options,
            issuer,
            credentials: store.credentials,
            entriesOf: (spiffeId) =>
              registry.entries.list({ spiffeId }, {}).items.filter(({ idTemplate }) => idTemplate === ""),
            entry: (id) => registry.entries.get(id),
            endTask: (caller, id, reason, facts) => issuance.end(caller, id, reason, facts),
            newTokenId: randomUUID,
            grace: settings.grace,
            witSvids: parts.witSvids,
          },
    [Symbol.asyncDispose]: () => tasks[Symbol.asyncDispose](),
  };
}

const DEFAULT_SETTINGS: TaskSettings = { lease: 120, maxDuration: 6 * 3600, grace: 30 };
