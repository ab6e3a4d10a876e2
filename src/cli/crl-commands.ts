import type { Command } from "commander";
import { AssayError } from "../errors/assay-error.ts";
import { Revocation } from "../proto/gen/assay/api/server/v1/revocation_pb.ts";
import type { RevocationList } from "../proto/gen/assay/api/types/v1/revocation_list_pb.ts";
import { withAdminClient } from "./admin-client.ts";
import { type CliIo, writeResult } from "./io.ts";
import { adminOptions, type AdminOptions } from "./options.ts";
import { readInput } from "./read-input.ts";
import { table, timeText } from "./table.ts";
import { typedTrustDomain } from "./wire-text.ts";

/** Adds `assay bundle crl …`: revocation lists of the authorities in bundles, on the server's admin socket. */
export function addCrlCommands(bundle: Command, io: CliIo): void {
  const crl = bundle.command("crl").description("revocation lists of the authorities in bundles");

  adminOptions(crl.command("list").description("list the revocation lists")).action((flags: AdminOptions) =>
    withAdminClient(io, flags.adminSocket, async (client) => {
      const { lists } = await client.service(Revocation).listRevocationLists({});
      writeResult(io, flags.output, lists.map(listJson), () =>
        table(
          ["TRUST DOMAIN", "AUTHORITY ID", "NUMBER", "REVOKED", "NEXT UPDATE"],
          lists.map((list) => [
            list.trustDomain,
            list.authorityKeyId,
            list.number,
            `${list.revoked}`,
            timeText(list.nextUpdate),
          ]),
        ),
      );
    }),
  );

  adminOptions(crl.command("set").description("set the revocation list that an authority signed"))
    .requiredOption("--trust-domain <name>", "the trust domain in whose bundle the authority is")
    .requiredOption("--file <path>", "the list, DER or PEM; - reads standard input")
    .action((flags: AdminOptions & { trustDomain: string; file: string }) =>
      withAdminClient(io, flags.adminSocket, async (client) => {
        const trustDomain = typedTrustDomain(flags.trustDomain, "--trust-domain");
        const der = derOf(await readInput(io, flags.file));
        const { list } = await client.service(Revocation).setRevocationList({ trustDomain, crl: der });
        if (list === undefined) throw new AssayError("INTERNAL", "the server's answer holds no list");
        writeResult(
          io,
          flags.output,
          listJson(list),
          () => `set revocation list ${list.number} of authority ${list.authorityKeyId} of ${trustDomain}`,
        );
      }),
    );

  adminOptions(crl.command("delete").description("forget the revocation list of an authority"))
    .requiredOption("--trust-domain <name>", "the trust domain")
    .requiredOption("--authority-id <id>", "the authority, as `list` shows it")
    .action((flags: AdminOptions & { trustDomain: string; authorityId: string }) =>
      withAdminClient(io, flags.adminSocket, async (client) => {
        const trustDomain = typedTrustDomain(flags.trustDomain, "--trust-domain");
        const authorityKeyId = flags.authorityId;
        await client.service(Revocation).deleteRevocationList({ trustDomain, authorityKeyId });
        writeResult(
          io,
          flags.output,
          { deleted: authorityKeyId },
          () => `deleted the revocation list of authority ${authorityKeyId} of ${trustDomain}`,
        );
      }),
    );
}

function listJson(list: RevocationList) {
  return {
    trust_domain: list.trustDomain,
    authority_id: list.authorityKeyId,
    number: list.number,
    this_update: timeText(list.thisUpdate),
    next_update: timeText(list.nextUpdate),
    revoked: list.revoked,
    crl: Buffer.from(list.crl).toString("base64"),
  };
}

function derOf(content: Uint8Array): Uint8Array {
  const text = Buffer.from(content).toString("latin1");
  const found = /-----BEGIN X509 CRL-----([A-Za-z0-9+/=\s]*)-----END X509 CRL-----/.exec(text);
  return found === null ? content : Buffer.from(found[1] ?? "", "base64");
}
