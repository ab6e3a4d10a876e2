import type { Command } from "commander";
import { Agent as AgentService } from "../proto/gen/spire/api/server/agent/v1/agent_pb.ts";
import { withAdminClient } from "./admin-client.ts";
import { secondsOf } from "./duration-flag.ts";
import { type CliIo, writeResult } from "./io.ts";
import { adminOptions, type AdminOptions } from "./options.ts";
import { timeText } from "./table.ts";
import { wireId } from "./wire-text.ts";

/** Adds `assay token …`: join tokens, on the server's admin socket. */
export function addTokenCommands(program: Command, io: CliIo): void {
  const token = program
    .command("token")
    .description("join tokens: evidence for a node that has none of its own");

  adminOptions(token.command("generate").description("make a join token, usable once"))
    .option(
      "--spiffe-id <id>",
      "a SPIFFE ID that entries may be parented to, given to the node that uses the token",
    )
    .option("--ttl <duration>", "how long the token may be used", "10m")
    .option("--token <text>", "the token itself (default: chosen by the server)")
    .action((flags: AdminOptions & { spiffeId?: string; ttl: string; token?: string }) =>
      withAdminClient(io, flags.adminSocket, async (client) => {
        const made = await client.service(AgentService).createJoinToken({
          ttl: secondsOf(flags.ttl, "--ttl"),
          token: flags.token ?? "",
          ...(flags.spiffeId === undefined ? {} : { agentId: wireId(flags.spiffeId, "--spiffe-id") }),
        });
        writeResult(
          io,
          flags.output,
          { token: made.value, expires_at: timeText(made.expiresAt) },
          // The token alone, so that a script can write it to a file; the rest is for a person's eyes.
          () => {
            io.stderr(`usable once, until ${timeText(made.expiresAt)}\n`);
            return made.value;
          },
        );
      }),
    );
}
