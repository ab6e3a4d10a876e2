import type { Command } from "commander";
import { AssayError } from "../errors/assay-error.ts";
import { postAdminJson, readAdminJson } from "./admin-json.ts";
import { type CliIo, writeResult } from "./io.ts";
import { adminOptions, type AdminOptions } from "./options.ts";
import { readInput } from "./read-input.ts";
import { jobExplanationText, taskExplanationText } from "./task-text.ts";
import type { JobExplanationView, TaskExplanationView } from "./task-view.ts";
import { taskPath } from "./tasks-commands.ts";

/** Adds `assay explain task` and `assay explain job` to the explanations. */
export function addExplainTaskCommands(explain: Command, io: CliIo): void {
  adminOptions(
    explain
      .command("task")
      .description("one task, from the claims of its token to the end of what it got")
      .argument("<id>"),
  ).action(async (id: string, flags: AdminOptions) => {
    const view = await readAdminJson<TaskExplanationView>(io, flags.adminSocket, `${taskPath(id)}/explain`);
    writeResult(io, flags.output, view, () => taskExplanationText(view));
  });

  adminOptions(
    explain.command("job").description("what a CI job would earn, by the saved claims of its token"),
  )
    .requiredOption("--attestor <name>", "the task attestor that the job would come to")
    .requiredOption(
      "--claims <file>",
      "its claims as JSON, or a whole token, whose signature is not checked; - for standard input",
    )
    .action(async (flags: AdminOptions & { readonly attestor: string; readonly claims: string }) => {
      const claims = claimsOf(Buffer.from(await readInput(io, flags.claims, "--claims")).toString("utf8"));
      if (!/^[a-z0-9-]{1,64}$/.test(flags.attestor)) {
        throw new AssayError("USAGE", "--attestor: expected the name of a task attestor");
      }
      const path = `/v1/task-attestors/${flags.attestor}/explain`;
      // The token itself stays here: its claims are all that is needed, and it may still be good.
      const view = await postAdminJson<JobExplanationView>(io, flags.adminSocket, path, { claims });
      writeResult(io, flags.output, view, () =>
        [jobExplanationText(view), "", "Signature, age and use of the token were not looked at."].join("\n"),
      );
    });
}

/** The claims of a file: a JSON object, or the payload of a compact JWS (RFC 7515 §7.1). @throws AssayError `USAGE`. */
function claimsOf(text: string): Readonly<Record<string, unknown>> {
  const trimmed = text.trim();
  const [, payload] = COMPACT.exec(trimmed) ?? [];
  let value: unknown;
  try {
    value = JSON.parse(payload === undefined ? trimmed : Buffer.from(payload, "base64url").toString("utf8"));
  } catch {
    throw new AssayError("USAGE", "--claims: expected a JSON object, or a token in compact form");
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Readonly<Record<string, unknown>>;
  }
  throw new AssayError("USAGE", "--claims: expected a JSON object of claims");
}

const COMPACT = /^[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]*$/;
