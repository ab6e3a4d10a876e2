import type { Command } from "commander";
import { AssayError } from "../errors/assay-error.ts";
import { postAdminJson, readAdminJson } from "./admin-json.ts";
import { type CliIo, writeResult } from "./io.ts";
import { adminOptions, type AdminOptions, oneOf } from "./options.ts";
import { taskTable, taskText } from "./task-text.ts";
import type { CredentialView, TaskView } from "./task-view.ts";

/** Adds `assay tasks …`: runs with an identity that ends with them, on the server's admin socket. */
export function addTasksCommands(program: Command, io: CliIo): void {
  const tasks = program
    .command("tasks")
    .description("tasks: runs of CI jobs with an identity that ends with them");

  adminOptions(tasks.command("list").description("list tasks, the newest first"))
    .option("--state <state>", "only tasks that are active, ending or ended", oneOf("--state", STATES))
    .option("--attestor <name>", "only tasks of this task attestor")
    .option("--spiffe-id <spiffe-id>", "only tasks that have this SPIFFE ID, or got something for it")
    .option("--limit <number>", "at most so many", limitOf, 100)
    .action(async (flags: AdminOptions & ListFlags) => {
      const found = await listTasks(io, flags);
      writeResult(io, flags.output, found, () => (found.length === 0 ? "no tasks" : taskTable(found)));
    });

  adminOptions(
    tasks.command("show").description("show one task and what was issued to it").argument("<id>"),
  ).action(async (id: string, flags: AdminOptions) => {
    const path = taskPath(id);
    const found = await readAdminJson<{
      readonly task: TaskView;
      readonly credentials: readonly CredentialView[];
    }>(io, flags.adminSocket, path);
    writeResult(io, flags.output, found, () => taskText(found.task, found.credentials));
  });

  adminOptions(
    tasks.command("end").description("end a task now: whatever was issued to it is revoked").argument("<id>"),
  ).action(async (id: string, flags: AdminOptions) => {
    const task = await postAdminJson<TaskView>(io, flags.adminSocket, `${taskPath(id)}/end`);
    writeResult(io, flags.output, task, () => `task ${task.id} is over, ended ${task.ended_at ?? "now"}`);
  });
}

/**
 * The path of a task in the HTTP API.
 * @throws AssayError `USAGE` where it is no id of a task.
 */
export function taskPath(id: string): string {
  if (UUID.test(id)) return `/v1/tasks/${id.toLowerCase()}`;
  throw new AssayError("USAGE", `<id>: expected the id of a task, a UUID, got ${JSON.stringify(id)}`);
}

interface ListFlags {
  readonly state?: (typeof STATES)[number];
  readonly attestor?: string;
  readonly spiffeId?: string;
  readonly limit: number;
}

async function listTasks(io: CliIo, flags: AdminOptions & ListFlags): Promise<readonly TaskView[]> {
  const found: TaskView[] = [];
  let pageToken = "";
  while (found.length < flags.limit) {
    const query = new URLSearchParams({ page_size: String(Math.min(PAGE_SIZE, flags.limit - found.length)) });
    if (flags.state !== undefined) query.set("state", flags.state);
    if (flags.attestor !== undefined) query.set("attestor", flags.attestor);
    if (flags.spiffeId !== undefined) query.set("spiffe_id", flags.spiffeId);
    if (pageToken !== "") query.set("page_token", pageToken);
    const page = await readAdminJson<{
      readonly tasks: readonly TaskView[];
      readonly next_page_token?: string;
    }>(io, flags.adminSocket, `/v1/tasks?${query.toString()}`);
    found.push(...page.tasks);
    pageToken = page.next_page_token ?? "";
    if (pageToken === "") break;
  }
  return found;
}

function limitOf(text: string): number {
  const limit = Number(text);
  if (/^[1-9]\d{0,5}$/.test(text)) return limit;
  throw new AssayError("USAGE", `--limit: expected a number from 1 to 999999, got ${JSON.stringify(text)}`);
}

const STATES = ["active", "ending", "ended"] as const;
const PAGE_SIZE = 500;
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
