import type { Command } from "commander";
import {
  type AuthorityState,
  LocalAuthority,
} from "../proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts";
import type { ServiceClient } from "../rpc/client.ts";
import { withAdminClient } from "./admin-client.ts";
import { addAuthorityLintCommand } from "./authority-lint.ts";
import { type CliIo, writeResult } from "./io.ts";
import { adminOptions, type AdminOptions } from "./options.ts";
import { table, timeText } from "./table.ts";

/** Adds `assay authority x509|jwt|wit|upstream …`: the server's authorities, moved by hand on its admin socket. */
export function addAuthorityCommands(program: Command, io: CliIo): void {
  const authority = program.command("authority").description("authorities: the keys that sign SVIDs");
  addAuthorityLintCommand(authority, io);
  addUpstreamCommands(authority, io);
  for (const { name, title, kind } of KINDS) {
    const commands = authority.command(name).description(`${title} authorities`);
    adminOptions(commands.command("show").description("show the authorities and their states")).action(
      (flags: AdminOptions) =>
        withAdminClient(io, flags.adminSocket, async (client) => {
          const states = await client.service(LocalAuthority)[`get${kind}AuthorityState`]({});
          const rows = (["active", "prepared", "old"] as const).flatMap((state) => row(state, states[state]));
          const isUpstream = rows.some(([, , , upstream]) => upstream !== "");
          writeResult(
            io,
            flags.output,
            rows.map(([state, id, expires, upstream]) => ({
              state,
              authority_id: id,
              expires_at: expires,
              ...(upstream !== "" && { upstream_authority_id: upstream }),
            })),
            () =>
              isUpstream
                ? table(["STATE", "AUTHORITY ID", "EXPIRES", "UPSTREAM AUTHORITY ID"], rows)
                : table(
                    ["STATE", "AUTHORITY ID", "EXPIRES"],
                    rows.map((cells) => cells.slice(0, 3)),
                  ),
          );
        }),
    );
    for (const { step, description, done, move } of STEPS) {
      const command = adminOptions(commands.command(step).description(description));
      if (step !== "prepare")
        command.requiredOption("--authority-id <id>", "the authority, as show names it");
      command.action((flags: AdminOptions & { readonly authorityId?: string }) =>
        withAdminClient(io, flags.adminSocket, async (client) => {
          const moved = await move(client.service(LocalAuthority), kind, flags.authorityId ?? "");
          const id = moved?.authorityId ?? "";
          const result = { [done]: id, expires_at: timeText(moved?.expiresAt ?? 0n) };
          writeResult(io, flags.output, result, () => `${done} the ${title} authority ${id}`);
        }),
      );
    }
  }
}

function addUpstreamCommands(authority: Command, io: CliIo): void {
  const commands = authority.command("upstream").description("roots of the upstream authority");
  for (const { step, description, done, move } of UPSTREAM_STEPS) {
    adminOptions(commands.command(step).description(description))
      .requiredOption("--subject-key-id <hex>", "the root, as `authority x509 show` names it")
      .action((flags: AdminOptions & { readonly subjectKeyId: string }) =>
        withAdminClient(io, flags.adminSocket, async (client) => {
          const id = await move(client.service(LocalAuthority), flags.subjectKeyId);
          writeResult(io, flags.output, { [done]: id }, () => `${done} the upstream authority ${id}`);
        }),
      );
  }
}

function row(
  state: string,
  authority: AuthorityState | undefined,
): (readonly [string, string, string, string])[] {
  if (authority === undefined) return [];
  const { authorityId, expiresAt, upstreamAuthoritySubjectKeyId } = authority;
  return [[state, authorityId, timeText(expiresAt), upstreamAuthoritySubjectKeyId]];
}

/** A change of an authority that an operator may ask for. */
interface Step {
  readonly step: "prepare" | "activate" | "taint" | "revoke";
  readonly description: string;
  readonly done: string;
  readonly move: (
    service: ServiceClient<typeof LocalAuthority>,
    kind: (typeof KINDS)[number]["kind"],
    authorityId: string,
  ) => Promise<AuthorityState | undefined>;
}

const KINDS = [
  { name: "x509", title: "X.509", kind: "X509" },
  { name: "jwt", title: "JWT", kind: "JWT" },
  { name: "wit", title: "WIT", kind: "WIT" },
] as const;
const STEPS: readonly Step[] = [
  {
    step: "prepare",
    description: "make the next authority and publish it, in place of one prepared before",
    done: "prepared",
    move: async (service, kind) => (await service[`prepare${kind}Authority`]({})).preparedAuthority,
  },
  {
    step: "activate",
    description: "let the prepared authority sign from now on",
    done: "activated",
    move: async (service, kind, authorityId) =>
      (await service[`activate${kind}Authority`]({ authorityId })).activatedAuthority,
  },
  {
    step: "taint",
    description: "mark an old authority: whatever it signed is to be replaced now",
    done: "tainted",
    move: async (service, kind, authorityId) =>
      (await service[`taint${kind}Authority`]({ authorityId })).taintedAuthority,
  },
  {
    step: "revoke",
    description: "take a tainted authority out of the bundle: what it signed is worth nothing from then on",
    done: "revoked",
    move: async (service, kind, authorityId) =>
      (await service[`revoke${kind}Authority`]({ authorityId })).revokedAuthority,
  },
];
const UPSTREAM_STEPS = [
  {
    step: "taint",
    description: "mark a root of what signed before: whatever chains to it is to be replaced now",
    done: "tainted",
    move: async (service: ServiceClient<typeof LocalAuthority>, subjectKeyId: string) =>
      (await service.taintX509UpstreamAuthority({ subjectKeyId })).upstreamAuthoritySubjectKeyId,
  },
  {
    step: "revoke",
    description: "take a tainted root out of the bundle: what chains to it is worth nothing from then on",
    done: "revoked",
    move: async (service: ServiceClient<typeof LocalAuthority>, subjectKeyId: string) =>
      (await service.revokeX509UpstreamAuthority({ subjectKeyId })).upstreamAuthoritySubjectKeyId,
  },
] as const;
