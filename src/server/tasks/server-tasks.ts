import { randomUUID } from "node:crypto";
import { attestTask } from "../../attestation/attest-task.ts";
import { endedByItself } from "../../issuance/tasks/end-task.ts";
import { type TaskIssuance, taskIssuance } from "../../issuance/tasks/task-issuance.ts";
import type { TaskSettings } from "../../issuance/tasks/task-options.ts";
import type { WorkloadIssuanceOptions } from "../../issuance/x509-svids.ts";
import { FIELD } from "../../observe/fields.ts";
import type { Log } from "../../observe/log.ts";
import type { TaskAttestor } from "../../plugin/task-attestor.ts";
import type { Registry } from "../../registry/registry.ts";
import type { Store } from "../../store/store.ts";
import { openTasks } from "../../tasks/open-tasks.ts";
import type { Tasks } from "../../tasks/tasks.ts";
import { statusListUri } from "./status-list-uri.ts";

/** What a server's tasks are made of. */
export interface ServerTasksParts extends Omit<WorkloadIssuanceOptions, "authorizedEntry"> {
  readonly store: Store;
  readonly registry: Registry;
  readonly log: Log;
  /** By the operator's names. */
  readonly attestors: ReadonlyMap<string, TaskAttestor>;
  /** Issuer of tokens and base of the status lists' addresses; empty where there is none, and then no task is opened. */
  readonly issuer: string;
  readonly settings: TaskSettings | undefined;
}

/** The tasks of a server. */
export interface ServerTasks extends AsyncDisposable {
  readonly tasks: Tasks;
  readonly issuance: TaskIssuance;
}

/**
 * Opens the tasks of a server and what is decided about them. Tasks that are alive go on; those that ended while no server
 * was there wait for whoever tells of ends.
 * @throws AssayError `STORE_UNAVAILABLE`.
 */
export async function openServerTasks(parts: ServerTasksParts): Promise<ServerTasks> {
  const { store, registry, log, attestors, issuer, clock, audit } = parts;
  const tasks = await openTasks({
    store,
    clock,
    report: (event) => audit.append([endedByItself(event)]),
    onFault: (error) => log.error("tasks are in trouble, will be tried again", { [FIELD.error]: error }),
  });
  const issuance = taskIssuance({
    ...parts,
    tasks,
    attest: (token, signal) => attestTask({ attestors, token, clock, signal }),
    identities: (instance, facts) => registry.entries.taskIdentities(instance, facts),
    credentials: store.credentials,
    statusListUri: (list) => statusListUri(issuer, list),
    newTaskId: randomUUID,
    settings: parts.settings ?? DEFAULT_SETTINGS,
  });
  return { tasks, issuance, [Symbol.asyncDispose]: () => tasks[Symbol.asyncDispose]() };
}

const DEFAULT_SETTINGS: TaskSettings = { lease: 120, maxDuration: 6 * 3600, grace: 30 };
