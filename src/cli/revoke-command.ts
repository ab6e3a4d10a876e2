import { REVOCATION_REASONS } from "../spiffe/revocation-reason.ts";
import type { Command } from "commander";
import { AssayError } from "../errors/assay-error.ts";
import { postAdminJson } from "./admin-json.ts";
import { type CliIo, writeResult } from "./io.ts";
import { adminOptions, type AdminOptions, oneOf } from "./options.ts";
import { readInput } from "./read-input.ts";
import { table } from "./table.ts";
import type { CredentialView } from "./task-view.ts";
import { typedSpiffeId } from "./wire-text.ts";

/** Adds `assay revoke …`: ends what was issued before its time, on the server's admin socket. */
export function addRevokeCommands(program: Command, io: CliIo): void {
  const revoke = program
    .command("revoke")
    .description("end before its time: a task, an SVID or token, or all that came through an agent");

  adminOptions(
    revoke
      .command("task")
      .description("end a task: whatever was issued to it is revoked")
      .argument("<id>", "id of the task"),
  ).action(async (id: string, flags: AdminOptions) => {
    const outcome = await ask(io, flags, { task_id: id });
    writeResult(io, flags.output, outcome, () => outcomeText(`task ${id} is over`, outcome));
  });

  withReason(
    adminOptions(
      revoke
        .command("svid")
        .description("revoke an SVID or token, and what was exchanged for it")
        .argument("<svid>", "serial number in hex, a PEM file (- reads standard input), or a token's id")
        .option("--authority-id <id>", "of a serial number that the server does not know: who signed it")
        .option("--spiffe-id <spiffe-id>", "of a serial number that the server does not know: whose it is")
        .option("--expires-at <time>", "of a serial number that the server does not know: when it expires"),
    ),
  ).action(async (svid: string, flags: AdminOptions & SvidFlags) => {
    const { authorityId, spiffeId, expiresAt, reason } = flags;
    const outcome = await ask(io, flags, {
      ...(await named(io, svid)),
      ...(authorityId !== undefined && { authority_id: authorityId }),
      ...(spiffeId !== undefined && { spiffe_id: typedSpiffeId(spiffeId, "--spiffe-id") }),
      ...(expiresAt !== undefined && { expires_at: expiresAt }),
      reason,
    });
    writeResult(io, flags.output, outcome, () => outcomeText("", outcome));
  });

  withReason(
    adminOptions(
      revoke
        .command("agent")
        .description("ban an agent and revoke its SVID and all that was issued through it")
        .argument("<spiffe-id>", "SPIFFE ID of the agent"),
    ),
  ).action(async (id: string, flags: AdminOptions & { readonly reason: string }) => {
    const agentId = typedSpiffeId(id, "<spiffe-id>");
    const outcome = await ask(io, flags, { agent_id: agentId, reason: flags.reason });
    writeResult(io, flags.output, outcome, () => outcomeText(`agent ${agentId} is banned`, outcome));
  });
}

interface SvidFlags {
  readonly authorityId?: string;
  readonly spiffeId?: string;
  readonly expiresAt?: string;
  readonly reason: string;
}

interface OutcomeView {
  readonly revoked: readonly CredentialView[];
  readonly published: boolean;
  readonly incomplete: boolean;
}

function withReason(command: Command): Command {
  return command.option(
    "--reason <reason>",
    `why: ${REVOCATION_REASONS.join(", ")}`,
    oneOf("--reason", REVOCATION_REASONS),
    "unspecified",
  );
}

function ask(io: CliIo, { adminSocket }: AdminOptions, body: object): Promise<OutcomeView> {
  return postAdminJson<OutcomeView>(io, adminSocket, "/v1/revocations", body);
}

/** What a word on the command line means: a serial number is hex of at most 20 octets, a file has a name like one. */
async function named(io: CliIo, word: string): Promise<object> {
  if (word === "-" || word.includes("/") || word.endsWith(".pem")) {
    const text = Buffer.from(await readInput(io, word, "<svid>")).toString("utf8");
    if (text.includes("-----BEGIN CERTIFICATE-----")) return { certificate: text };
    throw new AssayError("USAGE", `<svid>: ${word} holds no certificate in PEM`);
  }
  return SERIAL.test(word) ? { serial: word } : { token_id: word };
}

function outcomeText(done: string, { revoked, published, incomplete }: OutcomeView): string {
  const lines = done === "" ? [] : [done];
  if (revoked.length === 0) lines.push("nothing was good any more");
  else {
    lines.push(
      `revoked ${revoked.length}:`,
      table(
        ["KIND", "ID", "SPIFFE ID", "WOULD HAVE EXPIRED"],
        revoked.map(({ kind, id, spiffe_id, expires_at }) => [kind, id, spiffe_id, expires_at]),
      ),
    );
  }
  if (!published) lines.push("not published yet: it is written down, and the server goes on trying");
  if (incomplete) {
    lines.push("there may be more: the audit log holds too much of this agent to be read at once");
  }
  return lines.join("\n");
}

const SERIAL = /^[0-9A-Fa-f]{1,2}(?::?[0-9A-Fa-f]{1,2}){0,19}$/;
