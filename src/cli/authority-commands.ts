import type { Command } from "commander";
import {
  type AuthorityState,
  LocalAuthority,
} from "../proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts";
import { withAdminClient } from "./admin-client.ts";
import { type CliIo, writeResult } from "./io.ts";
import { adminOptions, type AdminOptions } from "./options.ts";
import { table, timeText } from "./table.ts";

/** Adds `assay authority x509|jwt show`: the server's authorities, on its admin socket. */
export function addAuthorityCommands(program: Command, io: CliIo): void {
  const authority = program.command("authority").description("authorities: the keys that sign SVIDs");
  for (const kind of ["x509", "jwt"] as const) {
    const commands = authority.command(kind).description(`${kind === "x509" ? "X.509" : "JWT"} authorities`);
    adminOptions(commands.command("show").description("show the authorities and their states")).action(
      (flags: AdminOptions) =>
        withAdminClient(io, flags.adminSocket, async (client) => {
          const service = client.service(LocalAuthority);
          const states =
            kind === "x509"
              ? await service.getX509AuthorityState({})
              : await service.getJWTAuthorityState({});
          const rows = (["active", "prepared", "old"] as const).flatMap((state) => row(state, states[state]));
          writeResult(
            io,
            flags.output,
            rows.map(([state, id, expires]) => ({ state, authority_id: id, expires_at: expires })),
            () => table(["STATE", "AUTHORITY ID", "EXPIRES"], rows),
          );
        }),
    );
  }
}

function row(state: string, authority: AuthorityState | undefined): (readonly [string, string, string])[] {
  return authority === undefined ? [] : [[state, authority.authorityId, timeText(authority.expiresAt)]];
}
